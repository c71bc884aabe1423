"""The argument parser of `yamlgraph-prompts`: one function for each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from yamlgraph_prompts._cli.options import (
    add_author,
    add_json,
    add_prompts,
    add_pusher,
    add_strictness,
    add_words,
)
from yamlgraph_prompts._text.spelling import nearest

_COMMANDS = "yamlgraph_prompts._cli"
_REACH = (
    "This applies to every process that shares the store folder: with the same layers and "
    "environment, on this machine or on a shared volume."
)

_DESCRIPTION = """\
Deploy prompts without deploying the app: check, show, publish and roll back the prompts of
YAMLGraph and LangGraph apps. A GRAPH is the YAML file of a graph. Without --layer, a command uses
the graph's own prompts, exactly as load_and_compile does.
"""

_EPILOG = """\
examples:
  yamlgraph-prompts check graph.yaml -l 'prompts/{environment}' -l prompts/base -e staging
  yamlgraph-prompts show greeting -l 'prompts/{environment}' -l prompts/base -e production
  yamlgraph-prompts rollback -l 'prompts/{environment}' -l prompts/base -e production
  yamlgraph-prompts push prompts/ s3://acme-prompts/app -e production -m 'Kinder greeting'
  yamlgraph-prompts demo

exit codes: 0 success; 1 findings, differences, or the operation was refused; 2 wrong usage, or
something cannot be read or reached; 130 Ctrl-C
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of one call; `target` names the module and function that run the command.

    Raises:
        SystemExit: The arguments are wrong, or ask for help.
    """
    parser = _parser()
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    if argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version"):
        parser.error(f"the command comes first: yamlgraph-prompts check {argv[0]} ...")
    commands: Any = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
    if argv[0] not in commands and (meant := nearest(argv[0], commands)):
        parser.error(f"there is no command {argv[0]!r}; did you mean {meant}?")
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "run":
        # Unknown options are for YAMLGraph's own command.
        arguments.rest = rest
    elif any(word.startswith("-") for word in rest) or (rest and arguments.command == "demo"):
        known = commands[arguments.command]._option_string_actions
        meant = next(filter(None, (nearest(word, known) for word in rest)), None)
        hint = f"; did you mean {meant}?" if meant else ""
        arguments.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    elif rest:
        # argparse takes positional arguments from one position only; ours may be anywhere.
        arguments.words += rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="yamlgraph-prompts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _check, _show, _diff, _run, _push, _promote, _releases, _activate, _rollback, _follow,
        _export,
        _store,
        _serve,
        _demo,
    ):  # fmt: skip
        add(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from yamlgraph_prompts import __version__

        sys.stdout.write(f"yamlgraph-prompts {__version__}\n")
        parser.exit()


def _command(
    commands: Any,
    name: str,
    help_: str,
    example: str,
    *,
    target: str,
    more: str = "",
    short: bool = True,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}. {more}".strip(),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=short,
    )
    parser.set_defaults(target=f"{_COMMANDS}.{target}", error=parser.error, words=[])
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the whole log")
    return parser


def _check(commands: Any) -> None:
    parser = _command(
        commands, "check", "check prompts and graphs, and publish nothing",
        "yamlgraph-prompts check graph.yaml -l prompts/base --format github", target="check",
    )  # fmt: skip
    add_words(
        parser, "PATH",
        "graphs, prompt files and folders of prompts. Files and folders are checked on their own, "
        "or together with the graphs and layers if there are any",
    )  # fmt: skip
    add_prompts(parser)
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text",
        help="text for people, JSON for programs, or annotations for GitHub Actions",
    )  # fmt: skip
    parser.add_argument(
        "--json",
        action="store_const",
        const="json",
        dest="format",
        help="the same as --format json",
    )
    add_strictness(parser)


def _show(commands: Any) -> None:
    parser = _command(
        commands, "show", "show a prompt as it is served, or list all prompts",
        "yamlgraph-prompts show greeting -l prompts/base --rendered --var name=Ada", target="show",
    )  # fmt: skip
    add_words(parser, "NAME | GRAPH", "the name of a prompt (default: list all), and graphs")
    add_prompts(parser)
    parser.add_argument(
        "--release", metavar="ID", default="layers",
        help="a kept release: its id, the beginning of its id, or 'live'; default: what the "
        "layers contain now",
    )  # fmt: skip
    parser.add_argument(
        "--rendered", action="store_true", help="print the messages that a model gets"
    )
    parser.add_argument(
        "--var", action="append", default=[], metavar="NAME=TEXT", dest="variables",
        help="a variable for --rendered; use NAME:=JSON for values that are not text",
    )  # fmt: skip
    add_json(parser)


def _diff(commands: Any) -> None:
    parser = _command(
        commands, "diff", "show the difference between two releases",
        "yamlgraph-prompts diff live layers -l prompts/base", target="reading:diff",
    )  # fmt: skip
    add_words(
        parser, "A B | GRAPH | BUCKET",
        "two releases: an id, the beginning of an id, 'live', or 'layers' for what the layers "
        "contain now; graphs; and the s3:// URL if the releases are in a bucket",
    )  # fmt: skip
    add_prompts(parser)
    add_json(parser)


def _export(commands: Any) -> None:
    parser = _command(
        commands, "export", "write a release as a folder of ordinary prompt files",
        "yamlgraph-prompts export s3://acme-prompts/app -e production prompts/",
        target="reading:export",
    )  # fmt: skip
    add_words(
        parser, "TARGET | GRAPH | BUCKET",
        "the folder to make; and whose release: the s3:// URL of published releases, or graphs and "
        "layers as the app has them. With --store alone: the one store for the environment in it",
    )  # fmt: skip
    add_prompts(parser)
    parser.add_argument(
        "--release", metavar="ID", default="live",
        help="a release's id, or the beginning of it; the live one when left out",
    )  # fmt: skip
    add_json(parser)


def _run(commands: Any) -> None:
    parser = _command(
        commands, "run", "run a graph once, as `yamlgraph graph run` does",
        "yamlgraph-prompts run graph.yaml --var name=Ada --environment staging",
        target="run", short=False,
    )  # fmt: skip
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this help and YAMLGraph's own options"
    )
    add_prompts(parser, short=False)
    parser.set_defaults(usage=parser.format_help)


def _releases(commands: Any) -> None:
    parser = _command(
        commands, "releases", "list the kept releases, newest first",
        "yamlgraph-prompts releases -l prompts/base", target="reading:releases",
        more="With a bucket, list its history, which applies to all its readers.",
    )  # fmt: skip
    add_words(
        parser, "GRAPH | BUCKET",
        "graphs, to select their prompts; or the s3:// URL of published releases",
    )  # fmt: skip
    add_prompts(parser)
    parser.add_argument("--all", action="store_true", help="the whole history of the bucket")
    add_json(parser)


def _activate(commands: Any) -> None:
    parser = _command(
        commands, "activate",
        "make a kept release live and hold it",
        "yamlgraph-prompts activate 3f2a91 graph.yaml -l prompts/base", target="holds:order",
        more=_REACH,
    )  # fmt: skip
    add_words(
        parser, "ID | GRAPH", "the id of a release or its beginning, and graphs to check it with"
    )
    add_prompts(parser)
    add_author(parser)
    add_json(parser)


def _rollback(commands: Any) -> None:
    parser = _command(
        commands, "rollback",
        "activate the release before the live one",
        "yamlgraph-prompts rollback graph.yaml -l prompts/base",
        target="orders:rollback", more=_REACH,
    )  # fmt: skip
    add_words(
        parser, "GRAPH | BUCKET",
        "graphs to check it with; or the s3:// URL of published releases, to roll back all readers",
    )  # fmt: skip
    add_prompts(parser)
    parser.add_argument(
        "--to", metavar="ID", help="another release of the bucket than the previous one"
    )
    add_pusher(parser)
    add_json(parser)


def _push(commands: Any) -> None:
    parser = _command(
        commands, "push", "check prompts and publish them to a bucket in one step",
        "yamlgraph-prompts push prompts/ s3://acme-prompts/app -e production -m 'Kinder greeting'",
        target="orders:push",
        more="Each reader serves all new prompts, or all previous ones.",
    )  # fmt: skip
    add_words(
        parser, "PATH | GRAPH | BUCKET",
        "folders of prompts, as with --layer; graphs to check them with; and the s3:// URL",
    )  # fmt: skip
    add_prompts(parser)
    add_pusher(parser)
    add_strictness(parser)
    add_json(parser)


def _promote(commands: Any) -> None:
    parser = _command(
        commands, "promote", "publish the live release of one environment unchanged in another",
        "yamlgraph-prompts promote s3://acme-prompts/app --from staging --to production -m Works",
        target="orders:promote",
    )  # fmt: skip
    add_words(parser, "BUCKET | ID", "the s3:// URL; and a release, if not the live one")
    parser.add_argument(
        "--from",
        required=True,
        dest="source",
        metavar="NAME",
        help="the environment to take the release from",
    )
    parser.add_argument(
        "--to",
        required=True,
        dest="environment",
        metavar="NAME",
        help="the environment to publish it in",
    )
    add_pusher(parser)
    add_json(parser)


def _follow(commands: Any) -> None:
    parser = _command(
        commands, "follow", "end a hold and follow the layers again",
        "yamlgraph-prompts follow graph.yaml -l prompts/base", target="holds:order", more=_REACH,
    )  # fmt: skip
    add_words(parser, "GRAPH", "graphs to check it with")
    add_prompts(parser)
    add_author(parser)
    add_json(parser)


def _store(commands: Any) -> None:
    parser = _command(
        commands, "store", "list the stores of this machine, or remove unused ones",
        "yamlgraph-prompts store prune --days 90", target="stores",
        more="Each environment and set of layers has one. Those that are held or in use are kept.",
    )  # fmt: skip
    add_words(parser, "list | prune", "what to do")
    parser.add_argument(
        "--store", metavar="FOLDER",
        help="the folder that the stores are in; default: as for the other commands",
    )  # fmt: skip
    parser.add_argument(
        "--days", type=float, default=90.0, help="prune what was not used for so long (90)"
    )
    add_json(parser)


def _serve(commands: Any) -> None:
    parser = _command(
        commands, "serve", "serve the admin API and the page for prompts, without an app",
        "yamlgraph-prompts serve graph.yaml -l prompts/base", target="serve",
        more="Without tokens it listens on this machine only, and local users may do everything.",
    )  # fmt: skip
    add_words(parser, "GRAPH", "graphs to check every change with")
    add_prompts(parser)
    served = parser.add_argument_group("server")
    served.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    served.add_argument(
        "--port", type=int, default=8321, help="the port (8321); 0 for any free port"
    )
    served.add_argument(
        "--tokens", metavar="FILE",
        help="a file with a line '<SHA-256 of the token> <role> [<name> [<until>]]' for each "
        "token; default: the lines in YAMLGRAPH_PROMPTS_TOKENS",
    )  # fmt: skip
    served.add_argument(
        "--proxy", metavar="ADDRESS", action="append", default=[],
        help="an address or network whose X-Forwarded-For and X-Forwarded-Proto are trusted; "
        "repeatable. By default none is, since a client could claim any address",
    )  # fmt: skip
    served.add_argument(
        "--write-to",
        metavar="URL",
        help="the layer that changes are written to; default: the first",
    )


def _demo(commands: Any) -> None:
    _command(
        commands, "demo", "show the package at work in ten seconds, without an API key",
        "yamlgraph-prompts demo", target="demo",
    )  # fmt: skip
