"""`yamlgraph-prompts check`: findings for people, programs and pull requests. Uses no store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from yamlgraph_prompts._cli.projects import graphs_at_stake
from yamlgraph_prompts._cli.selection import Selection, common, seems_graph, selections
from yamlgraph_prompts._cli.terminal import finding_lines, note, paint, say, say_json
from yamlgraph_prompts._publishing.builds import does_not_build
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.findings import Finding, printable

if TYPE_CHECKING:
    from yamlgraph_prompts._publishing.candidate import Candidate


class _Words(NamedTuple):
    """The paths that were given."""

    graphs: list[str]
    folders: list[str]
    files: list[str]


def run(arguments: Any) -> int:
    """Check; 1 where there is an error."""
    if arguments.changed and not arguments.layers:
        _add_graphs_at_stake(arguments)
        if not arguments.words:
            note("The change has no prompts and no graphs: nothing was checked.")
            return 0
    words = _sorted(arguments.words)
    among = [] if arguments.graphs else _among_prompts(arguments, words)
    graphs = [graph for graph in words.graphs if graph not in among]
    files = [*words.files, *(file for file in among if file.endswith(".yaml"))]
    waiting = _selections(arguments, _Words(graphs, words.folders, files))
    findings: dict[Finding, None] = {}
    candidates: list[tuple[Selection, Candidate]] = []
    unbuilt = dict.fromkeys(map(os.path.normpath, among))
    known = {Path(graph).resolve() for graph in graphs}
    while waiting:
        selection, names = waiting.pop(0)
        candidate = selection.candidate(strict=arguments.strict)
        candidates.append((selection, candidate))
        # A child is built with its parent.
        known.update(*(facts.plan or () for facts in candidate.graphs.values()))
        found = [os.path.normpath(names.get(file, file)) for file in candidate.graph_files]
        found = [file for file in found if Path(file).resolve() not in known]
        if arguments.graphs:
            known.update(Path(file).resolve() for file in found)
            waiting += [(other, {}) for other in selections(arguments, found)] if found else []
        else:
            unbuilt.update(dict.fromkeys(found))
        if not (candidate.release.prompts or candidate.refused or selection.graphs or unbuilt):
            note(f"There are no prompts in {selection.shown}: nothing was checked.")
        for finding in map(_gated, candidate.findings):
            findings[finding.at(file=names.get(finding.file or "", finding.file))] = None
        if arguments.no_build:
            unbuilt.update(dict.fromkeys(map(str, selection.graphs)))
        else:
            findings.update(dict.fromkeys(building(candidate)))
    if arguments.config is not None:
        findings.update(dict.fromkeys(arguments.config.unused()))
    return _report(arguments, candidates, list(findings), list(unbuilt))


def _add_graphs_at_stake(arguments: Any) -> None:
    if _sorted(arguments.words).graphs or not (graphs := graphs_at_stake()):
        return
    arguments.words = [*arguments.words, *map(str, graphs)]
    note(
        f"Checked with their own prompts: {', '.join(map(str, graphs))}. "
        "If the app has layers, name them in yamlgraph-prompts.toml."
    )


def _report(
    arguments: Any,
    candidates: list[tuple[Selection, Candidate]],
    findings: list[Finding],
    unbuilt: list[str],
) -> int:
    errors = sum(finding.severity == "error" for finding in findings)
    if arguments.format != "text":
        findings = [finding.at(file=_in_repository(finding.file)) for finding in findings]
    if arguments.format == "json":
        say_json(_facts(candidates, findings, errors, unbuilt))
    elif arguments.format == "github":
        for finding in findings:
            say(annotation(finding))
        for file in unbuilt:
            title = f"file={_property(_in_repository(file) or file)},title=not-built"
            say(f"::notice {title}::{_data(_why_not(arguments))}")
        note(_summary(candidates, findings, errors))
    else:
        for line in finding_lines(findings):
            say(line)
        say(_summary(candidates, findings, errors))
        if unbuilt:
            listed = ", ".join(file if file.isprintable() else repr(file) for file in unbuilt)
            note(f"Not built: {listed}. {_why_not(arguments)}")
    return 1 if errors else 0


def _why_not(arguments: Any) -> str:
    if arguments.no_build:
        return "With --no-build no code of a graph runs; its prompts were checked."
    return (
        "A graph among the prompts is not built, since that runs its Python; "
        "use --graphs to build it."
    )


def _gated(finding: Finding) -> Finding:
    # Loading accepts such a graph, as YAMLGraph does; this check must not.
    return finding.at(severity="error") if finding.code == "missing-prompt" else finding


def annotation(finding: Finding) -> str:
    """A finding as GitHub's workflow command.

    Example:
        >>> annotation(Finding("error", "yaml-syntax", "50% is\\nbad", file="a,b.yaml", line=3))
        '::error file=a%2Cb.yaml,line=3,title=yaml-syntax::50%25 is%0Abad'
    """
    facts = {
        "file": finding.file,
        "line": finding.line,
        "col": finding.column,
        "title": finding.code,
    }
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in facts.items() if value)
    text = f"{finding.message}\n{finding.hint}" if finding.hint else finding.message
    return f"::{finding.severity} {properties}::{_data(text)}"


def _in_repository(file: str | None) -> str | None:
    """A path from the repository's root, for programs; a step may run in a subfolder."""
    if not file or "://" in file:
        return file
    path = Path(os.path.abspath(file))
    above = (one for one in path.parents if (one / ".git").exists())
    roots = (os.environ.get("GITHUB_WORKSPACE"), next(above, None), Path.cwd())
    inside = (path.relative_to(root) for root in roots if root and path.is_relative_to(root))
    return next(map(str, inside), file)


def _data(text: str) -> str:
    text = printable(text, keep="\r\n")
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")


def _among_prompts(arguments: Any, words: _Words) -> list[str]:
    """The graphs that are among the prompts, and so were not named as graphs.

    Such a graph may be part of the change under check: a wildcard or a tool such as pre-commit
    names it like any other file.
    """
    layers = [url.partition("{")[0].removeprefix("file://") for url, _ in arguments.layers or ()]
    prompts = {Path(word).resolve() for word in (*words.folders, *words.files, *layers)}
    roots = {path if path.is_dir() else path.parent for path in prompts}

    def is_among(path: Path) -> bool:
        return "prompts" in _below_here(path.parent).parts or any(map(path.is_relative_to, roots))

    return [
        graph
        for graph in words.graphs
        if is_among(Path(graph).resolve())
        or is_among(Path(graph).parent.resolve() / Path(graph).name)
    ]


def _below_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _selections(arguments: Any, words: _Words) -> list[tuple[Selection, Mapping[str, str]]]:
    """What to check: graphs on their layers, folders as layers, and prompt files by themselves.

    Each comes with the real names of the files in its findings, where they differ.

    A tool such as pre-commit names the files that changed. Files in a checked layer are checked
    with it; other named files are checked on their own, so that none is skipped.
    """
    graphs, folders, files = words
    facts = common(arguments)
    configured = bool(graphs or arguments.layers)
    # Templates and vars need the files beside them; a prompt is complete in itself.
    beside = {str(Path(file).parent) for file in files if not _complete(file)}
    if not configured:
        folders = [*folders, *sorted(beside - set(folders))]
    found = [Selection((folder,), **facts) for folder in folders]
    if configured or not arguments.words:
        found += selections(arguments, graphs, reading=arguments.no_build)
    alone = [file for file in files if _complete(file) and not _covered(file, found)]
    if not alone:
        return [(selection, {}) for selection in found]
    names = {_inside(file): file for file in alone}
    layer = {name: Path(file).read_bytes() for name, file in names.items()}
    return [*((selection, {}) for selection in found), (Selection((layer,), **facts), names)]


def _complete(file: str) -> bool:
    return not (file.endswith(".j2") or Path(file).name.startswith("vars."))


def _covered(file: str, found: Iterable[Selection]) -> bool:
    folders = (
        folder for selection in found for reader in selection.readers for folder in reader.watched()
    )
    return any(Path(file).resolve().is_relative_to(folder.resolve()) for folder in folders)


def _inside(path: str) -> str:
    """A name within a layer for a file anywhere."""
    return "/".join(part for part in Path(path).parts if part not in ("..", "/"))


def _sorted(words: Iterable[str]) -> _Words:
    graphs: list[str] = []
    folders: list[str] = []
    files: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            folders.append(word)
        elif word.endswith((".yaml", ".yml")) and _is_there(path) and seems_graph(path):
            graphs.append(word)
        elif word.endswith((".yaml", ".j2")) and path.is_file():
            files.append(word)
        else:
            text = f"{word} is neither a graph nor a prompt nor a folder."
            hint = "Prompts end in .yaml or .yaml.j2; a graph has nodes and edges."
            raise PromptsError(text, hint=hint)
    return _Words(graphs, folders, files)


def _is_there(path: Path) -> bool:
    """Whether it is a file, so that reading it never waits; raises where there is nothing."""
    if not path.exists():
        raise PromptsError(f"{path} cannot be read: no such file.")
    return path.is_file()


def building(candidate: Candidate) -> Iterator[Finding]:
    """The findings that only a build of the graphs shows; a publication builds them too."""
    from yamlgraph_prompts.registry.store import Store

    store, found = Store(None), candidate.findings
    try:
        for graph, facts in candidate.graphs.items():
            if any(f.severity == "error" and f.graph in (None, facts.name) for f in found):
                continue
            try:
                graph.build(facts, candidate.release, store.view).compile()
            except (Exception, SystemExit) as problem:  # noqa: BLE001 - a graph's builder may raise anything
                yield from does_not_build(problem)
    finally:
        store.close()


def _facts(
    candidates: list[tuple[Selection, Candidate]],
    findings: list[Finding],
    errors: int,
    unbuilt: list[str],
) -> dict[str, Any]:
    return {
        "ok": not errors,
        "errors": errors,
        "warnings": len(findings) - errors,
        "checked": [
            {
                "release": candidate.release.id,
                "environment": selection.environment,
                "layers": [reader.url for reader in selection.readers],
                "graphs": [str(path) for path in selection.graphs],
                "prompts": len(candidate.release),
            }
            for selection, candidate in candidates
        ],
        "not_built": unbuilt,
        "findings": [asdict(finding) for finding in findings],
    }


def _summary(
    candidates: list[tuple[Selection, Candidate]], findings: Iterable[Finding], errors: int
) -> str:
    warnings = sum(1 for _ in findings) - errors
    prompts = sum(len(candidate.release) for _, candidate in candidates)
    graphs = sum(len(selection.graphs) for selection, _ in candidates)
    what = _count(prompts, "prompt") + (f", {_count(graphs, 'graph')}" if graphs else "")
    counts = f"{_count(errors, 'error')}, {_count(warnings, 'warning')} in {what}"
    if errors:
        return paint(f"✗ {counts}", "bold", "red")
    return paint(f"✓ {counts}", "yellow" if warnings else "green")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
