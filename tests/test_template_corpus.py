"""What Jinja renders, ours renders: people's templates, and Jinja's own tests."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jinja2
import pytest
import yaml
from jinja2.defaults import DEFAULT_FILTERS
from markupsafe import Markup

from tests import corpus_templates, jinja_own_tests
from tests.conftest import ROOT
from tests.files import write
from yamlgraph_prompts import LivePrompts, PromptRenderError
from yamlgraph_prompts._sandbox.filters import EXCLUDED_FILTERS
from yamlgraph_prompts.templates.template import MessageTemplate, examine, is_jinja

STATE = {"topic": "cats", "history": ["a", "b"], "user": {"name": "Ada"}}


def alone(text: str, variables: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The text as YAMLGraph alone fills it in."""
    if is_jinja(text):
        return jinja2.Template(text).render(**{"state": state, **variables})
    values = {k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in variables.items()}
    return text.format(**values)


def _without_markup(text: str, variables: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The text as Jinja fills it in where JSON, and what is escaped or safe, is plain text."""
    environment = jinja2.Environment()
    for name in ("e", "safe", "tojson"):
        plain = DEFAULT_FILTERS[name]
        environment.filters[name] = functools.wraps(plain)(
            lambda *args, _plain=plain, **named: str(_plain(*args, **named))
        )
    return environment.from_string(text).render(**{"state": state, **variables})


def test_the_corpus_has_two_hundred_templates_in_both_dialects() -> None:
    prompts, formats = corpus_templates.prompts(), corpus_templates.formats()
    assert len({*prompts, *formats}) >= 200
    assert all(is_jinja(text) for text in prompts)
    assert not any(is_jinja(text) for text in formats)


@pytest.mark.parametrize("text", [*corpus_templates.prompts(), *corpus_templates.formats()])
def test_is_rendered_as_by_yamlgraph_alone(text: str) -> None:
    expected = alone(text, corpus_templates.variables(), STATE)
    if text in corpus_templates.WITH_MARKUP:
        assert "&#34;" in expected
        expected = _without_markup(text, corpus_templates.variables(), STATE)
    assert not [finding for finding in examine(text) if finding.severity == "error"]
    assert MessageTemplate(text).render(corpus_templates.variables(), STATE) == expected


@pytest.mark.parametrize("name", EXCLUDED_FILTERS)
def test_an_excluded_filter_is_refused_with_the_reason(name: str) -> None:
    (finding,) = examine("Hi\n{{ text|" + name + " }}")
    assert (finding.severity, finding.code, finding.line) == ("error", "unknown-filter", 2)
    assert finding.hint == EXCLUDED_FILTERS[name]


def test_autoescape_is_refused_with_what_to_do_instead() -> None:
    (finding,) = examine("Hi\n{% autoescape true %}{{ name }}{% endautoescape %}")
    assert (finding.severity, finding.code, finding.line) == ("error", "template-syntax", 2)
    assert "{{ name | e }}" in finding.message
    with pytest.raises(PromptRenderError, match="autoescape"):
        MessageTemplate("{% autoescape false %}{% endautoescape %}").render({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ html|e }} {{ html|escape }} {{ html|forceescape }}", "&lt;b&gt; " * 3),
        ("{{ html|e|e }} {{ html|safe|e }}", "&amp;lt;b&amp;gt; &lt;b&gt; "),
        ("{{ html|safe + html }} {{ (html|e) + html }}", "<b><b> &lt;b&gt;<b> "),
        ("{{ (html|safe).join(['<', '>']) }} {{ html|safe|replace('b', '<') }}", "<<b>> <<> "),
        ("{{ {'a': '\"'}|tojson + '\"' }} {{ [1]|tojson is escaped }}", '{"a": "\\""}" False '),
        ("{{ '%s'|safe|format(html) }} {{ ('{}'|safe).format(html) }}", "<b> <b> "),
        ("{{ markup ~ html }} {{ markup + html }}", "<i><b> <i><b> "),
        ("{% macro m() %}{{ html }}{% endmacro %}{{ m() ~ '<' }}", "<b>< "),
        ("{% set t %}{{ html }}{% endset %}{{ t + '<' }}", "<b>< "),
    ],
)
def test_a_template_makes_plain_text_and_no_markup(text: str, expected: str) -> None:
    values = {"html": "<b>", "markup": Markup("<i>")}
    assert MessageTemplate(text + " ").render(values) == expected


def test_templates_that_extend_and_include_are_rendered_as_by_jinja(tmp_path: Path) -> None:
    layer = {
        "base.j2": (
            "{% import 'macros.j2' as m %}system: |\n"
            "  {% block intro %}You help {{ company }}.{% endblock %}\n"
            "  {% block rules %}{% for r in rules %}{{ loop.index }}. {{ r }} {% endfor %}"
            "{% endblock %}\n"
            "user: \"{{ m.ask('question') }} {% include 'sign.j2' %}\"\n"
        ),
        "macros.j2": "{% macro ask(name) %}{{ '{' ~ name ~ '}' }}{% endmacro %}",
        "sign.j2": (
            "The {{ company|upper }} team{% if environment != 'production' %} (test){% endif %}"
        ),
        "child.yaml.j2": (
            "{% extends 'base.j2' %}{% block intro %}{{ super() }} Be brief.{% endblock %}"
        ),
        "grandchild.yaml.j2": (
            "{% extends 'child.yaml.j2' %}{% block rules %}{{ self.intro()|length }} "
            "{{ super()|trim }}{% endblock %}"
        ),
        "plain.yaml.j2": (
            "{% from 'macros.j2' import ask %}{% set names = rules|map('title')|list %}"
            "user: \"{{ ask('a') }} {{ names|join(', ') }} {% raw %}{{ name }}{% endraw %}\"\n"
        ),
        "limits.yaml.j2": (
            "{% set ns = namespace(n=0) %}{% for k, v in limits.items() %}"
            "{% set ns.n = ns.n + v %}{% endfor %}"
            "user: '{{ ns.n }} {{ limits|dictsort|first|first }}'"
        ),
    }
    values = {"company": "Acme", "rules": ["be kind", "be exact"], "limits": {"b": 2, "a": 1}}
    write(tmp_path, {**layer, "vars.yaml": yaml.safe_dump(values)})
    files = jinja2.Environment(
        loader=jinja2.DictLoader(layer),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    with LivePrompts(tmp_path, environment="staging") as prompts:
        for name in ("child", "grandchild", "plain", "limits"):
            expected = files.get_template(f"{name}.yaml.j2").render(environment="staging", **values)
            assert prompts[name].content == yaml.safe_load(expected)


# -- Jinja's own tests -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def jinja_tests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the installed Jinja, unpacked from its source distribution."""
    version = metadata.version("jinja2")
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir(f"jinja-{version}")) if cache else tmp_path_factory.mktemp("jinja")
    found = [*folder.glob("*.tar.gz")] or [_download(version, folder)]
    with tarfile.open(found[0]) as archive:
        target = tmp_path_factory.mktemp("unpacked")
        archive.extractall(target, filter="data")
    (tests,) = target.glob("*/tests")
    return tests


def _download(version: str, folder: Path) -> Path:
    # Apart from the cache, so that a download that was cut off leaves nothing in it.
    with TemporaryDirectory(dir=folder) as fresh:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "jinja2", f"jinja2=={version}", "--dest", fresh]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode and re.search(r"Connection|Temporary failure|timed out", done.stderr):
            pytest.skip(f"the package index with Jinja {version}'s sources cannot be reached")
        assert done.returncode == 0, done.stderr
        (archive,) = Path(fresh).glob("*.tar.gz")
        return archive.rename(folder / archive.name)


def test_every_test_module_of_jinja_is_run_or_has_a_reason_not_to_be(jinja_tests: Path) -> None:
    modules = {path.stem for path in jinja_tests.glob("test_*.py")}
    assert modules == {*jinja_own_tests.MODULES, *jinja_own_tests.OTHER_MODULES}


def test_jinjas_own_tests_pass_but_for_what_the_sandbox_excludes(jinja_tests: Path) -> None:
    modules = [f"{name}.py" for name in jinja_own_tests.MODULES]
    command = [sys.executable, "-m", "pytest", "-p", "tests.jinja_own_tests", *modules]
    command += ["-q", "-ra", "--tb=short", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [*command, "--rootdir", str(jinja_tests)],
        cwd=jinja_tests,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(jinja_tests)]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert re.search(r"[3-9]\d\d passed", done.stdout), done.stdout[-500:]
