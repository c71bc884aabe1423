"""The command `yamlgraph-prompts`. Subcommands are imported when used, so `--help` is quick."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.errors import PromptsError

__all__ = ["main"]

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code.

    0; 1 for findings, differences or a refusal; 2 for a usage error or something that cannot be
    read; 130 after Ctrl-C.
    """
    from yamlgraph_prompts._cli.arguments import parse

    words = list(sys.argv[1:] if argv is None else argv)
    _have_streams()
    try:
        arguments = parse(words)
        from yamlgraph_prompts._cli.config import apply
        from yamlgraph_prompts._cli.terminal import hear_log

        apply(arguments)

        quiet, serves = arguments.command != "run", arguments.command == "serve"
        with hear_log(debug=arguments.debug, quiet=quiet, serves=serves):
            module, _, function = arguments.target.partition(":")
            code: int = getattr(import_module(module), function or "run")(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as ended:
        # argparse has printed its message.
        return ended.code if isinstance(ended.code, int) else USAGE
    except PromptsError as problem:
        if "--debug" in words:
            raise
        from yamlgraph_prompts._cli.terminal import tell_problem

        tell_problem(problem)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe has ended.
        _say_no_more()
        return BROKEN_PIPE
    except OSError as problem:
        if "--debug" in words:
            raise
        # Most often standard output is a file on a full disk: 1 would mean findings.
        sys.stderr.write(f"error: {printable(problem)}\n")
        _say_no_more()
        return USAGE


def _have_streams() -> None:
    """Replace closed streams, so that no file of ours gets their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal cannot show must not make the command fail.
        sys.stdout.reconfigure(errors="backslashreplace")


def _say_no_more() -> None:
    """Discard the rest of the output, so that Python does not complain at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
