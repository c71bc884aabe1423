"""`yamlgraph-prompts check`: findings for people, machines and pull requests. Touches no store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts.builds import does_not_build
from yamlgraph_prompts.cli.places import Place, places, seems_graph
from yamlgraph_prompts.cli.terminal import finding_lines, note, paint, say, say_json
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.findings import Finding, printable

if TYPE_CHECKING:
    from yamlgraph_prompts.candidate import Candidate


def run(arguments: Any) -> int:
    """Check; 1 where there is an error."""
    findings: dict[Finding, None] = {}
    candidates: list[tuple[Place, Candidate]] = []
    for place, names in _places(arguments):
        candidate = place.candidate(strict=arguments.strict)
        candidates.append((place, candidate))
        if not candidate.release and not candidate.refused and not place.graphs:
            note(f"There are no prompts in {place.shown}: nothing was checked.")
        for finding in map(_gated, candidate.findings):
            findings[finding.at(file=names.get(finding.file or "", finding.file))] = None
        findings.update(dict.fromkeys(building(candidate)))
    errors = sum(finding.severity == "error" for finding in findings)
    if arguments.format == "json":
        say_json(_facts(candidates, list(findings), errors))
    elif arguments.format == "github":
        for finding in findings:
            say(annotation(finding.at(file=_in_repository(finding.file))))
        note(_summary(candidates, findings, errors))
    else:
        for line in finding_lines(findings):
            say(line)
        say(_summary(candidates, findings, errors))
    return 1 if errors else 0


def _gated(finding: Finding) -> Finding:
    # A load has to take such a graph, as YAMLGraph does; a gate is here to stop it.
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
    told = ",".join(f"{key}={_property(str(value))}" for key, value in facts.items() if value)
    text = f"{finding.message}\n{finding.hint}" if finding.hint else finding.message
    return f"::{finding.severity} {told}::{_data(text)}"


def _in_repository(file: str | None) -> str | None:
    """GitHub knows files by their paths in the repository; its steps may run further down."""
    if not file or "://" in file:
        return file
    path = Path(os.path.abspath(file))
    roots = (os.environ.get("GITHUB_WORKSPACE"), Path.cwd())
    inside = (path.relative_to(root) for root in roots if root and path.is_relative_to(root))
    return next(map(str, inside), file)


def _data(text: str) -> str:
    text = printable(text, keep="\r\n")
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")


def _places(arguments: Any) -> list[tuple[Place, Mapping[str, str]]]:
    """What to check: graphs on their layers, folders as layers, and prompt files by themselves.

    With each comes what the files in its findings are really called, where that differs.

    A tool such as pre-commit names the files that changed. What lies in a layer that is checked is
    checked with it; whatever else was named is checked by itself, so that nothing goes unseen.
    """
    graphs, folders, files = _sorted(arguments.words)
    common = {"given": arguments.environment, "root": arguments.store}
    configured = bool(graphs or arguments.layers)
    # Templates and vars need what stands beside them; a prompt is complete in itself.
    beside = {str(Path(file).parent) for file in files if not _complete(file)}
    if not configured:
        folders += sorted(beside - set(folders))
    found = [Place((folder,), **common) for folder in folders]
    if configured or not arguments.words:
        found += places(arguments, graphs)
    alone = [file for file in files if _complete(file) and not _covered(file, found)]
    if not alone:
        return [(place, {}) for place in found]
    names = {_inside(file): file for file in alone}
    layer = {name: Path(file).read_bytes() for name, file in names.items()}
    return [*((place, {}) for place in found), (Place((layer,), **common), names)]


def _complete(file: str) -> bool:
    return not (file.endswith(".j2") or Path(file).name.startswith("vars."))


def _covered(file: str, found: Iterable[Place]) -> bool:
    folders = (folder for place in found for reader in place.readers for folder in reader.watched())
    return any(Path(file).resolve().is_relative_to(folder.resolve()) for folder in folders)


def _inside(path: str) -> str:
    """A name for a file that leads out of no layer, wherever the file is."""
    return "/".join(part for part in Path(path).parts if part not in ("..", "/"))


def _sorted(words: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """(graphs, folders, prompt files) among the paths that were given."""
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
            raise PromptsError(
                f"{word} is neither a graph, nor a prompt, nor a folder.",
                hint="Prompts end in .yaml or .yaml.j2; a graph has nodes and edges.",
            )
    return graphs, folders, files


def _is_there(path: Path) -> bool:
    """Whether it is a file, so that reading it never waits; raises where there is nothing."""
    if not path.exists():
        raise PromptsError(f"{path} cannot be read: there is no such file.")
    return path.is_file()


def building(candidate: Candidate) -> Iterator[Finding]:
    """What only building a graph shows; a publication would build it too."""
    from yamlgraph_prompts.memory_store import MemoryStore

    store, found = MemoryStore(), candidate.findings
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
    candidates: list[tuple[Place, Candidate]], findings: list[Finding], errors: int
) -> dict[str, Any]:
    return {
        "ok": not errors,
        "errors": errors,
        "warnings": len(findings) - errors,
        "checked": [
            {
                "release": candidate.release.id,
                "environment": place.environment,
                "layers": [reader.url for reader in place.readers],
                "graphs": [str(path) for path in place.graphs],
                "prompts": len(candidate.release),
            }
            for place, candidate in candidates
        ],
        "findings": [asdict(finding) for finding in findings],
    }


def _summary(
    candidates: list[tuple[Place, Candidate]], findings: Iterable[Finding], errors: int
) -> str:
    warnings = sum(1 for _ in findings) - errors
    prompts = sum(len(candidate.release) for _, candidate in candidates)
    graphs = sum(len(place.graphs) for place, _ in candidates)
    what = _count(prompts, "prompt") + (f", {_count(graphs, 'graph')}" if graphs else "")
    told = f"{_count(errors, 'error')}, {_count(warnings, 'warning')} in {what}"
    if errors:
        return paint(f"✗ {told}", "bold", "red")
    return paint(f"✓ {told}", "yellow" if warnings else "green")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
