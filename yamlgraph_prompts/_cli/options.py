"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any


class _AddLayer(argparse.Action):
    """Collects both kinds of layer in one list, since their order matters."""

    def __call__(self, _: argparse.ArgumentParser, namespace: Any, values: Any, *__: Any) -> None:
        namespace.layers = [*(namespace.layers or ()), (values, self.const is True)]


def add_prompts(parser: argparse.ArgumentParser, *, short: bool = True) -> None:
    places = parser.add_argument_group("prompts")
    places.add_argument(
        "-l", "--layer", action=_AddLayer, dest="layers", metavar="URL",
        help="a folder or URL that prompts come from; it may contain {environment}. "
        "Repeat the option, highest priority first",
    )  # fmt: skip
    places.add_argument(
        "--optional-layer", action=_AddLayer, const=True, dest="layers", metavar="URL",
        help="a layer that may be missing",
    )  # fmt: skip
    places.add_argument(
        "--allow-empty", action="store_true",
        help="let a layer that had prompts have none any more",
    )  # fmt: skip
    # YAMLGraph's own `graph run -e` is something else.
    names = ("-e", "--environment") if short else ("--environment",)
    places.add_argument(
        *names, metavar="NAME",
        help="the value of {environment}; default: YAMLGRAPH_PROMPTS_ENVIRONMENT, else ENVIRONMENT",
    )  # fmt: skip
    places.add_argument(
        "--store", metavar="FOLDER",
        help="the folder that keeps releases; default: YAMLGRAPH_PROMPTS_STORE, else the user's "
        "cache folder",
    )  # fmt: skip


def add_words(parser: argparse.ArgumentParser, words: str, help_: str) -> None:
    parser.add_argument("words", nargs="*", metavar=words, help=help_)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_strictness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict",
        action="store_true",
        help="report duplicate-key, unused-prompt and missing-variable as errors",
    )
    building = parser.add_mutually_exclusive_group()
    building.add_argument(
        "--graphs", action="store_true",
        help="also build graphs that are among the prompts; this runs their Python",
    )  # fmt: skip
    building.add_argument(
        "--no-build", action="store_true",
        help="build no graph, not even a named one, so that no code of a graph runs",
    )  # fmt: skip


def add_pusher(parser: argparse.ArgumentParser) -> None:
    add_author(parser, "history of the bucket").add_argument(
        "--single-writer", action="store_true",
        help="promise that no other push runs at the same time, for servers that ignore "
        "If-None-Match",
    )  # fmt: skip


def add_author(parser: argparse.ArgumentParser, title: str = "audit log") -> Any:
    history = parser.add_argument_group(title)
    history.add_argument("-m", "--message", metavar="TEXT", help="the reason for the change")
    history.add_argument(
        "--who",
        metavar="NAME",
        help="who makes the change; default: the user of git, else of the system",
    )
    return history
