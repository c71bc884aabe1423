"""`versions | migrate | backup | restore | purge`: what only a database has."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.channels import one_url, urls_in
from yamlgraph_prompts._cli.reading import first_line, local_time, short_name
from yamlgraph_prompts._cli.terminal import paint, say, say_json, say_table
from yamlgraph_prompts._model.version import parse_version
from yamlgraph_prompts.errors import PromptsError, VersionNotFound

if TYPE_CHECKING:
    from yamlgraph_prompts.sources.sql.database import Database

UPKEEP_S = 4 * 3600.0
_AGE = re.compile(r"([0-9]{1,6})([dh])")


def versions(arguments: Any) -> int:
    """List the versions of a prompt, and those of the prompt that it was made from."""
    from yamlgraph_prompts.registry.channel import Channel

    urls, words = urls_in(arguments.words)
    there = Channel(one_url(arguments, urls), environment="any")
    registry, name = there.versions(), _one(arguments, words, "the name of one prompt")
    found, names = registry.versions(name), {name}
    if not found:
        hint = f"yamlgraph-prompts show {there.url} lists the names."
        raise VersionNotFound(f"There is no prompt {name!r} in {there.url}.", hint=hint)
    # A renamed prompt goes on from a version of its former name.
    while (parent := parse_version(found[-1].parent)) and parent[0] not in names:
        names.add(parent[0])
        found += [one for one in registry.versions(parent[0]) if one.number <= parent[1]]
    if arguments.json:
        facts = [
            {key: value for key, value in asdict(one).items() if key != "data"} for one in found
        ]
        say_json({"registry": there.url, "versions": facts})
        return 0
    rows = [("version", "made", "who", "from", "message", "active in")]
    for one in found:
        made = (one.spelled, local_time(one.at_s), short_name(one.who), one.parent)
        rows.append((*made, first_line(one.message)[:72], ", ".join(one.active)))
    say_table(rows)
    return 0


def migrate(arguments: Any) -> int:
    """Make the tables, or bring them up to date."""
    database, words = _database(arguments)
    if words:
        raise PromptsError(f"migrate takes only a URL, not {' '.join(words)}.")
    before = database.schema()
    database.write(lambda session: None)
    after = database.schema()
    step = f"{before} → {after}" if before != after else f"{after}, as it was"
    text = f"✓ The schema of {database.url} is {step}."
    return _say(arguments, text, registry=database.url, before=before, after=after)


def copy(arguments: Any) -> int:
    """Copy a database to a new file, or a backup into an empty database."""
    from yamlgraph_prompts.registry.sql_upkeep import back_up, restore

    database, words = _database(arguments)
    path = Path(_one(arguments, words, "one file"))
    source, target = str(path), database.url
    if arguments.command == "backup":
        source, target = target, source
        rows = back_up(database, path)
    else:
        rows = restore(path, database)
    counts = {name.removeprefix("prompts_"): count for name, count in rows.items()}
    made = f"{counts['version']} versions, {counts['release']} releases and "
    made += f"{counts['entry']} entries of the history"
    text = f"✓ {made} of {source} are in {target}."
    return _say(arguments, text, source=source, target=target, rows=counts)


def purge(arguments: Any) -> int:
    """Remove what is old and not needed; without `--yes`, only say what."""
    from yamlgraph_prompts.registry.sql_upkeep import purge as purged

    database, words = _database(arguments)
    age = _AGE.fullmatch(arguments.older_than)
    if age is None or words or arguments.keep < 1:
        text = "purge takes a URL, an age such as 180d or 12h, and --keep of at least 1."
        raise PromptsError(text)
    age_s = int(age[1]) * (86400.0 if age[2] == "d" else 3600.0)
    found = purged(database, older_than_s=age_s, keep=arguments.keep, do=arguments.yes)
    what = "{releases} releases and the content of {versions} versions ({bytes:,} bytes)"
    what = what.format_map(found)
    done = f"✓ {what} were removed from {database.url}."
    asked = f"{what} would be removed from {database.url}. Do it with --yes."
    text = done if arguments.yes else asked
    return _say(arguments, text, registry=database.url, done=arguments.yes, **found)


def _database(arguments: Any) -> tuple[Database, list[str]]:
    """The database that a call means, and the other words."""
    from yamlgraph_prompts.sources.sql.opening import open_database

    urls, words = urls_in(arguments.words)
    url = one_url(arguments, urls)
    if not url.startswith(("sqlite:", "postgresql:")) or "{environment}" in url:
        text = f"{arguments.command} needs a database, and {url} is none."
        raise PromptsError(text, hint="sqlite:///prompts.db or postgresql://user@host/database")
    return open_database(url, UPKEEP_S), words


def _one(arguments: Any, words: list[str], what: str) -> str:
    if len(words) != 1:
        raise PromptsError(f"{arguments.command} needs {what}, not {' '.join(words) or 'none'}.")
    return words[0]


def _say(arguments: Any, text: str, **facts: Any) -> int:
    if arguments.json:
        say_json(facts)
    else:
        say(paint(text, "green"))
    return 0
