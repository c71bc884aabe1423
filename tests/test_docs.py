"""What the documentation says is true: its code runs, its links lead somewhere, its tables hold.

How a block of a page is taken, by the words after its three backticks. Blocks of one page are taken
in their order, in a process and an empty folder of their own, with a model that repeats what it is
told; the Python blocks share their names.

- ``python``: runs. A line ``print(...)  # this`` must print ``this``; ``...`` stands for anything.
- ``python no-run``: must compile.
- any language with ``title=FOLDER/FILE``: is written to that file, and compiles where it is Python.
- ``console run``: each line ``$ command`` is run and must end with 0, the last one with N where
  ``exit=N`` is said. The lines below a command, where there are any, are what it prints.
- ``until`` in addition: what comes is told by a watcher, so it is tried again for a while.
- everything else is only read.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import doctest
import importlib
import io
import multiprocessing
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pytest
import yaml

import yamlgraph_prompts

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "yamlgraph_prompts"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REPOSITORY_PAGES = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
UNTIL_S = 10.0

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.M | re.S)
_PROMISE = re.compile(r"^\s*print\(.*\)  # (.+)$", re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    words: list[str]
    text: str

    @property
    def title(self) -> str | None:
        return next((w.removeprefix("title=") for w in self.words if w.startswith("title=")), None)

    @property
    def exit(self) -> int:
        return next((int(w.removeprefix("exit=")) for w in self.words if w.startswith("exit=")), 0)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    def code(self) -> Any:
        """Compiled so that a traceback names the line of the page."""
        return compile("\n" * self.line + self.text, self.page, "exec")


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            str(page.relative_to(ROOT)),
            text.count("\n", 0, found.start()) + 1,
            found[1],
            found[2].split(),
            found[3],
        )
        for found in _FENCE.finditer(text)
    ]


def page_id(page: Path) -> str:
    return page.stem


# -- in the page's own process ---------------------------------------------------------------------


def play(page: list[Block], folder: Path, env: dict[str, str], report: Path) -> None:
    """Take the blocks of one page in `folder`; what goes wrong is written to `report`."""
    from yamlgraph_prompts.demo_server import EchoModel

    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path.insert(0, "")
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        with EchoModel() as model:
            os.environ.update(PROVIDER="lmstudio", LMSTUDIO_BASE_URL=model.url)
            for block in page:
                _take(block, names)
    except BaseException:
        report.write_text(traceback.format_exc())
        raise


def _take(block: Block, names: dict[str, Any]) -> None:
    if block.title is not None:
        path = Path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    elif runs(block) and block.language == "python":
        _again_until(block, lambda: _run_python(block, names))
    elif runs(block):
        _again_until(block, lambda: _run_console(block))


def _again_until(block: Block, attempt: Any) -> None:
    deadline = time.monotonic() + UNTIL_S
    while True:
        try:
            attempt()
            return
        except AssertionError:
            if "until" not in block.words or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _run_python(block: Block, names: dict[str, Any]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block.code(), names)
    lines = iter(out.getvalue().splitlines())
    for promise in _PROMISE.findall(block.text):
        assert any(_alike(promise, line) for line in lines), (
            f"{block.where}: {promise!r} is not printed: {out.getvalue()!r}"
        )


def _run_console(block: Block) -> None:
    commands = _commands(block.text)
    for number, (command, shown) in enumerate(commands):
        code, said = _shell(command)
        expected = block.exit if number == len(commands) - 1 else 0
        assert code == expected, f"{block.where}: {command!r} ended with {code}:\n{said}"
        assert not shown.strip() or _alike(shown, said), (
            f"{block.where}: {command!r} printed\n{said}\nand not\n{shown}"
        )


def _commands(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        found.append((command, shown))
    return found


def _shell(command: str) -> tuple[int, str]:
    out = io.StringIO()
    if command.startswith("yamlgraph-prompts ") and not re.search(r"[|<>;&]", command):
        # In this process: an interpreter and its imports for each command would take seconds.
        from yamlgraph_prompts._cli import main

        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(shlex.split(command)[1:])
        return code, out.getvalue()
    done = subprocess.run(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def _alike(wanted: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(wanted.strip() + "\n", got.strip() + "\n", _FLAGS)


# -- what runs -------------------------------------------------------------------------------------


def runs(block: Block) -> bool:
    """Whether the block is more than read."""
    if block.language == "python":
        return block.title is None and "no-run" not in block.words
    return block.language == "console" and "run" in block.words


@pytest.mark.parametrize("page", [p for p in PAGES if any(map(runs, blocks(p)))], ids=page_id)
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    folder, report = tmp_path / "page", tmp_path / "report.txt"
    folder.mkdir()
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "YAMLGRAPH_PROMPTS_STORE": str(tmp_path / "store"),
        "NO_COLOR": "1",
    }
    # One process imports LangGraph, and each page's is forked from that one. YAMLGraph must not be
    # imported before: it keeps the working directory.
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.test_docs", "langgraph.graph", "jinja2", "yaml"])
    process = forks.Process(target=play, args=(blocks(page), folder, env, report), daemon=True)
    process.start()
    process.join(100)
    assert process.exitcode == 0, report.read_text() if report.exists() else "no answer in 100 s"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_that_is_not_run_compiles(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            block.code()


# Former import path that the docs named → the name there, and where it is now
FORMER = {
    "yamlgraph_prompts.bucket": ("Bucket", "yamlgraph_prompts.registry.channel", "Channel"),
    "yamlgraph_prompts.admin.gate": ("Limits", "yamlgraph_prompts.admin.security.gate", "Limits"),
}


@pytest.mark.parametrize("former", FORMER)
def test_a_former_import_path_works_and_warns(former: str) -> None:
    name, home, now = FORMER[former]
    sys.modules.pop(former, None)
    with pytest.warns(DeprecationWarning, match=home):
        module = importlib.import_module(former)
    assert getattr(module, name) is getattr(importlib.import_module(home), now)


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "yamlgraph_prompts.")
    names = [module.name for module in found if module.name not in FORMER]
    return ["yamlgraph_prompts", *names]


@pytest.mark.parametrize("module", modules())
def test_the_examples_in_docstrings_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0, out.getvalue()


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    text = _FENCE.sub("", page.read_text())
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *REPOSITORY_PAGES], ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def nav(entries: Any) -> Iterator[str]:
    """The pages of a navigation, in their order."""
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for entry in entries.values():
            yield from nav(entry)
    else:
        for entry in entries:
            yield from nav(entry)


def test_the_index_and_the_navigation_name_every_page_once() -> None:
    pages = [page.name for page in PAGES[1:]]
    assert sorted(nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])) == pages
    linked = _LINK.findall((ROOT / "docs" / "index.md").read_text())
    assert sorted([*linked, "index.md"]) == pages


def test_the_files_that_the_readme_names_exist() -> None:
    names = re.findall(r"`(docs[\w./-]*|examples|[A-Z]+\.md)`", (ROOT / "README.md").read_text())
    assert len(names) > 5
    assert [name for name in names if not (ROOT / name).exists()] == []


# -- tables ----------------------------------------------------------------------------------------


def column(page: str, head: str) -> list[str]:
    """The names in backticks in the first column of the table below the heading `head`."""
    text = (ROOT / "docs" / page).read_text()
    _, found, rest = text.partition(f"\n## {head}\n")
    assert found, f"{page} has no heading {head!r}"
    rows = re.findall(r"^\| (`.+?) \|", rest.partition("\n## ")[0], re.M)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def texts(node: ast.AST) -> Iterator[str]:
    """What an expression can be, as far as its words tell: f-strings as patterns."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z]+"
            for part in node.values
        )
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))


def finding_codes() -> set[str]:
    """What the source gives for a finding's code, to `Finding` or to what passes a `code` on."""
    takes = {"Finding": 1, "at": -1}
    functions = [
        node
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "'Finding'" in ast.dump(node)
    ]
    for function in functions:
        names = [argument.arg for argument in function.args.args]
        if "code" in names:
            takes[function.name] = names.index("code") - (names[0] == "self")
    given: list[ast.AST] = []
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in takes:
                    given += node.args[takes[name] :][:1] if takes[name] >= 0 else []
                    given += (k.value for k in node.keywords if k.arg == "code")
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
                given.append(node.value)
    from yamlgraph_prompts.templates.render_job import _CODES

    found = {*map(re.escape, _CODES.values()), *(text for node in given for text in texts(node))}
    # Jinja's compiler has a method of the same name that is given a sentence.
    return {code for code in found if " " not in code}


def test_every_finding_code_is_explained_and_none_is_made_up() -> None:
    told, made = column("checks.md", "Findings"), finding_codes()
    assert len(told) == len(set(told))
    patterns = [re.compile(code) for code in made]
    assert [c for c in told if not any(p.fullmatch(c) for p in patterns)] == []
    assert [p.pattern for p in patterns if not any(map(p.fullmatch, told))] == []


def test_every_kind_of_event_that_is_sent_is_explained() -> None:
    from yamlgraph_prompts._model.events import EventKind

    sent = {
        constant.value
        for name, tree in sources()
        if name != "events.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("event", "Event")
        and node.args
        for constant in ast.walk(node.args[0])
        if isinstance(constant, ast.Constant)
    }
    assert sorted(column("operations.md", "Events")) == sorted(sent & set(get_args(EventKind)))


def test_every_state_that_an_operator_should_look_at_is_explained() -> None:
    words = ast.parse((PACKAGE / "_model/health.py").read_text())
    named = {
        key.value
        for node in ast.walk(words)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert sorted(column("operations.md", "Health")) == sorted(named)


def test_every_outcome_is_explained() -> None:
    from yamlgraph_prompts._model.release import Status

    assert sorted(column("operations.md", "Outcomes")) == sorted(get_args(Status))


def test_every_error_is_explained() -> None:
    from yamlgraph_prompts import errors

    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PromptsError)
    }
    assert sorted(column("operations.md", "Errors")) == sorted(tree - {"PromptsError"})


def test_every_environment_variable_is_explained() -> None:
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"YAMLGRAPH_PROMPTS_[A-Z]+", path.read_text())
    }
    told = column("operations.md", "Environment variables")
    assert sorted(n for n in told if n.startswith("YAMLGRAPH_PROMPTS_")) == sorted(read)


def test_every_module_has_a_purpose_and_a_place_on_the_map() -> None:
    shown = column("how-it-works.md", "Map of the code")
    trees = dict(sources())
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []
    top = {f"{n.partition('/')[0]}/" if "/" in n else n.removesuffix(".py") for n in trees}
    top.discard("__init__")
    assert len(shown) == len(set(shown))
    missing, made_up = top - set(shown), set(shown) - top
    assert not missing, f"the map in docs/how-it-works.md lacks {sorted(missing)}"
    assert not made_up, f"the map in docs/how-it-works.md has what is not there: {sorted(made_up)}"


def test_the_limits_are_the_ones_that_hold() -> None:
    from yamlgraph_prompts._files import regular_file
    from yamlgraph_prompts._model import pack
    from yamlgraph_prompts._sandbox import budget
    from yamlgraph_prompts._yaml_file import bounds as yaml_bounds
    from yamlgraph_prompts.sources import directory
    from yamlgraph_prompts.templates import render

    limits = budget.Limits()
    page = " ".join((ROOT / "docs" / "templates.md").read_text().split())
    for limit in (
        f"one prompt, part or vars file | {regular_file.LIMIT_FILE_BYTES >> 20} MiB",
        f"one layer | {directory.LIMIT_BYTES >> 20} MiB",
        f"one release | {pack.MAX_BODIES >> 20} MiB, {pack.MAX_PROMPTS:,} prompts",
        f"nested YAML | {yaml_bounds.MAX_DEPTH} levels",
        f"aliases (`*name`) written out | {yaml_bounds.MAX_EXPANSION:,} nodes",
        f"all messages together | {limits.characters >> 20} MiB of characters",
        f"loops and other work of one prompt | {limits.iterations:,} steps",
        f"that one prompt makes on the way | {limits.memory >> 20} MiB",
        f"time for rendering one prompt | {limits.seconds:g} s",
        f"memory of the process that renders them | {render.MEMORY_BYTES >> 30} GiB",
    ):
        assert limit in page, limit


def test_the_table_of_operations_is_what_templates_can_do() -> None:
    from yamlgraph_prompts._sandbox.access import METHODS
    from yamlgraph_prompts._sandbox.filters import FILTERS
    from yamlgraph_prompts._sandbox.functions import GLOBALS, TESTS
    from yamlgraph_prompts._sandbox.methods import FIELDS

    page = (ROOT / "docs" / "templates.md").read_text()
    tables = {kind: {*names, *FIELDS.get(kind, ())} for kind, names in METHODS.items()}
    tables |= {"filters": set(FILTERS), "functions": set(GLOBALS)}
    tables |= {"tests": {name for name in TESTS if name.isalpha()}}
    for kind, names in tables.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} |"))
        assert set(re.findall(r"`(\w+)`", row)) == names, kind


@pytest.fixture(scope="module")
def site_hooks() -> ModuleType:
    loader = SourceFileLoader("site_hooks", str(ROOT / "docs" / "site_hooks.py"))
    spec = spec_from_loader("site_hooks", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_command_reference_has_every_command_and_argument(site_hooks: ModuleType) -> None:
    from yamlgraph_prompts._cli.arguments import _parser

    cli = SimpleNamespace(file=SimpleNamespace(src_uri="cli.md"))
    reference = site_hooks.on_page_markdown((ROOT / "docs" / "cli.md").read_text(), cli)
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    parts = re.split(r"^## (\w+)$", reference, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == list(commands.choices)
    for name, parser in commands.choices.items():
        section = sections[name].replace("\\", "")
        for action in parser._actions:
            options = action.option_strings or [str(action.metavar)]
            named = re.compile(rf"`{re.escape(options[0])}(?![\w-])")
            row = next(line for line in section.splitlines() if named.search(line[:70]))
            assert all(option in row for option in options)
            assert " ".join((action.help or "").split()) in row


def test_the_site_gets_code_blocks_that_markdown_knows(site_hooks: ModuleType) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="x.md"))
    shown = site_hooks.on_page_markdown("```python title=a.py\nx\n```\n```console run\n", page)
    assert shown == "```python\nx\n```\n```console\n"


def test_every_public_name_has_an_entry_in_the_api_reference() -> None:
    entries = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert len(entries) == len(set(entries))
    public = {f"yamlgraph_prompts.{name}" for name in yamlgraph_prompts.__all__}
    assert public <= set(entries)
    for entry in set(entries) - public:
        module, _, name = entry.rpartition(".")
        assert hasattr(importlib.import_module(module), name), entry


def test_every_public_name_is_in_the_documentation() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert [n for n in yamlgraph_prompts.__all__ if not re.search(rf"\b{n}\b", text)] == []


def test_the_versions_are_the_ones_that_we_claim() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "yamlgraph.md").read_text()
    wanted = [*project["optional-dependencies"]["yamlgraph"], f"python{project['requires-python']}"]
    wanted += [one for one in project["dependencies"] if one.startswith("langgraph")]
    assert [one for one in wanted if f"`{one}`" not in page] == []
