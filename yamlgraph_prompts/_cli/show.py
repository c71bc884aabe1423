"""`yamlgraph-prompts show`: a prompt as it is served, where it comes from, its messages."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.channels import as_prompt, channel, urls_in, versions_in
from yamlgraph_prompts._cli.selection import LAYERS, Selection, one_selection, split
from yamlgraph_prompts._cli.terminal import (
    finding_lines,
    note,
    paint,
    say,
    say_json,
    say_lines,
    table,
)
from yamlgraph_prompts._model.graph import GraphFacts
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._model.version import parse_version
from yamlgraph_prompts.errors import GraphNotFound, PromptRenderError, PromptsError
from yamlgraph_prompts.sources.layers import resolve

if TYPE_CHECKING:
    from yamlgraph_prompts._publishing.candidate import Candidate

_NOT_READ = frozenset(
    {"unreadable", "special-file", "escaping-link", "escaping-name", "too-large", "twin-files"}
    | {"vars", "j2-syntax", "j2-undefined", "j2-error", "j2-timeout", "j2-output"}
)


def run(arguments: Any) -> int:
    """Show prompts; PromptNotFound if there is no such prompt."""
    urls, words = urls_in(arguments.words)
    graphs, names = split(words)
    arguments.layers = [*(arguments.layers or ()), *((url, False) for url in urls)]
    facts: tuple[GraphFacts, ...] = ()
    homes: Mapping[str, list[str]] = {}
    if urls and any(map(parse_version, names)):
        there = channel(arguments, urls)
        numbers = versions_in(names)
        versions = [there.versions().version(name, number or 0) for name, number in numbers.items()]
        release = Release.of(as_prompt(version, there.url) for version in versions)
        names = list(numbers)
    elif arguments.release == LAYERS:
        selection = _selection(arguments, graphs)
        candidate = selection.candidate()
        release, facts = candidate.release, tuple(candidate.graphs.values())
        _report_missing(candidate, names)
        homes = _homes(selection)
    else:
        release = _selection(arguments, graphs).release(arguments.release)
    served = _served(release, facts)
    for name in names:
        if name not in served:
            raise release.not_found(name)
    if arguments.rendered:
        return _rendered([served[name] for name in names], arguments)
    shown = [_facts(served[name], homes, facts) for name in names or sorted(served)]
    if arguments.json:
        say_json({"release": release.id, "environment": release.environment, "prompts": shown})
    elif names:
        for fact in shown:
            _say_prompt(fact)
    else:
        _say_list(release, shown)
    return 0


def _selection(arguments: Any, graphs: list[str]) -> Selection:
    try:
        return one_selection(arguments, graphs, reading=True)
    except GraphNotFound as problem:
        problem.hint = f"{problem.hint} Name a prompt without .yaml, such as greeting."
        raise


def _report_missing(candidate: Candidate, names: list[str]) -> None:
    """Report files that could not be read or rendered on standard error: no list has them."""
    for line in finding_lines((f for f in candidate.findings if f.code in _NOT_READ), sys.stderr):
        note(line)
    errors = sum(f.severity == "error" and f.code not in _NOT_READ for f in candidate.findings)
    if errors and not names:
        note(
            f"There {'is 1 error' if errors == 1 else f'are {errors} errors'}: "
            "run yamlgraph-prompts check."
        )


def _served(release: Release, graphs: tuple[GraphFacts, ...]) -> dict[str, Prompt]:
    """The release's prompts, and those that the graphs take from their own folders."""
    served = dict(release.prompts)
    for facts in graphs:
        for file in facts.files:
            for use in file.uses:
                prompt = facts.prompt(file, use.prompt, release)
                if prompt is not None and use.prompt not in release:
                    served.setdefault(file.own_name(use.prompt), prompt)
    return served


def _homes(selection: Selection) -> dict[str, list[str]]:
    """Prompt name → the layers that have it, highest priority first."""
    homes: dict[str, list[str]] = {}
    for reader in selection.readers:
        resolved = resolve([reader.read()], selection.environment)
        for name in (*resolved.prompts, *resolved.templates):
            homes.setdefault(name, []).append(reader.url)
    return homes


def _facts(
    prompt: Prompt, homes: Mapping[str, list[str]], graphs: tuple[GraphFacts, ...]
) -> dict[str, Any]:
    try:
        variables: list[str] | None = sorted(prompt.variables)
    except PromptsError:
        variables = None
    return {
        "name": prompt.name,
        "layer": prompt.layer,
        "file": prompt.file,
        "hides": [url for url in homes.get(prompt.name, ()) if url != prompt.layer],
        "variables": variables,
        "used_by": [
            f"{file.file}: {use.node} ({use.kind})"
            for facts in graphs
            for file in facts.files
            for use in file.uses
            if prompt.name in (use.prompt, file.own_name(use.prompt))
        ],
        "sha256": prompt.sha256,
        "text": prompt.data.decode("utf-8", "replace"),
    }


def _say_prompt(fact: Mapping[str, Any]) -> None:
    variables = fact["variables"]
    lines = {
        "layer": fact["layer"],
        "file": fact["file"],
        "hides": ", ".join(fact["hides"]),
        "variables": "unknown; see yamlgraph-prompts check"
        if variables is None
        else ", ".join(variables),
        "used by": ", ".join(fact["used_by"]),
        "sha256": fact["sha256"],
    }
    say(paint(fact["name"], "bold"))
    for key, value in lines.items():
        if value:
            say(f"  {paint(f'{key:<9}', 'dim')}  {paint(value)}")
    say()
    say_lines(fact["text"].rstrip("\n"), "cyan", indent="  ")
    say()


def _say_list(release: Release, prompts: list[dict[str, Any]]) -> None:
    say(f"{paint(f'release {release.id[:12]}', 'bold')}  environment {release.environment}")
    rows = [
        (fact["name"], fact["layer"], f"hides {', '.join(fact['hides'])}" if fact["hides"] else "")
        for fact in prompts
    ]
    for line in table(rows, indent="  ") if rows else ():
        say(line)


def _rendered(prompts: list[Prompt], arguments: Any) -> int:
    if not prompts:
        raise PromptsError("--rendered needs the name of a prompt.")
    from yamlgraph_prompts._check.untrusted import preview

    variables = dict(map(_variable, arguments.variables))
    rendered, wanted = [], set()
    for prompt in prompts:
        facts, body = preview(prompt.name, prompt.data, {"variables": variables})
        wanted.update(facts.get("needed", ()))
        if "failed" in facts and not wanted:
            raise PromptRenderError(facts["failed"], prompt=prompt.name, hint=facts["hint"])
        for message in json.loads(body)["messages"] if body else ():
            rendered.append({"prompt": prompt.name, **message, "role": _role(message["role"])})
    if wanted:
        text = f"These variables are missing: {', '.join(sorted(wanted))}."
        hint = f"Add {' '.join(f'--var {name}=TEXT' for name in sorted(wanted))}."
        raise PromptsError(text, hint=hint)
    if arguments.json:
        say_json(rendered)
        return 0
    for message in rendered:
        say(paint(f"[{message['role']}]", "bold"))
        say_lines(_text(message["content"]), "cyan")
        say()
    return 0


def _role(kind: str) -> str:
    return {"human": "user", "ai": "assistant"}.get(kind, kind)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", part)) for part in content)


def _variable(argument: str) -> tuple[str, Any]:
    name, equals, value = argument.partition("=")
    if not equals or not name.rstrip(":"):
        raise PromptsError(f"{argument!r} is not a variable.", hint="Use NAME=TEXT or NAME:=JSON.")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except ValueError as problem:
        raise PromptsError(f"The value of {name[:-1]} is not JSON: {problem}.") from None
