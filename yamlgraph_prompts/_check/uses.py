"""Which prompts of a release graphs use, with which variables, and which prompts they do not use.

What is wrong with a file by itself is found in `check.prompts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from yamlgraph_prompts._check.facts import FileFacts
from yamlgraph_prompts._check.prompts import Need, Position
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, PromptUse
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts.findings import (
    MAX_FINDINGS,
    Finding,
    FurtherFindings,
    Severity,
    bounded,
    shown,
)

_NEEDS_USER = frozenset({"call", "llm", "router", "map", "race", "interrupt"})
_READS_SCHEMA = frozenset({"llm", "router", "map", "race", "agent"})
_MAX_UNUSED = 100
_MAX_GUESSES = 100  # looking for a similar name takes a while
_MAX_PARTS = 20  # of a name that are left out to find it
_MAX_COMPARISONS = 20_000

Use = tuple[GraphFacts, GraphFile, PromptUse]


@dataclass
class Used:
    """One prompt that graphs use, and every place that does."""

    prompt: Prompt
    uses: list[Use] = field(default_factory=list)

    @property
    def bundled(self) -> bool:
        """Whether only graphs that bring their own prompts use it."""
        return all(facts.bundled for facts, _, _ in self.uses)

    @property
    def needs_user(self) -> bool:
        """Whether a node fails without a `user` text."""
        return any(_kind(use) in _NEEDS_USER or _is_copilot_api(use) for _, _, use in self.uses)

    @property
    def schema_is_read(self) -> bool:
        """Whether YAMLGraph reads the file for its schema when it loads a graph."""
        return any(_kind(use) in _READS_SCHEMA or _is_copilot_api(use) for _, _, use in self.uses)


# A prompt's name and digest: graphs may bring different prompts of one name.
UsedPrompts = dict[tuple[str, str], Used]


def prompts_in_use(release: Release, graphs: Sequence[GraphFacts]) -> tuple[UsedPrompts, list[Use]]:
    """The prompts that graphs use, and the uses of prompts that do not exist."""
    used: UsedPrompts = {}
    missing: list[Use] = []
    for facts in graphs:
        code = GraphFile("", "", "", facts.calls)
        for file in (*facts.files, code):
            for use in file.uses:
                prompt = facts.prompt(file, use.prompt, release)
                if prompt is None:
                    missing.append((facts, file, use))
                else:
                    one = used.setdefault((prompt.name, prompt.sha256), Used(prompt))
                    one.uses.append((facts, file, use))
    return used, missing


def missing_prompts(release: Release, missing: Iterable[Use]) -> tuple[Finding, ...]:
    """The findings for nodes whose prompts do not exist."""
    return bounded(
        _missing_prompt(release, use, guess=number < _MAX_GUESSES)
        for number, use in enumerate(missing)
    )


def _missing_prompt(release: Release, missing: Use, *, guess: bool) -> Finding:
    facts, file, use = missing
    places = [place.replace("{name}", use.prompt) for place in file.tried]
    names = [*file.own]
    if not facts.bundled:
        layers = (layer.url.rstrip("/") for layer in release.layers)
        places = [f"{layer}/{use.prompt}.yaml" for layer in layers] + places
        names += release.prompts
    near = None
    if guess:
        near = _under_another_name(use.prompt, release) or did_you_mean(use.prompt, names)
    looked = f"; looked at: {', '.join(dict.fromkeys(places))}" if places else ""
    return Finding(
        # YAMLGraph itself loads such a graph, and fails when it runs the node.
        "warning" if facts.bundled else _severity(facts, use),
        "missing-prompt",
        f"{_who(use)} needs the prompt {use.prompt!r}, which does not exist{looked}",
        prompt=use.prompt,
        file=file.file or None,
        line=use.line,
        hint=_hint(near, _way_out(use)),
        graph=facts.name,
    )


def _who(use: PromptUse) -> str:
    is_code = use.kind in ("call", "read")
    return f"the code of {use.node}" if is_code else f"the node {use.node!r}"


def _severity(facts: GraphFacts, use: PromptUse) -> Severity:
    return "warning" if use.seen and facts.kept else "error"


def _way_out(use: PromptUse) -> str | None:
    if not use.seen:
        return None
    return "Runs of this process use it so: deploy the code that does not, or activate the release."


def _hint(*sentences: str | None) -> str | None:
    return " ".join(filter(None, sentences)) or None


def _under_another_name(name: str, release: Release) -> str | None:
    """A hint where a layer has a prompt under a flat name, or under the end of its name."""
    for separator in ("__", "--", "_", "-", "."):
        flat = name.replace("/", separator)
        if flat != name and flat in release.prompts:
            way = f"Layer(url, separator={separator!r})"
            return f"A layer has {flat!r}: {way} reads it under this name."
    parts = name.split("/", _MAX_PARTS)
    for start in range(1, len(parts)):
        if (end := "/".join(parts[start:])) in release.prompts:
            return f"A layer has {end!r}: for this name its file would have to be {name}.yaml."
    return None


def own_prompts(release: Release, used: UsedPrompts) -> Iterator[Finding]:
    """Prompts from a graph's own folder although layers were given."""
    for one in used.values():
        facts, file, _ = one.uses[0]
        if facts.bundled or not one.prompt.layer.startswith("graph:"):
            continue
        name = one.prompt.name
        hint = f"Put it into a layer as {name}.yaml if it should follow the environment."
        yield Finding(
            "warning",
            "own-prompt",
            "no layer has this prompt; it comes from the graph's own folder",
            prompt=one.prompt.name,
            file=one.prompt.file or file.file,
            hint=_hint(hint, _under_another_name(name, release)),
            graph=facts.name,
        )


def missing_variables(one: Used, file_facts: FileFacts) -> Iterator[Finding]:
    """Variables that a prompt needs and a node neither passes nor has in its state."""
    left = MAX_FINDINGS
    for need in file_facts.needs:
        for facts, file, use in one.uses:
            passed = use.passes if use.passes is not None else file.state_keys
            if passed is None or not _sends(use, need.path):
                continue
            missing = need.variables - passed
            if use.kind == "call":
                missing -= need.optional
            listed = nsmallest(left, missing)
            positions = file_facts.variable_positions(need.path, listed)
            for number, variable in enumerate(listed, MAX_FINDINGS - left):
                similar = passed if number < _MAX_GUESSES else frozenset[str]()
                yield _missing_variable(
                    one.prompt, facts, use, need, variable, similar, positions.get(variable)
                )
            left -= len(listed)
            if len(missing) > len(listed):
                like = _missing_variable(
                    one.prompt, facts, use, need, min(missing), frozenset(), None
                )
                yield FurtherFindings.of(len(missing) - len(listed), like)


def _missing_variable(
    prompt: Prompt,
    facts: GraphFacts,
    use: PromptUse,
    need: Need,
    variable: str,
    similar: frozenset[str],
    position: Position,
) -> Finding:
    line, column = position or (None, None)
    stops = use.validates or need.dialect == "format"
    needs = f"needs the variable {shown(variable)}"
    message = f"the prompt {needs} in the node {use.node!r}, and the node does not pass it"
    hint = "Add it to the node's `variables:`, or correct the name."
    if use.kind == "call":
        message = f"{_who(use)} uses the prompt, which {needs}, and no call passes it"
        hint = "Pass it in the code, or correct the name."
    elif use.passes is None:
        message = (
            f"the prompt {needs} in the node {use.node!r}, and the graph's state has no such key"
        )
        hint = "Add it to the graph's `state:`, or correct the name."
    if variable in need.optional:
        hint = f"YAMLGraph needs each variable of a message, one with a default too. {hint}"
    return Finding(
        _severity(facts, use) if stops and not facts.bundled else "warning",
        "missing-variable",
        message,
        prompt=prompt.name,
        file=prompt.file or None,
        line=line,
        column=column,
        hint=_hint(did_you_mean(variable, similar), _way_out(use)) or hint,
        graph=facts.name,
    )


def unread_parts(one: Used, facts: FileFacts) -> Iterator[Finding]:
    """Forms of `system` that agents and the copilot's command line cannot use."""
    use = next((use for _, _, use in one.uses if _knows_one_system(use)), None)
    if use is None or b"system" not in one.prompt.data:
        return
    keys = facts.keys
    who = f"the node {use.node!r} ({use.kind})"
    hint = "Write one text under `system: |`."
    kind = keys["system"]["kind"] if "system" in keys else "str"
    if kind == "list" or (kind == "NoneType" and _kind(use) == "agent"):
        message = f"{who} needs one text under `system`"
        yield key_finding(facts, "system", "error", "shape", message, hint)
    if "system_segments" in keys:
        message = f"{who} does not read `system_segments`"
        yield key_finding(facts, "system_segments", "warning", "shape", message, hint)


def key_finding(
    facts: FileFacts,
    name: str,
    severity: Severity,
    code: str,
    message: str,
    hint: str | None = None,
    *,
    key: bool = True,
) -> Finding:
    """A finding at a top-level key, or at its value."""
    known = facts.keys.get(name)
    position = known and known["key_position" if key else "position"]
    line, column = position or (None, None)
    return Finding(severity, code, message, line=line, column=column, hint=hint)


def unused_prompts(
    release: Release, used: UsedPrompts, missing: Sequence[Use], graphs: Sequence[GraphFacts]
) -> Iterator[Finding]:
    """Prompts in layers that no graph names, such as an overlay's misspelt one."""
    unreadable = any(f.severity == "error" for facts in graphs for f in facts.findings)
    unknown = any(not facts.files for facts in graphs)
    if unreadable or unknown or all(facts.bundled for facts in graphs):
        return
    read = {name for name, _ in used}
    unused = [
        prompt
        for name, prompt in release.prompts.items()
        if name not in read and not prompt.layer.startswith("graph:")
    ]
    # A misspelt overlay must be loud, and overlays are smaller than what they lie on.
    lowest = release.layers[-1].url if release.layers else None
    unused.sort(key=lambda prompt: (prompt.layer == lowest, prompt.name))
    wanted = {one.prompt.name: one.prompt.layer for one in used.values()}
    wanted.update((use.prompt, "") for _, _, use in missing)
    comparisons = _MAX_COMPARISONS
    for prompt in unused[:_MAX_UNUSED]:
        elsewhere = [name for name, layer in wanted.items() if layer != prompt.layer]
        names = elsewhere[: max(comparisons, 0)]
        comparisons -= len(names)
        yield Finding(
            "warning",
            "unused-prompt",
            "no graph uses this prompt",
            prompt=prompt.name,
            file=prompt.file or None,
            hint=did_you_mean(prompt.name, names),
        )
    if len(unused) > _MAX_UNUSED:
        message = f"no graph uses {len(unused) - _MAX_UNUSED:,} further prompts"
        yield Finding("warning", "unused-prompt", message)


def _kind(use: PromptUse) -> str:
    return use.kind.rpartition("/")[2]


def _is_copilot_api(use: PromptUse) -> bool:
    return _kind(use) == "copilot" and use.validates


def _knows_one_system(use: PromptUse) -> bool:
    return _kind(use) == "agent" or (_kind(use) == "copilot" and not use.validates)


def _sends(use: PromptUse, path: tuple[str | int, ...]) -> bool:
    if path == ():
        return _kind(use) == "agent"
    return path in (("system",), ("user",)) or not _knows_one_system(use)
