"""Tables of URL schemes → classes, which packages extend by entry points. Imports when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from yamlgraph_prompts.errors import MissingExtra

# scheme → (module:class, pip extra that it needs or None)
Table = Mapping[str, tuple[str, str | None]]


def known_schemes(table: Table, group: str) -> list[str]:
    """The schemes of a table and of the entry points in a group."""
    return sorted({*table, *(entry.name for entry in entry_points(group=group))})


def opener(scheme: str, table: Table, group: str, what: str) -> Callable[..., Any] | None:
    """What opens a URL of this scheme; None for an unknown one. `what` names it in errors."""
    target, extra = table.get(scheme, (None, None))
    if target is None:
        found = (entry for entry in entry_points(group=group) if entry.name == scheme)
        entry = next(found, None)
        return entry.load() if entry else None
    module, _, name = target.partition(":")

    def opened(*args: Any, **options: Any) -> Any:
        try:
            return getattr(import_module(module), name)(*args, **options)
        except ImportError as problem:
            if extra is None:
                raise
            text = f"A {what} at {scheme}:// needs {problem.name}."
            hint = f"Install it with: pip install 'yamlgraph-prompts[{extra}]'"
            raise MissingExtra(text, hint=hint) from problem

    return opened
