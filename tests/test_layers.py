"""The first layer that has the whole file wins, and the answer says who won."""

from __future__ import annotations

import os
import re
import string
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.files import Heard, codes, write
from yamlgraph_prompts import Finding, Layer, LivePrompts, PromptNotFound, PromptsRejected
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts.errors import LayerError, LayerUnavailable
from yamlgraph_prompts.sources import Snapshot
from yamlgraph_prompts.sources.directory import DirectorySource
from yamlgraph_prompts.sources.layers import LayerContent, as_layer, environments_pattern, resolve

names = st.sampled_from(["a", "b", "c/d", "c/e"])
bodies = st.text(string.ascii_lowercase, min_size=1, max_size=5)
layer_files = st.dictionaries(names, bodies, max_size=4)


def layer(url: str, files: dict[str, str]) -> LayerContent:
    return LayerContent(url, "1", {path: text.encode() for path, text in files.items()})


def yamls(files: dict[str, str]) -> dict[str, str]:
    return {f"{name}.yaml": f"user: {text}" for name, text in files.items()}


@given(st.lists(layer_files, min_size=1, max_size=5))
def test_the_first_layer_that_has_a_name_wins_it_whole(stack: list[dict[str, str]]) -> None:
    found = resolve([layer(str(n), yamls(files)) for n, files in enumerate(stack)], "x")
    assert set(found.prompts) == {name for files in stack for name in files}
    for name, prompt in found.prompts.items():
        first = next(n for n, files in enumerate(stack) if name in files)
        assert prompt.layer == str(first)
        assert prompt.data == f"user: {stack[first][name]}".encode()


@given(st.lists(layer_files, min_size=1, max_size=4), layer_files)
def test_a_layer_below_changes_nothing_that_is_above_it(
    stack: list[dict[str, str]], below: dict[str, str]
) -> None:
    layers = [layer(str(n), yamls(files)) for n, files in enumerate(stack)]
    before = resolve(layers, "x").prompts
    after = resolve([*layers, layer("below", yamls(below))], "x").prompts
    assert {name: after[name] for name in before} == dict(before)


@given(st.lists(layer_files, max_size=4))
def test_an_empty_layer_anywhere_changes_nothing(stack: list[dict[str, str]]) -> None:
    layers = [layer(str(n), yamls(files)) for n, files in enumerate(stack)]
    expected = resolve(layers, "x").prompts
    for place in range(len(layers) + 1):
        more = [*layers[:place], layer("empty", {}), *layers[place:]]
        assert resolve(more, "x").prompts == expected


@given(st.lists(layer_files, max_size=3), st.lists(layer_files, max_size=3))
def test_what_is_known_from_an_earlier_time_changes_nothing(
    earlier: list[dict[str, str]], stack: list[dict[str, str]]
) -> None:
    def contents(layers: list[dict[str, str]]) -> list[LayerContent]:
        # What ends in an a has the shape of a graph, and is no prompt.
        graph = {"a": "\nnodes: {}\nedges: []"}
        return [
            layer(str(n), {path: text + graph.get(text[-1], "") for path, text in yamls(f).items()})
            for n, f in enumerate(layers)
        ]

    known = resolve(contents(earlier), "x").prompts
    anew = resolve(contents(stack), "x")
    found = resolve(contents(stack), "x", known)
    assert found == anew
    again = resolve(contents(stack), "x", found.prompts)
    assert all(again.prompts[name] is prompt for name, prompt in found.prompts.items())


def test_files_are_never_merged_key_by_key() -> None:
    over = layer("over", {"a.yaml": "user: over"})
    base = layer("base", {"a.yaml": "system: base\nuser: base"})
    assert resolve([over, base], "x").prompts["a"].content == {"user": "over"}


def test_each_prompt_says_its_layer_and_its_file() -> None:
    over, base = layer("conf/over/", {"a.yaml": ""}), layer("conf/base", {"n/b.yaml": ""})
    found = resolve([over, base], "x").prompts
    assert (found["a"].layer, found["a"].file) == ("conf/over/", "conf/over/a.yaml")
    assert (found["n/b"].layer, found["n/b"].file) == ("conf/base", "conf/base/n/b.yaml")


def test_a_template_and_a_plain_file_compete_for_one_name_across_layers() -> None:
    over = layer("over", {"a.yaml.j2": "user: x", "b.yaml": "user: x"})
    base = layer("base", {"a.yaml": "user: y", "b.yaml.j2": "user: y"})
    found = resolve([over, base], "x")
    assert (set(found.templates), set(found.prompts)) == ({"a"}, {"b"})
    assert found.findings == ()


def test_twin_files_in_one_layer_are_an_error() -> None:
    (finding,) = resolve([layer("p", {"a.yaml": "", "a.yaml.j2": ""})], "x").findings
    assert (finding.severity, finding.code, finding.prompt) == ("error", "twin-files", "a")
    assert "a.yaml.j2" in str(finding.file)


def test_vars_files_and_graphs_are_no_prompts() -> None:
    graph = "name: g\nnodes:\n  a: {}\nedges: []\n"
    found = resolve(
        [
            layer(
                "p",
                {
                    "vars.yaml": "a: 1",
                    "vars.staging.yaml": "a: 1",
                    "n/vars.yaml": "a: 1",
                    "graph.yaml": graph,
                    "nodes.yaml": "nodes: only",
                    "varsity.yaml": "user: x",
                },
            )
        ],
        "staging",
    )
    assert sorted(found.prompts) == ["nodes", "varsity"]


def test_vars_are_merged_by_top_level_key() -> None:
    over = layer("over", {"vars.yaml": "a: over\ndeep: {x: 1}"})
    base = layer("base", {"vars.yaml": "a: base\nb: base\ndeep: {y: 2}"})
    assert resolve([over, base], "x").variables == {"a": "over", "b": "base", "deep": {"x": 1}}


def test_precedence_of_vars_higher_layer_over_environment_over_plain() -> None:
    over = layer("over", {"vars.yaml": "c: over"})
    base = layer(
        "base",
        {
            "vars.yaml": "a: plain\nb: plain\nc: plain",
            "vars.staging.yaml": "b: staging\nc: staging",
            "vars.production.yaml": "a: production",
        },
    )
    expected = {"a": "plain", "b": "staging", "c": "over"}
    assert resolve([over, base], "staging").variables == expected


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "a: [", "\x00"])
def test_a_vars_file_that_is_no_mapping_is_an_error_in_that_file(text: str) -> None:
    found = resolve([layer("p", {"vars.yaml": text})], "x")
    assert [finding.severity for finding in found.findings] == ["error"]
    assert found.findings[0].file == "p/vars.yaml"
    assert found.variables == {}


def test_an_empty_vars_file_is_fine() -> None:
    assert resolve([layer("p", {"vars.yaml": "# later\n"})], "x").findings == ()


def test_a_template_that_is_not_utf8_says_the_line_and_the_byte() -> None:
    content = LayerContent("p", "1", {"part.j2": b"one\ntwo \xff"})
    (finding,) = resolve([content], "x").findings
    assert (finding.code, finding.file, finding.line) == ("not-utf8", "p/part.j2", 2)
    assert "0xff" in finding.message


def test_a_template_may_begin_with_a_byte_order_mark() -> None:
    content = LayerContent("p", "1", {"part.j2": "\ufeffhello".encode()})
    assert resolve([content], "x").parts == {"part.j2": "hello"}


def test_the_first_layers_part_wins() -> None:
    found = resolve([layer("o", {"p.j2": "over"}), layer("b", {"p.j2": "base", "q.j2": "q"})], "x")
    assert found.parts == {"p.j2": "over", "super:p.j2": "base", "q.j2": "q"}


def test_what_a_source_could_not_take_is_passed_on() -> None:
    from yamlgraph_prompts.findings import Finding

    told = Finding("error", "unreadable", "no")
    assert resolve([LayerContent("p", "1", {}, (told,))], "x").findings == (told,)


def test_a_layer_may_be_a_path_a_url_a_mapping_or_a_layer(tmp_path: Path) -> None:
    assert as_layer(tmp_path).text == str(tmp_path)
    assert as_layer("s3://b/{environment}").uses_environment
    assert as_layer({"a": "x"}).text == "memory:"
    given = Layer("x", optional=True)
    assert as_layer(given) is given


@pytest.mark.parametrize(
    ("url", "place", "folder"),
    [
        ("prompts/{environment}", "prompts", "staging"),
        ("{environment}/prompts", ".", "staging"),
        ("/{environment}", "/", "staging"),
        ("conf/app-{environment}.d/prompts", "conf", "app-staging.d"),
        ("s3://bucket/{environment}/x", "s3://bucket", "staging"),
    ],
)
def test_the_folders_of_the_environments_are_found(url: str, place: str, folder: str) -> None:
    found = environments_pattern(url)
    assert found is not None
    where, pattern = found
    matched = pattern.fullmatch(folder)
    assert where == place
    assert matched is not None
    assert matched["environment"] == "staging"


# Through LivePrompts: templates over several layers


def test_a_shared_base_lies_under_the_environments(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "base/greeting.yaml": "user: Hi {name}",
            "base/bye.yaml": "user: Bye {name}",
            "staging/greeting.yaml": "user: STAGING {name}",
            "production/none.yaml": "user: x",
        },
    )
    layers = (str(tmp_path / "{environment}"), str(tmp_path / "base"))
    with LivePrompts(*layers, environment="staging", watch=False) as prompts:
        assert prompts["greeting"].user == "STAGING {name}"
        assert prompts["bye"].user == "Bye {name}"
        assert [one.url for one in prompts.release.layers] == [
            str(tmp_path / "staging"),
            str(tmp_path / "base"),
        ]
        assert all(len(one.version) == 64 for one in prompts.release.layers)
    with LivePrompts(*layers, environment="production", watch=False) as prompts:
        assert prompts["greeting"].user == "Hi {name}"


def test_templates_include_import_and_extend_across_layers() -> None:
    over = {
        "greeting.yaml.j2": '{% extends "base.j2" %}{% block who %}{{ company }}{% endblock %}',
        "sign.j2": "the {{ environment }} team",
    }
    base = {
        "base.j2": 'user: "{% block who %}nobody{% endblock %}, {% include "sign.j2" %}"',
        "sign.j2": "never seen",
        "vars.yaml": "company: Acme",
        "plain.yaml.j2": '{% import "m.j2" as m %}user: {{ m.hi() }} {name}',
        "m.j2": "{% macro hi() %}Hi{% endmacro %}",
    }
    with LivePrompts(over, base, environment="staging") as prompts:
        assert prompts["greeting"].user == "Acme, the staging team"
        assert prompts["plain"].user == "Hi {name}"


def test_a_template_extends_the_lower_layers_file_of_its_own_name() -> None:
    top = {
        "a.yaml.j2": '{% extends "super:a.yaml.j2" %}{% block x %}top {{ super() }}{% endblock %}'
    }
    mid = {
        "a.yaml.j2": '{% extends "super:a.yaml.j2" %}{% block x %}mid {{ super() }}{% endblock %}'
    }
    base = {"a.yaml.j2": "user: {% block x %}base{% endblock %}"}
    with LivePrompts(top, mid, base) as prompts:
        assert prompts["a"].user == "top mid base"


def test_an_undefined_name_in_a_template_is_an_error_at_its_file() -> None:
    with pytest.raises(PromptsRejected) as caught, LivePrompts({"a.yaml.j2": "user: {{ who }}"}):
        pass
    (error,) = caught.value.outcome.errors
    assert (error.code, error.file) == ("j2-undefined", "a.yaml.j2")
    assert "who" in error.message


def test_two_templates_that_give_the_same_text_give_the_same_release() -> None:
    one_file, plain = {"a.yaml.j2": "user: it is {{ 1 + 1 }}"}, {"a": "user: it is 2"}
    with LivePrompts(one_file) as one, LivePrompts(plain) as two:
        assert one.release.id == two.release.id


def test_a_change_of_vars_or_of_a_part_publishes() -> None:
    files = {"a.yaml.j2": 'user: {{ x }} {% include "p.j2" %}', "vars.yaml": "x: 1", "p.j2": "p"}
    with LivePrompts(files) as prompts:
        assert prompts["a"].user == "1 p"
        files["vars.yaml"] = "x: 2"
        assert prompts.publish().status == "published"
        assert prompts["a"].user == "2 p"
        files["p.j2"] = "q"
        assert prompts.publish().status == "published"
        assert prompts["a"].user == "2 q"
        files["vars.development.yaml"] = "x: 3"
        assert prompts.publish().status == "published"
        assert prompts["a"].user == "3 q"


def test_a_template_that_renders_to_rubbish_is_rejected_and_the_old_text_stays() -> None:
    files = {"a.yaml.j2": "user: {{ x }}", "vars.yaml": "x: fine"}
    heard = Heard()
    with LivePrompts(files, hooks=[heard]) as prompts:
        files["vars.yaml"] = "x: '[unclosed'"
        outcome = prompts.publish()
        assert outcome.status == "rejected"
        assert codes(outcome)
        assert prompts["a"].user == "fine"
    assert [o.status for o in heard.outcomes()] == ["published", "rejected"]


def refusal(*layers: dict[str, str]) -> Finding:
    """The one finding for which the first load of these layers is refused."""
    with pytest.raises(PromptsRejected) as caught, LivePrompts(*layers):
        pass
    (finding,) = caught.value.outcome.findings
    return finding


@pytest.mark.parametrize(
    ("template", "place"),
    [
        # What stands before it, or after it, or it alone, is in the template as it is.
        ("system: S\nuser: {name\n# {{ environment }}\n", (2, 7)),
        ("{% for i in 'abc' %}\n# {{ i }}\n{% endfor %}\nsystem: S\nuser: {name\n", (5, 7)),
        ("{% for i in 'abc' %}\n{% endfor %}\nuser: {name\n# {{ environment }}\n", (3, 7)),
        ("# {{ environment }}\nuser: {{ '{' }}name\n# {{ environment }}\n", (2, None)),
        ("{% for i in 'a' %}\n\nuser: {{ '{' }}name\n{% endfor %}\n", (None, None)),
    ],
)
def test_what_is_wrong_in_a_rendered_prompt_is_told_at_the_templates_line(
    template: str, place: tuple[int | None, int | None]
) -> None:
    finding = refusal({"a.yaml.j2": template})
    assert finding.code == "yaml-syntax"
    assert (finding.line, finding.column) == place
    assert (place[0] is None) == ("That is line 3 of what the file renders to" in str(finding))


def test_a_filter_in_a_rendered_prompt_is_told_at_the_templates_line() -> None:
    text = "# {{ environment }}\nuser: '{% raw %}{{ x | nope }}{% endraw %}'"
    finding = refusal({"a.yaml.j2": text})
    assert (finding.code, finding.line, finding.column) == ("unknown-filter", 2, None)


def test_a_template_that_means_the_layer_below_is_told_how_to_say_so() -> None:
    below = {"a.yaml.j2": "user: {% block b %}Hi{% endblock %}"}
    for text in ("{% extends 'a.yaml.j2' %}", "{% include 'a.yaml.j2' %}"):
        assert 'say "super:a.yaml.j2"' in str(refusal({"a.yaml.j2": text}, below))
    assert "super:" not in str(refusal({"a.yaml.j2": "{% include 'a.yaml.j2' %}"}))


def test_a_missing_prompt_lists_every_place_that_was_tried(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: x", "base/greeting.yaml": "user: x"})
    over, base = str(tmp_path / "over"), str(tmp_path / "base")
    with LivePrompts(over, base, watch=False) as prompts, pytest.raises(PromptNotFound) as caught:
        prompts["greetin"]
    assert caught.value.tried == (f"{over}/greetin.yaml", f"{base}/greetin.yaml")
    assert "Did you mean 'greeting'?" in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("", "variable that is not set"),
        ("  ", "names no place"),
        ("a\0b", "names no place"),
        ({5: "user: x"}, "must be a text"),
        ("prompts/{enviroment}", "Did you mean {environment}"),
        (Layer("prompts/{Environment}", optional=True), "Did you mean {environment}"),
    ],
)
def test_a_layer_that_cannot_be_one_is_refused_in_words(layer: Any, words: str) -> None:
    with pytest.raises(LayerError, match=re.escape(words)):
        as_layer(layer)


# Layers that are swapped together


@pytest.mark.parametrize("swaps", [1, 1000])
def test_layers_under_one_link_are_read_as_they_were_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: int
) -> None:
    for edition in ("old", "new"):
        files = {
            "production/a.yaml": f"user: {edition}",
            "production/b.yaml.j2": "user: {{ top }} {{ low }} {% include 'part.j2' %}",
            "production/vars.yaml": f"top: {edition}",
            "base/vars.yaml": f"low: {edition}",
            "base/part.j2": edition,
            "base/c.yaml": f"user: {edition}",
        }
        write(tmp_path / edition, files)
    link = tmp_path / "prompts"
    link.symlink_to("old")
    prompts = LivePrompts(link / "production", link / "base", watch=False)
    before = prompts.release
    reads, editions, read = count(1), ["new", "old"], DirectorySource.read

    def swapping(source: DirectorySource) -> Snapshot:
        found = read(source)
        if source.url.endswith("production") and next(reads) <= swaps:
            (tmp_path / "beside").symlink_to(editions[0])
            os.replace(tmp_path / "beside", link)
            editions.reverse()
        return found

    monkeypatch.setattr(DirectorySource, "read", swapping)
    outcome = prompts.publish()
    if swaps == 1:
        said = {word for one in prompts.release.prompts.values() for word in one.user.split()}
        assert (outcome.status, said) == ("published", {"new"})
    else:
        assert (outcome.status, prompts.release) == ("rejected", before)
        assert "faster than they can be read" in outcome.findings[0].message


def test_a_change_is_not_written_over_an_edition_that_it_was_not_made_on(tmp_path: Path) -> None:
    for edition in ("old", "new"):
        write(tmp_path / edition, {"a.yaml": f"user: {edition}", "b.yaml": f"user: {edition}"})
    link = tmp_path / "prompts"
    link.symlink_to("old")

    with LivePrompts(link, watch=False) as prompts:
        with prompts.change(Draft("a", b"user: mine")) as change:
            link.unlink()
            link.symlink_to("new")
            with pytest.raises(LayerUnavailable, match="replaced by another folder"):
                change.commit()
        assert (tmp_path / "new/a.yaml").read_text() == "user: new"
        assert prompts["a"].user == "old"
        with prompts.change(Draft("a", b"user: mine")) as change:
            change.commit()
        assert (prompts["a"].user, prompts["b"].user) == ("mine", "new")


@pytest.mark.parametrize("wrong", [["prompts"], None, 3])
def test_what_is_no_layer_is_refused_at_once_in_words(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"a {type(wrong).__name__} is none of them"):
        LivePrompts(wrong)


@pytest.mark.parametrize(
    "word",
    ["{env}", "{enviroment}", "{ENVIRONMENT}", "${ENV}", "{ environment }", "{{environment}}"],
)
def test_a_misspelt_placeholder_is_refused(word: str) -> None:
    # An optional layer that is never there would leave the base live in silence.
    with pytest.raises(LayerError, match=r"Did you mean \{environment\}"):
        as_layer(Layer(f"prompts/{word}", optional=True))
