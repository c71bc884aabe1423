"""The commands of `yamlgraph-prompts`, in the order of its help, and the options they share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Add = Callable[[Any], object]
"""Adds options to a parser, or to a group of one."""


def command(
    name: str, help_: str, example: str, target: str, words: str = "", words_help: str = "",
    *options: Add, more: str = "",
) -> Add:  # fmt: skip
    """One command: what its help says, what runs it, its positional words, and its options."""

    def add(commands: Any) -> None:
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}. {more}".strip(),
            epilog=f"example:\n  yamlgraph-prompts {name} {example}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=name != "run",
        )
        place = f"yamlgraph_prompts._cli.{target}"
        parser.set_defaults(target=place, error=parser.error, usage=parser.format_help, words=[])
        flag("--debug", "show tracebacks and the whole log")(parser)
        if words:
            parser.add_argument("words", nargs="*", metavar=words, help=words_help)
        for one in options:
            one(parser)

    return add


def option(*names: str, **settings: Any) -> Add:
    """An option, with the settings that argparse takes."""
    return lambda place: place.add_argument(*names, **settings)


def flag(name: str, help_: str) -> Add:
    """An option without a value."""
    return option(name, action="store_true", help=help_)


def group(title: str, *options: Add) -> Add:
    """Options under a title of their own; without one, options that exclude each other."""

    def add(parser: argparse.ArgumentParser) -> None:
        made = parser.add_argument_group(title) if title else parser.add_mutually_exclusive_group()
        for one in options:
            one(made)

    return add


class _AddLayer(argparse.Action):
    """Collects both kinds of layer in one list, since their order matters."""

    def __call__(self, _: argparse.ArgumentParser, namespace: Any, values: Any, *__: Any) -> None:
        namespace.layers = [*(namespace.layers or ()), (values, self.const is True)]


# fmt: off
def prompts(*environment: str) -> Add:
    """Where prompts come from; `environment` has the names of that option, if there is one."""
    named = option(
        *environment, metavar="NAME",
        help="the value of {environment}; default: YAMLGRAPH_PROMPTS_ENVIRONMENT, else ENVIRONMENT",
    )
    return group(
        "prompts",
        option("-l", "--layer", action=_AddLayer, dest="layers", metavar="URL",
               help="a folder or URL that prompts come from; it may contain {environment}. "
               "Repeat the option, highest priority first"),
        option("--optional-layer", action=_AddLayer, const=True, dest="layers", metavar="URL",
               help="a layer that may be missing"),
        flag("--allow-empty", "let a layer that had prompts have none any more"),
        *((named,) if environment else ()),
        option("--store", metavar="FOLDER",
               help="the folder that keeps releases; default: YAMLGRAPH_PROMPTS_STORE, else the "
               "user's cache folder"),
    )


PROMPTS = prompts("-e", "--environment")
JSON = flag("--json", "print JSON")
STRICTNESS = (
    flag("--strict", "report duplicate-key, unused-prompt and missing-variable as errors"),
    group(
        "",
        flag("--graphs", "also build graphs that are among the prompts; this runs their Python"),
        flag("--no-build", "build no graph, not even a named one, so that no code of a graph runs"),
    ),
)
_AUTHOR = (
    option("-m", "--message", metavar="TEXT", help="the reason for the change"),
    option("--who", metavar="NAME",
           help="who makes the change; default: the user of git, else of the system"),
)
AUTHOR = group("audit log", *_AUTHOR)
PUSHER = group(
    "history of the registry",
    *_AUTHOR,
    flag("--single-writer",
         "promise that no other push runs at the same time, for servers that ignore If-None-Match"),
)

_REACH = (
    "applies to every process that shares the store folder: with the same layers and "
    "environment, on this machine or on a shared volume."
)
_DATABASE = "the URL: sqlite:///prompts.db or postgresql://user@host/database"
_PUSHED = (
    "PATH | GRAPH | URL",
    "folders of prompts, as with --layer; graphs to check them with; and the registry's URL",
    PROMPTS, PUSHER, *STRICTNESS, JSON,
)

COMMANDS = (
    command(
        "init", "write the settings of a project, from the graphs and prompts in it",
        "--dry-run", "init", "", "",
        flag("--dry-run", "only print what would be written"),
        lambda parser: parser.set_defaults(environment=None),
        more="No file that is there is changed.",
    ),
    command(
        "check", "check prompts and graphs, and publish nothing",
        "graph.yaml -l prompts/base --format github", "check",
        "PATH",
        "graphs, prompt files and folders of prompts. Files and folders are checked on "
        "their own, or together with the graphs and layers if there are any",
        PROMPTS,
        option("--format", choices=("text", "json", "github"), default="text",
               help="text for people, JSON for programs, or annotations for GitHub Actions"),
        option("--json", action="store_const", const="json", dest="format",
               help="the same as --format json"),
        flag("--changed",
             "for a hook on commits: if neither a graph nor a layer is named, also check the "
             "graphs that the staged change touches, and every graph if it removes a prompt"),
        *STRICTNESS,
    ),
    command(
        "show", "show a prompt as it is served, or list all prompts",
        "greeting -l prompts/base --rendered --var name=Ada", "show",
        "NAME | NAME@VERSION | GRAPH | URL",
        "the name of a prompt (default: list all), and graphs; NAME@VERSION with the URL of a "
        "database shows that version, active or not",
        PROMPTS,
        option("--release", metavar="ID", default="layers",
               help="a kept release: its id, the beginning of its id, or 'live'; default: what "
               "the layers contain now"),
        flag("--rendered", "print the messages that a model gets"),
        option("--var", action="append", default=[], metavar="NAME=TEXT", dest="variables",
               help="a variable for --rendered; use NAME:=JSON for values that are not text"),
        JSON,
    ),
    command(
        "diff", "show the difference between two releases",
        "live layers -l prompts/base", "reading:diff",
        "A B | GRAPH | URL",
        "two releases: an id, the beginning of an id, 'live', or 'layers' for what the layers "
        "contain now; graphs; and the URL of the registry that the releases are in: there, a "
        "number of the history names one too",
        PROMPTS, JSON,
    ),
    command(
        "run", "run a graph once, as `yamlgraph graph run` does",
        "graph.yaml --var name=Ada --environment staging", "run",
        "", "",
        option("-h", "--help", action="store_true",
               help="show this help and YAMLGraph's own options"),
        prompts("--environment"),  # YAMLGraph's own `graph run -e` is something else
        option("--prompt", action="append", default=[], metavar="NAME@VERSION", dest="tried",
               help="try a version from the layer that is a database, active or not; nothing "
               "becomes live"),
    ),
    command(
        "push", "check prompts and publish them to a registry in one step",
        "prompts/ s3://acme-prompts/app -e production -m 'Kinder greeting'", "orders:push",
        *_PUSHED, more="Each reader serves all new prompts, or all previous ones.",
    ),
    command(
        "import", "the same as push, with a default message",
        "prompts/ sqlite:///prompts.db -e production", "orders:push",
        *_PUSHED, more="Prompts that are live already are left as they are.",
    ),
    command(
        "promote", "publish the live release of one environment unchanged in another",
        "s3://acme-prompts/app --from staging --to production -m Works", "orders:promote",
        "URL | ID | GRAPH",
        "the registry's URL; a release (an id or a number), if not the live "
        "one; and graphs to check it with",
        option("--from", required=True, dest="source", metavar="NAME",
               help="the environment to take the release from"),
        option("--to", required=True, dest="environment", metavar="NAME",
               help="the environment to publish it in"),
        prompts(), PUSHER, JSON,
    ),
    command(
        "releases", "list the kept releases, newest first",
        "-l prompts/base", "reading:releases",
        "GRAPH | URL", "graphs, to select their prompts; or the URL of a registry", PROMPTS,
        flag("--all", "the whole history of the registry"),
        option("--at", metavar="TIME",
               help="begin with what was live in the registry at this time: '2026-11-24 14:00', "
               "in this machine's time zone unless it says another"),
        JSON,
        more="With a registry, list its history, which applies to all its readers.",
    ),
    command(
        "versions", "list the versions of a prompt in a database, newest first",
        "greeting sqlite:///prompts.db", "database:versions",
        "NAME URL", f"the name of the prompt; and {_DATABASE}", JSON,
    ),
    command(
        "activate", "make versions of prompts live in a database; or a kept release, and hold it",
        "greeting@3 sqlite:///prompts.db -e production", "orders:activate",
        "NAME@VERSION | ID | GRAPH | URL",
        "versions, all activated in one step (NAME@none: the prompt is not from here any more), "
        "and the URL of the database; or the id of a release or its beginning; and graphs to "
        "check it with",
        PROMPTS, AUTHOR, JSON,
        more=f"Without a URL: this {_REACH}",
    ),
    command(
        "rollback", "activate the release before the live one",
        "graph.yaml -l prompts/base", "orders:rollback",
        "GRAPH | URL",
        "graphs to check it with; and the URL of a registry, to roll back all its readers", PROMPTS,
        option("--to", metavar="ID | NUMBER",
               help="another release of the registry than the previous one: its id, or the "
               "number of an entry of the history"),
        PUSHER, JSON,
        more=f"This {_REACH}",
    ),
    command(
        "follow", "end a hold and follow the layers again",
        "graph.yaml -l prompts/base", "holds:order",
        "GRAPH", "graphs to check it with", PROMPTS, AUTHOR, JSON,
        more=f"This {_REACH}",
    ),
    command(
        "export", "write a release as a folder of ordinary prompt files",
        "s3://acme-prompts/app -e production prompts/", "reading:export",
        "TARGET | GRAPH | URL",
        "the folder to make; and whose release: the URL of a registry, or graphs and layers as "
        "the app has them. With --store alone: the one store for the environment in it",
        PROMPTS,
        option("--release", metavar="ID", default="live",
               help="a release's id, or the beginning of it; the live one when left out"),
        JSON,
    ),
    command(
        "migrate", "make the tables of a database, or bring them up to date",
        "postgresql://migrator@db.acme.test/prompts", "database:migrate",
        "URL", _DATABASE, JSON,
        more="Every write does so too, where its role may create tables.",
    ),
    command(
        "backup", "copy a database, as it is at one moment, to a new SQLite file",
        "postgresql://db.acme.test/prompts prompts-2026-11-24.db", "database:copy",
        "URL FILE", f"{_DATABASE}; and the file to make", JSON,
        more="The file is a database like any other: sqlite:///FILE is its URL.",
    ),
    command(
        "restore", "copy a backup into an empty database of either kind",
        "prompts-2026-11-24.db postgresql://db.acme.test/prompts", "database:copy",
        "FILE URL", f"the backup; and {_DATABASE}", JSON,
    ),
    command(
        "purge", "remove old releases, and the content of old versions, from a database",
        "sqlite:///prompts.db --older-than 180d", "database:purge",
        "URL", _DATABASE,
        option("--older-than", required=True, metavar="AGE",
               help="spare what was made, live or used within this time: 180d, 12h"),
        option("--keep", type=int, default=10, metavar="N",
               help="spare the releases of the last N entries of each environment (10)"),
        flag("--yes", "do it"), JSON,
        more="Says what it would remove; --yes does it. What is active or was used is kept, and "
        "the history stays.",
    ),
    command(
        "store", "list the stores of this machine, or remove unused ones",
        "prune --days 90", "stores",
        "list | prune", "what to do",
        option("--store", metavar="FOLDER",
               help="the folder that the stores are in; default: as for the other commands"),
        option("--days", type=float, default=90.0, help="prune what was not used for so long (90)"),
        JSON,
        more="Each environment and set of layers has one. Those that are held or in use are kept.",
    ),
    command(
        "serve", "serve the admin API and the page for prompts, without an app",
        "graph.yaml -l prompts/base", "serve",
        "GRAPH", "graphs to check every change with", PROMPTS,
        group(
            "server",
            option("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)"),
            option("--port", type=int, default=8321, help="the port (8321); 0 for any free port"),
            option("--tokens", metavar="FILE",
                   help="a file with a line '<SHA-256 of the token> <role> [<name> [<until>]]' "
                   "for each token; default: the lines in YAMLGRAPH_PROMPTS_TOKENS"),
            option("--proxy", metavar="ADDRESS", action="append", default=[],
                   help="an address or network whose X-Forwarded-For and X-Forwarded-Proto are "
                   "trusted; repeatable. By default none is, since a client could claim any "
                   "address"),
            option("--write-to", metavar="URL",
                   help="the layer that changes are written to; default: the first"),
        ),
        more="Without tokens it listens on this machine only, and local users may do everything.",
    ),
    command(
        "demo", "show the package at work in ten seconds, without an API key", "", "demo"
    ),
)
