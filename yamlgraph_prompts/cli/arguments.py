"""What can be said to `yamlgraph-prompts`. Parses only; imports nothing of the package's work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

_COMMANDS = "yamlgraph_prompts.cli"
_REACH = (
    "It reaches every process that shares the store folder, that is: with the same layers and "
    "environment, on this machine or a mounted volume."
)

_DESCRIPTION = """\
Ship prompts without shipping the app: check, look at and roll back the prompts of YAMLGraph and
LangGraph apps. A GRAPH is a graph's YAML file; without --layer its own prompts are meant, exactly
as load_and_compile would take them.
"""

_EPILOG = """\
examples:
  yamlgraph-prompts check graph.yaml -l 'prompts/{environment}' -l prompts/base -e staging
  yamlgraph-prompts show greeting -l 'prompts/{environment}' -l prompts/base -e production
  yamlgraph-prompts rollback -l 'prompts/{environment}' -l prompts/base -e production
  yamlgraph-prompts push prompts/ s3://acme-prompts/app -e production -m 'Kinder greeting'
  yamlgraph-prompts demo

exit codes: 0 good; 1 findings, differences or a refusal; 2 usage, or something cannot be read or
reached; 130 Ctrl-C
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of one call; `target` names the module and function that run it.

    Raises:
        SystemExit: They make no sense, or only help was asked for.
    """
    parser = _parser()
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    if argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version"):
        parser.error(f"say the command first: yamlgraph-prompts check {argv[0]} ...")
    given, rest = parser.parse_known_args(argv)
    if given.command == "run":
        # Whatever we do not know goes to YAMLGraph's own command.
        given.rest = rest
    elif any(word.startswith("-") for word in rest) or (rest and given.command == "demo"):
        given.error(f"unrecognized arguments: {' '.join(rest)}")
    elif rest:
        # argparse takes positional arguments from one place only; ours may stand anywhere.
        given.words += rest
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="yamlgraph-prompts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="the version, and exit")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _check, _show, _diff, _run, _push, _promote, _releases, _activate, _rollback, _follow,
        _export,
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


class _AddLayer(argparse.Action):
    """Both kinds of layer in one list, since their order counts."""

    def __call__(self, _: argparse.ArgumentParser, namespace: Any, values: Any, *__: Any) -> None:
        namespace.layers = [*(namespace.layers or ()), (values, self.const is True)]


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
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}. {more}".strip(),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=short,
    )
    made.set_defaults(target=f"{_COMMANDS}.{target}", error=made.error, words=[])
    made.add_argument(
        "--debug", action="store_true", help="tracebacks, and everything that is logged"
    )
    return made


def _prompts(parser: argparse.ArgumentParser, *, short: bool = True) -> None:
    places = parser.add_argument_group("which prompts")
    places.add_argument(
        "-l", "--layer", action=_AddLayer, dest="layers", metavar="URL",
        help="a folder or URL that prompts come from, which may hold {environment}; "
        "repeat it, highest priority first",
    )  # fmt: skip
    places.add_argument(
        "--optional-layer", action=_AddLayer, const=True, dest="layers", metavar="URL",
        help="the same, but it need not exist",
    )  # fmt: skip
    # YAMLGraph's own `graph run -e` is something else.
    names = ("-e", "--environment") if short else ("--environment",)
    places.add_argument(
        *names, metavar="NAME",
        help="what {environment} stands for; else YAMLGRAPH_PROMPTS_ENVIRONMENT, else ENVIRONMENT",
    )  # fmt: skip
    places.add_argument(
        "--store", metavar="FOLDER",
        help="the folder that keeps releases; else YAMLGRAPH_PROMPTS_STORE, else your cache folder",
    )  # fmt: skip


def _graphs(parser: argparse.ArgumentParser, words: str, help_: str) -> None:
    parser.add_argument("words", nargs="*", metavar=words, help=help_)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for a machine to read")


def _check(commands: Any) -> None:
    parser = _command(
        commands, "check", "check prompts and graphs; nothing becomes live",
        "yamlgraph-prompts check graph.yaml -l prompts/base --format github", target="check",
    )  # fmt: skip
    _graphs(
        parser, "PATH",
        "graphs; prompt files and folders of prompts too: they are checked by themselves, or, "
        "where graphs or layers are given, together with those",
    )  # fmt: skip
    _prompts(parser)
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text",
        help="for people, for machines, or as GitHub's annotations",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="--format json"
    )
    _strictness(parser)


def _show(commands: Any) -> None:
    parser = _command(
        commands, "show", "show a prompt as it is served, or list them all",
        "yamlgraph-prompts show greeting -l prompts/base --rendered --var name=Ada", target="show",
    )  # fmt: skip
    _graphs(parser, "NAME | GRAPH", "a prompt's name (none: list them all), and graphs")
    _prompts(parser)
    parser.add_argument(
        "--release", metavar="ID", default="layers",
        help="a kept release's id, the beginning of it, or 'live'; what the layers hold now "
        "when left out",
    )  # fmt: skip
    parser.add_argument("--rendered", action="store_true", help="the messages that a model gets")
    parser.add_argument(
        "--var", action="append", default=[], metavar="NAME=TEXT", dest="variables",
        help="a variable for --rendered; NAME:=JSON for anything but text",
    )  # fmt: skip
    _json(parser)


def _diff(commands: Any) -> None:
    parser = _command(
        commands, "diff", "what differs between two releases",
        "yamlgraph-prompts diff live layers -l prompts/base", target="reading:diff",
    )  # fmt: skip
    _graphs(
        parser, "A B | GRAPH | BUCKET",
        "two releases: an id, the beginning of one, 'live', or 'layers' for what the layers hold "
        "now; graphs; and the s3:// URL of the bucket that has the releases, if one has",
    )  # fmt: skip
    _prompts(parser)
    _json(parser)


def _export(commands: Any) -> None:
    parser = _command(
        commands, "export", "write a release as a folder of ordinary prompt files",
        "yamlgraph-prompts export s3://acme-prompts/app -e production prompts/",
        target="reading:export",
    )  # fmt: skip
    _graphs(
        parser, "TARGET | GRAPH | BUCKET",
        "the folder to make; and whose release: the s3:// URL of published releases, or graphs and "
        "layers as the app has them. With --store alone: the one store for the environment in it",
    )  # fmt: skip
    _prompts(parser)
    parser.add_argument(
        "--release", metavar="ID", default="live",
        help="a release's id, or the beginning of it; the live one when left out",
    )  # fmt: skip
    _json(parser)


def _run(commands: Any) -> None:
    parser = _command(
        commands, "run", "run a graph once, as `yamlgraph graph run` does",
        "yamlgraph-prompts run graph.yaml --var name=Ada --environment staging",
        target="run", short=False,
    )  # fmt: skip
    parser.add_argument(
        "-h", "--help", action="store_true", help="this, and YAMLGraph's own options"
    )
    _prompts(parser, short=False)
    parser.set_defaults(usage=parser.format_help)


def _releases(commands: Any) -> None:
    parser = _command(
        commands, "releases", "list the releases that are kept, newest first",
        "yamlgraph-prompts releases -l prompts/base", target="reading:releases",
        more="With a bucket, its history: every reader's, not only this machine's.",
    )  # fmt: skip
    _graphs(
        parser, "GRAPH | BUCKET",
        "graphs, to say which prompts are meant; or the s3:// URL of published releases",
    )  # fmt: skip
    _prompts(parser)
    parser.add_argument("--all", action="store_true", help="the bucket's whole history")
    _json(parser)


def _activate(commands: Any) -> None:
    parser = _command(
        commands, "activate",
        "make a kept release live, and hold it",
        "yamlgraph-prompts activate 3f2a91 graph.yaml -l prompts/base", target="orders:activate",
        more=_REACH,
    )  # fmt: skip
    _graphs(
        parser, "ID | GRAPH", "the release's id or the beginning of it, and graphs to check it with"
    )
    _prompts(parser)
    _ordered(parser)
    _json(parser)


def _rollback(commands: Any) -> None:
    parser = _command(
        commands, "rollback",
        "activate the release before the live one",
        "yamlgraph-prompts rollback graph.yaml -l prompts/base",
        target="orders:rollback", more=_REACH,
    )  # fmt: skip
    _graphs(
        parser, "GRAPH | BUCKET",
        "graphs to check it with; or the s3:// URL of published releases, for all their readers",
    )  # fmt: skip
    _prompts(parser)
    parser.add_argument("--to", metavar="ID", help="in a bucket: any of its releases")
    _pusher(parser)
    _json(parser)


def _push(commands: Any) -> None:
    parser = _command(
        commands, "push", "check prompts, then publish them to a bucket in one step",
        "yamlgraph-prompts push prompts/ s3://acme-prompts/app -e production -m 'Kinder greeting'",
        target="orders:push",
        more="Every reader of the bucket serves all of them or the ones before.",
    )  # fmt: skip
    _graphs(
        parser, "PATH | GRAPH | BUCKET",
        "folders of prompts, as --layer; graphs to check them with; and the s3:// URL to push to",
    )  # fmt: skip
    _prompts(parser)
    _pusher(parser)
    _strictness(parser)
    _json(parser)


def _promote(commands: Any) -> None:
    parser = _command(
        commands, "promote", "make live in one environment what is live in another, byte for byte",
        "yamlgraph-prompts promote s3://acme-prompts/app --from staging --to production -m Works",
        target="orders:promote",
    )  # fmt: skip
    _graphs(parser, "BUCKET | ID", "the s3:// URL; and a release, where not the live one is meant")
    parser.add_argument("--from", required=True, dest="source", metavar="NAME", help="from where")
    parser.add_argument("--to", required=True, dest="environment", metavar="NAME", help="to where")
    _pusher(parser)
    _json(parser)


def _strictness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict", action="store_true", help="duplicate keys and the like are errors too"
    )
    building = parser.add_mutually_exclusive_group()
    building.add_argument(
        "--graphs", action="store_true",
        help="build the graphs that lie among the prompts too: this runs their Python",
    )  # fmt: skip
    building.add_argument(
        "--no-build", action="store_true",
        help="build no graph, not even one that is named: nothing of them runs",
    )  # fmt: skip


def _pusher(parser: argparse.ArgumentParser) -> None:
    _ordered(parser, "for a bucket's history").add_argument(
        "--single-writer", action="store_true",
        help="nobody else pushes at the same time; for servers that ignore If-None-Match",
    )  # fmt: skip


def _ordered(parser: argparse.ArgumentParser, title: str = "for the audit log") -> Any:
    history = parser.add_argument_group(title)
    history.add_argument("-m", "--message", metavar="TEXT", help="what for")
    history.add_argument(
        "--who", metavar="NAME", help="who does it; else git's user, else the system's"
    )
    return history


def _follow(commands: Any) -> None:
    parser = _command(
        commands, "follow", "end a hold: follow the layers again",
        "yamlgraph-prompts follow graph.yaml -l prompts/base", target="orders:follow", more=_REACH,
    )  # fmt: skip
    _graphs(parser, "GRAPH", "graphs to check it with")
    _prompts(parser)
    _ordered(parser)
    _json(parser)


def _serve(commands: Any) -> None:
    parser = _command(
        commands, "serve", "serve the admin API of some prompts, without an app",
        "yamlgraph-prompts serve graph.yaml -l prompts/base", target="serve",
        more="Without tokens only this machine reaches it, and everybody on it may do everything.",
    )  # fmt: skip
    _graphs(parser, "GRAPH", "graphs that every change is checked with")
    _prompts(parser)
    served = parser.add_argument_group("how it is served")
    served.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    served.add_argument("--port", type=int, default=8321, help="the port (8321); 0: a free one")
    served.add_argument(
        "--tokens", metavar="FILE",
        help="a file with a line '<SHA-256 of the token> <role> [<name> [<until>]]' for each "
        "token; else YAMLGRAPH_PROMPTS_TOKENS holds such lines",
    )  # fmt: skip
    served.add_argument(
        "--proxy", metavar="ADDRESS", action="append", default=[],
        help="an address or network whose X-Forwarded-For and -Proto are believed; may be said "
        "again. Without any, none is: a client could name any address",
    )  # fmt: skip
    served.add_argument(
        "--write-to", metavar="URL", help="the layer that changes are written to; else the first"
    )


def _demo(commands: Any) -> None:
    _command(
        commands, "demo", "see it work, in ten seconds, without a key",
        "yamlgraph-prompts demo", target="demo",
    )  # fmt: skip
