"""Parses the arguments of `yamlgraph-prompts`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from yamlgraph_prompts._cli.commands import COMMANDS
from yamlgraph_prompts._text.spelling import nearest

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
    elif any(word.startswith("-") for word in rest) or (
        rest and arguments.command in ("demo", "init")
    ):
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
    for command in COMMANDS:
        command(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from yamlgraph_prompts import __version__

        sys.stdout.write(f"yamlgraph-prompts {__version__}\n")
        parser.exit()
