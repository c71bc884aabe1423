"""What each view shows, from the same functions that answer the API's routes. Changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from yamlgraph_prompts._check.untrusted import side_by_side
from yamlgraph_prompts._model.graph import PromptUse
from yamlgraph_prompts._model.release import Prompt, ReleaseDiff
from yamlgraph_prompts._model.version import Version as Numbered
from yamlgraph_prompts.admin.api.reading import LAYERS, prompt_body, release_of
from yamlgraph_prompts.admin.api.versions import promotion, version_diff
from yamlgraph_prompts.admin.api.watching import readiness
from yamlgraph_prompts.admin.api.writing import locked
from yamlgraph_prompts.admin.bodies import NAME_PATTERN, AuditLine
from yamlgraph_prompts.admin.context import Admin
from yamlgraph_prompts.admin.page.changes import Changes, Version
from yamlgraph_prompts.admin.page.picture import Picture, picture
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.admin.security.auth import Who
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.registry.ports import Activation

MAX_ROWS = 5_000
MAX_DIFFS = 100
MAX_VERSIONS = 200
LOG_LINES = 200
NEW_TEXT = "system: |\n  You are a helpful assistant.\nuser: |\n  {question}\n"

Facts = dict[str, Any]


def listed(admin: Admin, changes: Changes, search: str) -> Facts:
    release, uses = admin.prompts.release, admin.prompts.uses()
    times, wanted, now = changes.times(), search.casefold(), time.time()
    rows = []
    for name, prompt in release.prompts.items():
        used = uses.get(name, [])
        text = " ".join([name, prompt.layer, *(f"{graph} {use.node}" for graph, use in used)])
        if wanted in text.casefold():
            nodes: dict[str, list[str]] = {}
            for graph, use in used:
                nodes.setdefault(graph, []).append(use.node)
            rows.append({"prompt": prompt, "uses": nodes, "at_s": times.get(name, now)})
    return {
        "search": search,
        "total": len(release),
        "matching": len(rows),
        "rows": rows[:MAX_ROWS],
        "refused": _refused(admin),
        **health(admin),
    }


def health(admin: Admin) -> Facts:
    ready = readiness(admin, in_detail=True)
    line = next((one for one in admin.prompts.releases() if one.live), None)
    return {"ready": ready, "live": line, "by": _makers(admin).get(ready.release or "")}


def edited(admin: Admin, changes: Changes, who: Who, name: str, *, new: bool) -> Facts:
    """The editor of one prompt: what the layers hold, and whether that is what is live."""
    prompts = admin.prompts
    live = prompts.release.prompts.get(name)
    release, trouble = prompts.release, None
    try:
        release = release_of(admin, LAYERS)
    except PromptsError as problem:
        trouble = problem.message
    held = release.prompts.get(name, live)
    if held is None and not (new and who.may("author")):
        raise prompts.release.not_found(name)
    text = held.data.decode("utf-8", "replace") if held else NEW_TEXT
    return {
        "name": name,
        "text": text.replace("\r\n", "\n"),
        "eol": "crlf" if "\r\n" in text else "lf",
        "sha256": held.sha256 if held else "",
        "is_new": held is None,
        "layer": held.layer if held else "",
        "writes": "" if admin.write_to is None else prompts.health.layers[admin.write_to].url,
        "prompt": held and prompt_body(admin, release, held),
        "layers_trouble": trouble,
        "not_live": held is not None and (live is None or live.sha256 != held.sha256),
        "live_text": live.data.decode("utf-8", "replace") if live else None,
        "held": prompts.held,
        "locked": _locked(admin, who, held),
        "used_by": prompts.uses().get(name, []),
        "graph_numbers": {
            file.file: number
            for number, facts in enumerate(prompts.graphs())
            for file in facts.files
        },
        "versions": [] if admin.versions else _versions(admin, changes, name),
        "numbered": _numbered(admin, name),
        "active": admin.versions and admin.versions.active(prompts.environment).get(name),
        "may_activate": who.may("author") and admin.may_activate(who),
    }


def fresh(admin: Admin, who: Who) -> Facts:
    """The form for the name of a new prompt."""
    # As browsers want it: they read patterns with the flag v.
    pattern = NAME_PATTERN[1:-1].replace("-]", r"\-]").replace("/", r"\/")
    return {"locked": _locked(admin, who, None), "pattern": pattern}


def releases(admin: Admin, who: Who) -> Facts:
    others = admin.versions.environments() if admin.versions and who.may("operator") else ()
    return {
        "sources": [one for one in others if one != admin.prompts.environment],
        "lines": admin.prompts.releases(),
        "makers": _makers(admin),
        "previous": admin.prompts.previous,
        **health(admin),
    }


def compared(admin: Admin, before: str, after: str, do: str) -> Facts:
    """What differs between two releases, and what can be done with the second."""
    facts = _differing(release_of(admin, before).diff(release_of(admin, after)))
    lines = {line.id: line for line in admin.prompts.releases()}
    do = do if do in ("activate", "rollback", "follow") else ""
    more = {"before": before, "after": after, "lines": lines, "held": admin.prompts.held}
    return {**facts, **more, "do": do, "live_id": admin.prompts.release.id}


def versions_compared(admin: Admin, name: str, before: str, after: str, do: str) -> Facts:
    """What differs between two versions of a prompt, and whether to activate the second."""
    if admin.versions is None or not (before.isdecimal() and after.isdecimal()):
        raise Refusal(404, "no-such-version", "There is no such version.")
    one, other = int(before[:9]), int(after[:9])
    diff = version_diff(admin.versions, name, one, other)
    labels = [f"Version {one}", f"Version {other}"]
    facts = {"labels": labels, "version_of": name, "number": other}
    live = admin.prompts.release
    used = {"live_id": live.id, "used_by": admin.prompts.uses().get(name, [])}
    return {
        **_differing(diff),
        **facts,
        **used,
        "do": do,
        "replaces": diff.before.prompts[name].sha256,
    }


def promoted(admin: Admin, source: str, do: str) -> Facts:
    """What a promotion from another environment would change here."""
    if admin.versions is None:
        raise Refusal(404, "no-such-environment", "These prompts are in no database.")
    _, now, there = promotion(admin, source)
    diff = now.diff(there)
    labels = [f"{admin.prompts.environment} now", f"what is active in {source}"]
    facts = {"labels": labels, "source": source, "live_id": admin.prompts.release.id}
    return {**_differing(diff), **facts, "do": do if diff else ""}


def _differing(diff: ReleaseDiff) -> Facts:
    names = diff.names
    kinds = {
        **dict.fromkeys(diff.added, "added"),
        **dict.fromkeys(diff.removed, "removed"),
        **dict.fromkeys(diff.changed, "changed"),
    }
    return {
        **dict.fromkeys(("labels", "version_of", "number", "replaces", "source", "used_by")),
        **dict.fromkeys(("before", "after"), ""),
        "lines": {},
        "old": diff.before,
        "new": diff.after,
        "counts": Counter(kinds.values()),
        "more": max(0, len(names) - MAX_DIFFS),
        "files": [
            {"name": name, "kind": kinds[name], "rows": rows}
            for name, rows in sorted(side_by_side(diff, names[:MAX_DIFFS]).items())
        ],
    }


def log(admin: Admin, prompt: str | None) -> Facts:
    return {"prompt": prompt, "log": _lines(admin, prompt, LOG_LINES)}


def graphs(admin: Admin) -> Facts:
    return {"graphs": admin.prompts.graphs()}


def pictured(admin: Admin, number: int) -> Facts:
    """One graph: as LangGraph draws it, and as a list."""
    every = admin.prompts.graphs()
    if not 0 <= number < len(every):
        raise Refusal(404, "no-such-graph", "There is no such graph.")
    facts = every[number]
    uses: dict[str, list[tuple[PromptUse, str]]] = {}
    for file in facts.files:
        for use in file.uses:
            name = facts.released_as(file, use.prompt)
            uses.setdefault(use.node if not file.key else f"{file.key}: {use.node}", []).append(
                (use, name)
            )
    drawing: Picture | None = None
    trouble = None
    after: dict[str, list[str]] = {}
    try:
        drawn = admin.prompts.drawing(facts)
        after = {node: [] for node in drawn.nodes}
        for edge in drawn.edges:
            after[edge.source].append(edge.target)
        drawing = picture(drawn)
    except Exception as problem:  # noqa: BLE001 - the graph's builder may raise anything
        trouble = type(problem).__name__
    return {
        "graph": facts,
        "drawing": drawing,
        "links": {node: found[0][1] for node, found in uses.items()},
        "trouble": trouble,
        "nodes": [
            {"name": node, "uses": uses.get(node, []), "after": after.get(node, [])}
            for node in dict.fromkeys([*after, *uses])
        ],
    }


def documented(document: Mapping[str, Any]) -> Facts:
    """The API, as its OpenAPI document has it."""
    return {
        "operations": [
            {
                "method": method.upper(),
                "path": path,
                "about": operation["description"],
                "parameters": [
                    {"description": "", **one} for one in operation.get("parameters", ())
                ],
                "bodies": list(operation.get("requestBody", {}).get("content", ())),
                "answers": {s: one["description"] for s, one in operation["responses"].items()},
            }
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]
    }


def _refused(admin: Admin) -> Facts | None:
    """The last candidate, while it is refused."""
    health = admin.prompts.health
    if health.last is None or health.last.status != "rejected":
        return None
    errors = sorted(health.last.errors, key=lambda one: (one.prompt or "", one.line or 0))
    known: set[str] = set(admin.prompts.release.prompts)
    if any(one.prompt and one.prompt not in known for one in errors):
        with suppress(PromptsError):
            known |= set(release_of(admin, LAYERS).prompts)
    return {
        "at_s": health.last_at_s,
        "reason": health.last.reason,
        "findings": [(one, one.prompt in known) for one in errors[:50]],
        "more": max(0, len(errors) - 50),
    }


def _makers(admin: Admin) -> Mapping[str, AuditLine]:
    """Release → who made it live last, where that was done here."""
    found: dict[str, AuditLine] = {}
    try:
        lines = admin.audit.newest(LOG_LINES)
    except PromptsError:
        return found
    for line in lines:
        made = line.after if line.action in ("activate", "rollback", "follow") else line.release
        if line.status == "published" and made:
            found.setdefault(made, line)
    return found


def _numbered(admin: Admin, name: str) -> list[tuple[Numbered, list[Activation]]]:
    """The versions in a database, newest first, each with when it became active and why."""
    if admin.versions is None:
        return []
    whys: dict[int | None, list[Activation]] = {}
    for one in admin.versions.activations(name):
        whys.setdefault(one.new, []).append(one)
    return [(one, whys.get(one.number, [])) for one in admin.versions.versions(name)[:MAX_VERSIONS]]


def _versions(admin: Admin, changes: Changes, name: str) -> list[Version]:
    """Those that a hold kept from going live at once name who saved them, not who ended it."""
    found = changes.of(name)
    if not any(one.reason in ("follow", "stored") for one in found):
        return found
    saved = {one.release: one for one in admin.audit.newest(LOG_LINES, name) if one.action == "put"}
    return [
        replace(one, who=line.who, message=line.message or "")
        if one.reason in ("follow", "stored") and (line := saved.get(one.release))
        else one
        for one in found
    ]


def _lines(admin: Admin, prompt: str | None, limit: int) -> list[AuditLine]:
    """The log without the ``"begun"`` lines of changes that ended."""
    ended: Counter[tuple[str, str, str | None]] = Counter()
    found = []
    for line in admin.audit.newest(2 * limit, prompt):
        what = (line.who, line.action, line.prompt)
        if line.status != "begun":
            ended[what] += 1
        elif ended[what]:
            ended[what] -= 1
            continue
        found.append(line)
    return found[:limit]


def _locked(admin: Admin, who: Who, prompt: Prompt | None) -> str | None:
    if not who.may("author"):
        return "Your role may look, not change."
    if prompt is not None:
        return locked(admin, prompt)
    return locked(admin, Prompt("new", b""))
