"""What the app's values look like when they are printed, and how long that is, known before.

The app's own `str` of an object is asked once in a prompt; no other code of the app's runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from jinja2.utils import Namespace, missing

from yamlgraph_prompts.sandbox.budget import Refused, current

PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
SEQUENCES: Final = (list, tuple, deque)
SETS: Final = (set, frozenset)
LISTED: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))
PRINTED: Final = 12  # steps that printing one element of a container takes
_MAX_DEPTH = 100  # of lists in lists
# Past a metaclass, whose own code would run
mro_of = type.__dict__["__mro__"].__get__
dict_of = type.__dict__["__dict__"].__get__
name_of = type.__dict__["__name__"].__get__
attribute_of = object.__getattribute__


class View:
    """One of the app's objects. Two views of one object are equal; every view is true."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def get(self, name: str) -> Any:
        """The object's data of this name, as a view; `missing` where there is none."""
        return missing

    def __str__(self) -> str:
        return printed(self.raw, str)

    def __repr__(self) -> str:
        return printed(self.raw, repr)

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError("unsupported format string passed to an object")
        return printed(self.raw, format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.raw is other.raw

    def __hash__(self) -> int:
        return id(self.raw)


def once(raw: Any, what: Any, make: Callable[[Any], Any]) -> Any:
    """``make(raw)``, made once for each object of a prompt."""
    known, key = current().known, (id(raw), what)
    if key not in known:
        known[key] = raw, make(raw)
    return known[key][1]


def printed(raw: Any, how: Callable[[Any], str]) -> str:
    """What the app's own `str` (`repr`, `format`) of an object gives; asked once in a prompt."""

    def ask(raw: Any) -> str:
        measure(raw, PRINTED)
        return current().made(str.__str__(how(raw)))

    return once(raw, how, ask)  # type: ignore[no-any-return]


def measure(value: Any, each: int = 1) -> int:
    """Refuse a container whose text would be too long, without making the text; its length.

    `each` is what one element costs, in steps: printing one takes longer than comparing it.
    """
    budget = current()
    length = count = total = 0
    todo = [iter((value,))]
    while todo:
        for item in todo[-1]:
            count += 1
            kind = type(item)
            if kind is str:
                length += len(item) + 2
                continue
            length += 4
            if kind is int:
                if item.bit_length() > 64:
                    length += item.bit_length() // 3
                    count += item.bit_length() ** 2 >> 16  # to write it out is quadratic
                continue
            parts = _parts(item)
            if parts is not None:
                if len(todo) > _MAX_DEPTH:
                    raise Refused(f"It nests lists more than {_MAX_DEPTH} deep.")
                todo.append(iter(parts))
                break
        else:
            todo.pop()
        if length > budget.limits.characters:
            raise budget.too_long()
        if count > 512:
            budget.spend(count)
            total += count
            count = 0
    budget.spend(each * (total + count) + (length >> 9))
    return length


def _parts(item: Any) -> Iterable[Any] | None:
    if issubclass(type(item), View):  # `isinstance` would ask an app's object for its `__class__`
        item = item.raw
    elif type(item) is Namespace:
        item = attribute_of(item, "_Namespace__attrs")
    if type(item) in PLAIN:
        return None
    mro = mro_of(type(item))
    if dict in mro:
        return (part for pair in dict.items(item) for part in pair)
    for base in (*SEQUENCES, *SETS, *LISTED):
        if base in mro:
            return base.__iter__(item)  # type: ignore[attr-defined,no-any-return]
    return None
