"""What a name or a key of a value means to a template: data, a listed method, or `missing`."""

from __future__ import annotations

import datetime as dt
from _string import formatter_field_name_split  # type: ignore[import-not-found]
from collections.abc import Callable, Mapping
from decimal import Decimal
from string import Formatter
from typing import Any, Final

from jinja2.environment import TemplateModule
from jinja2.filters import _GroupTuple
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference, Undefined
from jinja2.utils import Cycler, Namespace, missing

from yamlgraph_prompts._sandbox import methods
from yamlgraph_prompts._sandbox.budget import Budget, Refused, current
from yamlgraph_prompts._sandbox.methods import FIELDS, Method
from yamlgraph_prompts._sandbox.operations import (
    CONTAINERS,
    SIZED,
    attributes_of,
    check_spec,
    describe,
    show,
)
from yamlgraph_prompts._sandbox.printing import (
    Labelled,
    LabelledFloat,
    LabelledInt,
    LabelledText,
    View,
    measure,
)
from yamlgraph_prompts._sandbox.views import (
    MappingView,
    ObjectView,
    SequenceView,
    SetView,
    enum_part,
    own,
    view,
)

_ISO = type(dt.date.min.isocalendar())
_KINDS: Final[Mapping[type, str]] = {
    **dict.fromkeys((str, LabelledText), "text"),
    **dict.fromkeys((int, bool, LabelledInt), "int"),
    **dict.fromkeys((float, LabelledFloat), "float"),
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "timedelta",
    Decimal: "decimal",
    list: "list",
    **dict.fromkeys((tuple, _GroupTuple, _ISO), "tuple"),
    **dict.fromkeys((dict, MappingView), "mapping"),
    **dict.fromkeys((set, frozenset, SetView), "set"),
    range: "range",
}
# What Jinja's own objects show of themselves.
_MEMBERS: Final[Mapping[type, frozenset[str]]] = {
    BlockReference: frozenset({"super"}),
    Cycler: frozenset({"current"}),
    LoopContext: frozenset(
        "depth depth0 first index index0 last length nextitem previtem revindex revindex0".split()
    ),
    _ISO: frozenset({"week", "weekday", "year"}),
    Macro: frozenset({"arguments", "caller", "catch_kwargs", "catch_varargs", "name"}),
    _GroupTuple: frozenset({"grouper", "list"}),
}
_HOLD: Final[dict[type, Callable[[Any], Any]]] = {Namespace: attributes_of, TemplateModule: vars}
_MEMBER_METHODS: Final[Mapping[type, frozenset[str]]] = {
    Cycler: frozenset({"next", "reset"}),
    LoopContext: frozenset({"changed", "cycle"}),
}


def _kind_of(value: Any) -> str:
    """The kind of a value in `METHODS` and `FIELDS`; ``""`` for what has neither."""
    if type(value) is SequenceView:
        return "tuple" if value.base is tuple else "list"
    return _KINDS.get(type(value), "")


class BoundMethod:
    """A method of a value, to be called by a template."""

    __slots__ = ("name", "owner", "run")

    def __init__(self, run: Method, owner: Any, name: str) -> None:
        self.run = run
        self.owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"<method {self.name!r} of a {describe(self.owner)!r} object>"

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.run(current(), self.owner, *args, **named)


# -- looking up --------------------------------------------------------------------------------


def member(obj: Any, name: str) -> Any:
    """The attribute of this name."""
    current().tick()  # so that the clock is looked at in a loop of nothing else
    if name.startswith("_"):
        return _private(obj, name)
    kind, value = type(obj), missing
    if kind in _HOLD:
        value = _HOLD[kind](obj).get(name, missing)
    elif isinstance(obj, View) and kind is not MappingView:
        value = obj.item(name)
    elif isinstance(obj, Labelled):
        value = enum_part(obj.raw, name)
    if value is not missing:
        return value
    opened = obj.method(name) if isinstance(obj, ObjectView) else None
    if opened is not None:
        return BoundMethod(_opened(opened), obj, name)
    sort = _kind_of(obj)
    if sort and name in METHODS[sort]:
        return BoundMethod(METHODS[sort][name], obj, name)
    if name in FIELDS.get(sort, ()) or name in _MEMBERS.get(kind, ()):
        return getattr(obj, name)
    if name in _MEMBER_METHODS.get(kind, ()):
        return BoundMethod(_runtime_method(name), obj, name)
    return getattr(obj, name) if isinstance(obj, Undefined) else missing  # its own refusal


def _private(obj: Any, name: str) -> Any:
    """A name with an underscore may be the key of a mapping, which is data; never an attribute."""
    if isinstance(obj, Undefined):
        return obj[name]
    if isinstance(obj, (dict, MappingView)) and not name.startswith("__"):
        return item(obj, name)
    is_plain = not isinstance(obj, View | Labelled)
    if is_plain and not name.startswith("__") and not hasattr(obj, name):
        return missing
    raise withheld(obj, name)


def withheld(obj: Any, name: str) -> Refused:
    """The refusal of an attribute."""
    return Refused(f"The attribute {str(name)!r} of a {describe(obj)!r} object is not for prompts.")


def item(obj: Any, key: Any) -> Any:
    """The element with this key or index."""
    current().tick()
    kind = type(obj)
    is_text = isinstance(key, str)
    if is_text and key.startswith("__"):
        return _private(obj, key)
    if kind is MappingView or kind is dict:
        if not is_text and isinstance(key, CONTAINERS):
            measure(key)
            key = own(key)
        try:
            return obj.item(key) if kind is MappingView else obj.get(key, missing)
        except TypeError:  # a list is no key
            return missing
    if isinstance(obj, Undefined):
        return obj[key]  # its own refusal
    is_index = isinstance(key, int) and isinstance(obj, SIZED)
    if is_index or (is_text and kind is TemplateReference):
        try:
            return obj[key]
        except (LookupError, TypeError):
            return missing
    return missing


def _opened(method: Callable[..., Any]) -> Method:
    return lambda budget, owner, *args, **named: view(method(*args, **named))


def _runtime_method(name: str) -> Method:
    def run(budget: Budget, owner: Any, *args: Any) -> Any:
        for given in args:
            measure(given)
        result = getattr(owner, name)(*args)
        return budget.made(result) if isinstance(result, str) else result

    return run


# -- str.format --------------------------------------------------------------------------------


class BoundedFormatter(Formatter):
    """One `str.format` over what a template sees, with bounded widths and lengths."""

    def __init__(self) -> None:
        self._length = 0

    def vformat(self, format_string: str, args: Any, kwargs: Any) -> str:
        budget = current()
        budget.scan(format_string, 4, 64)
        return budget.made(super().vformat(format_string, args, kwargs))

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        first, rest = formatter_field_name_split(field_name)
        value = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            value = (member if is_attribute else item)(value, name)
            if value is missing:
                raise AttributeError if is_attribute else KeyError
        return value, first

    def format_field(self, value: Any, format_spec: str) -> Any:
        budget = current()
        budget.tick()
        if format_spec:
            check_spec(budget, value, format_spec)
        elif isinstance(value, CONTAINERS):
            measure(value)
        text = format(value, format_spec)
        self._length += len(text)
        budget.room(self._length)
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is None or (conversion == "s" and isinstance(value, str)):
            return value
        current().room(len(show(value)) * (10 if conversion in "ra" else 1))
        return current().made(super().convert_field(value, conversion))


def _format(budget: Budget, text: str, *args: Any, **named: Any) -> str:
    return BoundedFormatter().vformat(text, args, named)


def _format_map(budget: Budget, text: str, mapping: Any) -> str:
    return _format(budget, text, **own(mapping))


# Kind → the methods of its values that templates may call.
METHODS: Final[Mapping[str, Mapping[str, Method]]] = {
    **methods.METHODS,
    "text": {**methods.METHODS["text"], "format": _format, "format_map": _format_map},
}
# The names of all methods, of plain values, of Jinja's own objects and of pydantic models.
METHOD_NAMES: Final = frozenset({"model_dump"}).union(*METHODS.values(), *_MEMBER_METHODS.values())
