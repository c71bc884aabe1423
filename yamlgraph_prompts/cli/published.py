"""What `push`, `promote`, `releases`, `rollback` and `diff` share about releases in a bucket."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from yamlgraph_prompts.cli.terminal import note, paint, say, say_json, table, tell_problem
from yamlgraph_prompts.errors import PromptsError, PushRefused, ReleaseNotFound, StoreCorrupted
from yamlgraph_prompts.model.release import Release, ReleaseDiff
from yamlgraph_prompts.sources.layers import environment_name

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.bucket import Bucket, LogEntry, Pushed

SHOWN = 20
GIT_TIMEOUT_S = 5.0


def buckets(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(buckets, other words) of the arguments."""
    urls = [word for word in words if word.startswith("s3://")]
    return urls, [word for word in words if word not in urls]


def bucket(arguments: Any, urls: Sequence[str]) -> Bucket:
    """The named bucket, for the environment of the call.

    Raises:
        PromptsError: No bucket is named, or several.
    """
    from yamlgraph_prompts.registry.bucket import Bucket

    if len(urls) != 1:
        raise PromptsError(
            f"{arguments.command} needs one bucket, and {len(urls)} were named.",
            hint=f"For example: yamlgraph-prompts {arguments.command} "
            f"{'prompts/ ' if arguments.command == 'push' else ''}s3://acme-prompts/app",
        )
    name, is_set = environment_name(arguments.environment)
    if not is_set:
        note(f"No environment is set, so {name!r} is used. Set it with --environment.")
    return Bucket(urls[0], environment=name)


def run(arguments: Any, urls: Sequence[str], words: Sequence[str]) -> int:
    """`releases URL` and `rollback URL`."""
    if arguments.command not in ("releases", "rollback"):
        raise PromptsError(
            f"{arguments.command} works on the store of one machine, not on a bucket.",
            hint="For every reader of the bucket: rollback URL --to ID. For this machine: "
            f"{arguments.command} -l URL.",
        )
    if words:
        raise PromptsError(
            f"{arguments.command} of a bucket takes no further arguments, not {' '.join(words)}.",
            hint="The releases of a bucket were checked when they were pushed.",
        )
    place = bucket(arguments, urls)
    if arguments.command == "releases":
        return _list(place, arguments)
    entry = {"message": message(arguments), "who": person(arguments)}

    def rollback() -> Pushed:
        to = None if arguments.to is None else place.find(arguments.to)
        return place.rollback(**entry, to=to, single_writer=arguments.single_writer)

    return attempt(place, arguments, rollback)


def released_as(place: Bucket, word: str) -> Release:
    """The release that a word names: an id, the beginning of one, or `live`.

    Raises:
        ReleaseNotFound: There is none.
    """
    if word != "live":
        return place.get(place.find(word))
    live = place.current()
    if live is None:
        raise ReleaseNotFound(
            f"Nothing is published for {place.environment} in {place.url} yet.", release_id=word
        )
    return place.get(live.release)


def released(place: Bucket, entry: LogEntry | None) -> Release | None:
    """The release of an entry; None where there is no entry or its pack is gone."""
    if entry is None:
        return None
    try:
        return place.get(entry.release)
    except (ReleaseNotFound, StoreCorrupted) as problem:
        note(f"{problem.message} The changes since then are unknown.")
        return None


def message(arguments: Any) -> str:
    """The reason for the change; asked for on a terminal."""
    if arguments.message:
        return str(arguments.message)
    if sys.stdin.isatty():
        note("What is the reason for this change? (For the history.)")
        return input("> ")
    raise PromptsError(
        f"{arguments.command} needs a message for the history.", hint="Give it with --message."
    )


def person(arguments: Any) -> str:
    """Who makes the change: --who, else the user of git, else of the operating system."""
    if arguments.who:
        return str(arguments.who)
    name, mail = _git("user.name"), _git("user.email")
    if name and mail:
        return f"{name} <{mail}>"
    try:
        return name or mail or getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def attempt(place: Bucket, arguments: Any, act: Any, findings: Sequence[Any] = ()) -> int:
    """Do it and report the result; 1 if it was refused."""
    try:
        pushed: Pushed = act()
    except PushRefused as problem:
        if arguments.json:
            facts = {
                "status": "refused",
                "why": str(problem),
                "winner": asdict(cast("LogEntry", problem.winner)) if problem.winner else None,
                "changed": problem.changed,
            }
            say_json(facts)
        else:
            tell_problem(problem)
        return 1
    diff = _difference(place, pushed)
    if arguments.json:
        say_json(_facts(place, pushed, diff, findings))
    else:
        _say(place, pushed, diff)
    return 0


def _difference(place: Bucket, pushed: Pushed) -> ReleaseDiff | None:
    # It is live by now; a failure here changes nothing.
    try:
        before = released(place, pushed.before)
        return before.diff(place.get(pushed.entry.release)) if before else None
    except PromptsError as problem:
        note(f"{problem.message} The changes since then are unknown.")
        return None


def _facts(
    place: Bucket, pushed: Pushed, diff: ReleaseDiff | None, findings: Sequence[Any]
) -> dict[str, Any]:
    return {
        "status": "published" if pushed.published else "unchanged",
        "environment": place.environment,
        "bucket": place.url,
        "entry": asdict(pushed.entry),
        "repaired": pushed.repaired,
        "added": diff.added if diff else (),
        "removed": diff.removed if diff else (),
        "changed": diff.changed if diff else (),
        "findings": [asdict(finding) for finding in findings],
    }


def _say(place: Bucket, pushed: Pushed, diff: ReleaseDiff | None) -> None:
    entry = pushed.entry
    where = f"for {place.environment} in {place.url} (number {entry.number})"
    if not pushed.published:
        say(paint(f"✓ {entry.release[:12]} is live already {where}.", "green"))
        if pushed.repaired:
            say(
                "  Readers could not see it, because its push was interrupted or its pack was "
                "damaged. Now they can."
            )
        return
    say(paint(f"✓ {entry.release[:12]} is live {where}.", "green"))
    if diff is not None:
        for what, names in (
            ("added", diff.added),
            ("changed", diff.changed),
            ("removed", diff.removed),
        ):
            if names:
                more = f" and {len(names) - 10} more" if names[10:] else ""
                say(paint(f"  {what:<7}  {', '.join(names[:10])}{more}"))


def _list(place: Bucket, arguments: Any) -> int:
    entries = place.log(None if arguments.all else SHOWN)
    behind = place.behind()
    if arguments.json:
        releases = [{**asdict(entry), "live": at == 0} for at, entry in enumerate(entries)]
        facts = {"bucket": place.url, "environment": place.environment, "behind": behind}
        say_json({**facts, "releases": releases})
        return 0
    if not entries:
        note(f"Nothing is published for {place.environment} in {place.url} yet.")
        return 0
    rows = [("", "release", "since", "who", "prompts", "why", "message", "")]
    for at, entry in enumerate(entries):
        when = datetime.fromtimestamp(entry.at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        who, why, text = map(_first_line, (entry.who, entry.why, entry.message))
        first = (str(entry.number), entry.release[:12], when, who)
        rows.append((*first, str(entry.prompts), why, text[:72], "" if at else "live"))
    head, *lines = table(rows)
    say(paint(head, "dim"))
    for at, line in enumerate(lines):
        say(line if at else paint(line, "green"))
    if len(entries) == SHOWN and entries[-1].number > 1 and not arguments.all:
        note(f"Older ones are shown with --all ({entries[-1].number - 1} more).")
    if behind:
        note(
            "Readers do not see the last one yet: its push is in progress or was interrupted. "
            "If it was interrupted, push it again."
        )
    return 0


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]


def _git(setting: str) -> str:
    try:
        done = subprocess.run(
            ["git", "config", "--get", setting],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ""
    return done.stdout.strip()
