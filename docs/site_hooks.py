"""Hooks of `mkdocs build`: the command-line reference, and code blocks as MkDocs reads them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from yamlgraph_prompts._cli.arguments import _parser

_FENCE = re.compile(r"^(```\w+) [^\n]*$", re.M)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri == "cli.md":
        markdown += "\n" + command_reference()
    # The words after a language are for tests/test_docs.py.
    return _FENCE.sub(r"\1", markdown)


def command_reference() -> str:
    """The subcommands with their arguments, as Markdown, from the argument parser."""
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return "\n".join(
        line for name, parser in commands.choices.items() for line in _page(name, parser)
    )


def _page(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    description, example = parser.description or "", parser.epilog or ""
    yield f"## {name}\n\n{_plain(description)}\n\n```text\n{parser.format_usage()}```\n"
    yield f"Example:\n\n```console\n$ {example.partition(':')[2].strip()}\n```\n"
    yield "| argument | meaning |\n|---|---|"
    for action in parser._actions:
        if action.help is not argparse.SUPPRESS:
            yield f"| {_names(action)} | {_plain(action.help or '')} |"
    yield ""


def _names(action: argparse.Action) -> str:
    value = action.metavar or (action.choices and "{" + ",".join(action.choices) + "}")
    value = value or action.dest.upper()
    names = [
        f"{option} {value}" if action.nargs != 0 else option for option in action.option_strings
    ]
    return ", ".join(f"`{one}`" for one in names or [str(value)])


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    return re.sub(r"([<>*_|])", r"\\\1", " ".join(text.split()))
