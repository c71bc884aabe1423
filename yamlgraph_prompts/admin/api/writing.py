"""One write of a prompt: its conditions, the check, the write, and the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from yamlgraph_prompts._model.release import Outcome, Prompt
from yamlgraph_prompts._model.version import Version
from yamlgraph_prompts._publishing.destinations import Destination, redirected
from yamlgraph_prompts._publishing.drafts import Draft, Origin, Trial, Write
from yamlgraph_prompts.admin.api.conditions import ANY, Conditions
from yamlgraph_prompts.admin.bodies import (
    MAX_NAME,
    NAME_PATTERN,
    Change,
    Current,
    FindingBody,
    Use,
    reserved,
)
from yamlgraph_prompts.admin.context import Admin, Caller
from yamlgraph_prompts.admin.problems import Refusal, of_core
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.findings import Finding, printable

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """A requested change."""

    name: str  # the prompt's
    data: bytes | None  # of its file; None to remove it
    conditions: Conditions  # that must hold of the prompt as it is now
    message: str | None = None  # for the audit log
    activates: bool = False  # an existing version

    @property
    def action(self) -> str:
        return "activate" if self.activates else "delete" if self.data is None else "put"


def write(admin: Admin, caller: Caller, wish: Wish) -> Change:
    """Check, write, publish; or refuse with nothing changed.

    A fix of one of several broken prompts is written too, with the status ``"rejected"``.
    """
    layer = _layer(admin)
    publish = _publish(admin, layer, caller, wish)
    if _is_no_prompt(wish.name.rpartition("/")[2].lower()):
        text = "No prompt can have this name."
        hint = "Omit .yaml; vars files are not prompts."
        raise Refusal(422, "name", text, hint=hint)

    # Before the lock: a bucket's history may take seconds.
    last = _last(admin, caller, wish)

    draft = Draft(wish.name, wish.data, layer)
    order = {"reason": f"{wish.action} by {caller.who.name}", "who": caller.who.name}
    try:
        with admin.prompts.change(draft, message=wish.message or "", **order) as change:
            trial = change.trial
            _placed(trial, layer)
            _fresh(trial.before, wish.conditions)
            _sound(trial)
            if not caller.who.may("operator"):
                _keeps_destinations(trial, last)
            if not admin.may_activate(caller.who):
                return _stored(admin, caller, wish, trial)
            facts = _facts(wish, trial)
            begun = admin.audit.begin(caller.who, caller.address, wish.action, **facts)

            def on_disk() -> None:
                """No change without its line, no removal that is forgotten."""
                if wish.data is None:
                    live = trial.live.destinations(wish.name)
                    admin.last_live.remove(wish.name, live or trial.today().destinations(wish.name))
                begun()

            outcome = change.commit(before_write=on_disk, write=publish)
    except Refusal:
        raise
    except BaseException as problem:
        named = {"prompt": wish.name, "message": wish.message}
        admin.audit.add(caller.who, caller.address, wish.action, "failed", late=True, **named)
        if isinstance(problem, PromptsError):
            raise of_core(problem, noted=True) from problem
        raise
    status = "written" if trial.mends else outcome.status
    admin.audit.add(caller.who, caller.address, wish.action, status, late=True, **facts)
    if outcome.status == "rejected" and not trial.mends:
        raise rejected(outcome)
    return _change(admin, trial, outcome, publish)


def uses(admin: Admin, name: str) -> list[Use]:
    """Who uses a prompt."""
    return [Use.of(graph, use) for graph, use in admin.prompts.uses().get(name, ())]


def not_reserved(admin: Admin, name: str) -> None:
    """Refuse names that the routes of versions could not tell from their own."""
    if admin.versions is not None and (method := reserved(name)):
        text = "No prompt in a database can have this name: the API has a route that ends so."
        hint = "Names end neither in /versions, nor in /versions/1, nor in /activate/1."
        raise Refusal(405, "name", text, hint=hint, headers={"Allow": method})


def _stored(admin: Admin, caller: Caller, wish: Wish, trial: Trial) -> Change:
    """Keep what an author may not activate here."""
    where = f"In {admin.prompts.environment} only an operator activates and removes prompts"
    if wish.data is None or wish.activates or admin.versions is None:
        raise Refusal(403, "role", f"{where}.", hint="Ask an operator.")
    version = admin.versions.create(
        wish.name, wish.data, who=caller.who.name, message=wish.message or ""
    )
    admin.audit.add(
        caller.who, caller.address, wish.action, "stored", late=True, **_facts(wish, trial)
    )
    return waiting(admin, version, f" {where}.", trial.findings)


def waiting(
    admin: Admin, version: Version, why: str = "", findings: Iterable[Finding] = ()
) -> Change:
    """The answer to a version that is made and not active."""
    findings = tuple(findings)
    hint = f"PUT /prompts/{version.name}/activate/{version.number} activates it."
    if any(finding.severity == "error" for finding in findings):
        hint = "It cannot be activated as it is: see `findings`."
    return Change(
        status="stored",
        message=f"It is version {version.number}, and not active.{why}",
        hint=hint,
        name=version.name,
        sha256=version.sha256,
        release=admin.prompts.release.id,
        held=admin.prompts.held,
        findings=[FindingBody.of(finding) for finding in findings],
        elapsed_s=0.0,
        version=version.number,
        uses=uses(admin, version.name),
    )


def rejected(outcome: Outcome) -> Refusal:
    """The answer to what was not published."""
    for error in outcome.errors:
        if error.code in ("store", "layer"):
            return Refusal(
                503, error.code, error.message, hint=error.hint, findings=outcome.findings
            )
    text = "The check rejected it; the live release stays live."
    return Refusal(422, "rejected", text, findings=outcome.findings, noted=True)


def locked(admin: Admin, prompt: Prompt) -> str | None:
    """Why a live prompt cannot be changed here; None: it can."""
    if admin.write_to is None:
        return "No layer can be written."
    layers = admin.prompts.health.layers
    if not layers[admin.write_to].writable and admin.bucket is None:
        return f"{layers[admin.write_to].url} is read-only."
    if len(prompt.name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, prompt.name):
        return "Its name has characters other than ASCII letters, digits, `_`, `-` and `.`."
    if prompt.file.endswith(".j2"):
        return f"{prompt.file} makes it."
    if prompt.layer in [layer.url for layer in layers[: admin.write_to]]:
        return f"{prompt.layer} has it too, and has priority."
    return None


def _is_no_prompt(file: str) -> bool:
    """Whether a file of this name, without ``.yaml``, is a template, vars, or written twice."""
    return file == "vars" or file.startswith("vars.") or file.endswith((".yaml", ".yml", ".j2"))


def _layer(admin: Admin) -> int:
    if admin.write_to is None:
        text = "These prompts are the graph's own; there is no layer to write to."
        hint = "Pass the folder of the prompts as a layer (prompts_dir=...)."
        raise Refusal(403, "read-only", text, hint=hint)
    state = admin.prompts.health.layers[admin.write_to]
    if not state.writable and admin.bucket is None:
        text = f"Prompts cannot be written to {state.url}: it is only read."
        raise Refusal(403, "read-only", text)
    return admin.write_to


def _publish(admin: Admin, layer: int, caller: Caller, wish: Wish) -> Write | None:
    if admin.bucket is None or admin.prompts.health.layers[layer].writable:
        return None
    from yamlgraph_prompts.admin.api.publishing import writer

    return writer(admin.bucket, caller.who.name, wish.message, wish.action)


def _placed(trial: Trial, layer: int) -> None:
    """Whether a write to this layer would be seen."""
    before, removing = trial.before, trial.draft.data is None
    if before is None:
        if removing:
            raise Refusal(404, "no-such-prompt", f"There is no prompt {trial.draft.name!r}.")
        return
    if before.is_template:
        text = f"{before.path} in {before.url} makes this prompt."
        hint = "Change that file, or its vars."
        raise Refusal(409, "made-by-template", text, hint=hint)
    if before.layer < layer:
        text = f"{before.url} has this prompt too and has priority, so a change has no effect."
        hint = "Change it there."
        raise Refusal(409, "hidden", text, hint=hint)
    if removing and not trial.own:
        text = f"This prompt is in {before.url}, not in the layer that changes are written to."
        raise Refusal(409, "other-layer", text)


def _fresh(before: Origin | None, conditions: Conditions) -> None:
    now = None
    if before is not None:
        text = before.data.decode("utf-8", "replace")
        now = Current(sha256=before.sha256, text=text, layer=before.url)
    fits = {ANY, now.sha256} if now else set()
    if conditions.match is not None and not fits & conditions.match:
        why = "was changed since you read it" if now else "no longer exists"
        hint = "Read the current text, and try again with its digest."
        raise Refusal(412, "stale", f"This prompt {why}.", hint=hint, current=now)
    if conditions.none_match is not None and fits & conditions.none_match:
        raise Refusal(412, "exists", "A prompt of this name already exists.", current=now)


def _sound(trial: Trial) -> None:
    if trial.refused:
        others = _broken(trial.findings)
        text, hint = "The check rejected it; nothing was written.", None
        if others and trial.draft.name not in others:
            hint = f"First fix what is broken in the layers: {_listed(others)}."
        raise Refusal(422, "rejected", text, hint=hint, findings=trial.findings)
    data, after = trial.draft.data, trial.after
    if data is not None and (after is None or after.data != data):
        text = "This text is not a prompt: it looks like a graph."
        raise Refusal(422, "no-prompt", text, hint="See `nodes:`.")


def _last(admin: Admin, caller: Caller, wish: Wish) -> Callable[[str], frozenset[Destination]]:
    """A function: name → its destinations when it was last live."""
    known: dict[str, frozenset[Destination]] = {}
    is_new = wish.data is not None and wish.name not in admin.prompts.release
    if is_new and not caller.who.may("operator"):
        known[wish.name] = admin.last_live.of(wish.name)
    return lambda name: known.get(name) or admin.last_live.of(name, remote=False)


def _keeps_destinations(trial: Trial, last: Callable[[str], frozenset[Destination]]) -> None:
    """Provider and model decide where the data goes: that is an operator's decision."""
    names = redirected(trial.live, trial.served, trial.today, last)
    if names:
        raise Refusal(
            403,
            "destination",
            f"This changes the provider or the model of {_listed(names)}, live or when it last "
            "was, which takes the role operator.",
            hint="Leave `provider` and `model` as they are or were, or ask an operator.",
        )


def _facts(wish: Wish, trial: Trial) -> dict[str, Any]:
    return {
        "prompt": wish.name,
        "before": trial.before.sha256 if trial.before else None,
        "after": trial.after.sha256 if trial.after else None,
        "release": trial.release.id,
        "message": wish.message,
    }


def _change(admin: Admin, trial: Trial, outcome: Outcome, publish: Write | None) -> Change:
    message, hint = _not_live(outcome)
    if message is not None and publish is not None and admin.bucket is not None:
        message += f" Other readers of {admin.bucket.url} take it with their next look."
    return Change(
        status=outcome.status,
        message=message,
        hint=hint,
        name=trial.draft.name,
        sha256=trial.after.sha256 if trial.after else None,
        release=outcome.release.id if outcome.release else None,
        held=admin.prompts.held,
        findings=[FindingBody.of(finding) for finding in outcome.findings],
        elapsed_s=outcome.elapsed_s,
        version=getattr(publish, "number", None),
        uses=uses(admin, trial.draft.name),
    )


def _not_live(outcome: Outcome) -> tuple[str | None, str | None]:
    """Why what was written is not live, and how it becomes so."""
    live = outcome.release.id[:12] if outcome.release else "none"
    if outcome.status == "held":
        return (
            f"It is written and kept, but not live, because release {live} is held.",
            "POST /follow ends the hold and makes it live; this needs an operator.",
        )
    if outcome.status == "rejected":
        broken = _listed(_broken(outcome.findings))
        return (
            f"It is written, but not live, because {broken} is still broken in the layers.",
            f"Fix that too, and everything becomes live together; until then release {live} is.",
        )
    return None, None


def _broken(findings: Iterable[Finding]) -> list[str]:
    """What has errors: prompts by name, else files or graphs."""
    errors = [found for found in findings if found.severity == "error"]
    return list(dict.fromkeys(e.prompt or e.file or e.graph or e.code for e in errors))


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(map(printable, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")
