"""What a template sees of the app's values: plain data, and read-only views of everything else.

`view` is the only way in. Past it a template holds numbers, texts and dates of Python's own types,
containers that it built itself, and the views below. No method, operator or property of the app's
objects runs; what is printed is the object's own `str`, once.
"""

from __future__ import annotations

import datetime as dt
import enum
import gc
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, ref
from zoneinfo import ZoneInfo

from jinja2.utils import Namespace, missing

from yamlgraph_prompts.sandbox.budget import Refused, current

PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
# Past a metaclass, whose own code would run
_mro = type.__dict__["__mro__"].__get__
_dict_of = type.__dict__["__dict__"].__get__
name_of = type.__dict__["__name__"].__get__
_attribute = object.__getattribute__
_SEQUENCES = (list, tuple, deque)
LISTED: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))
_OPAQUE = frozenset({type, types.ModuleType, types.FunctionType, types.MethodType})
_SMALL = 64
PRINTED: Final = 12  # steps that printing one element of a container takes
_MAX_DEPTH = 100  # of lists in lists


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


class ObjectView(View):
    """An object as its data: what `vars` and its slots hold, and the names opened for its class."""

    __slots__ = ("_data", "shape")

    def __init__(self, shape: Shape, raw: Any) -> None:
        self.shape = shape
        self.raw = raw
        self._data: MappingView | None = None

    def get(self, name: str) -> Any:
        shape = self.shape
        if name in shape.properties:
            return view(getattr(self.raw, name, missing))
        if shape.has_dict:
            value = self._vars().item(name)
            if value is not missing:
                return value
        if name in shape.slots:
            try:
                return view(_attribute(self.raw, name))
            except AttributeError:
                return missing
        return self._extra().item(name) if shape.is_model else missing

    def method(self, name: str) -> Callable[..., Any] | None:
        """The method of this name, where the app opened it, or a model's own dump."""
        if name in self.shape.methods:
            return getattr(self.raw, name)  # type: ignore[no-any-return]
        return self.dump if name == "model_dump" and self.shape.is_model else None

    def dump(self) -> dict[str, Any]:
        """A model's fields, and those of the models in it, as pydantic's `model_dump` has them."""
        return {name: unfolded(value, _dumped) for name, value in self}

    def _vars(self) -> MappingView:
        if self._data is None:
            self._data = MappingView(_attribute(self.raw, "__dict__"))
        return self._data

    def _extra(self) -> MappingView:
        """What a pydantic model holds that it does not declare."""
        extra = _attribute(self.raw, "__pydantic_extra__")
        return MappingView({} if extra is None else extra)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        if not self.shape.is_model:
            raise TypeError(f"{name_of(type(self.raw))!r} object is not iterable")
        names = [*self._vars(), *self._extra()]
        current().elements(4 * len(names))
        return iter([(name, self.get(name)) for name in names if not name.startswith("_")])


def _dumped(value: View) -> Any:
    return value.dump() if isinstance(value, ObjectView) and value.shape.is_model else value


class EnumView(View):
    """A member of an enumeration: its name and its value."""

    __slots__ = ()

    def get(self, name: str) -> Any:
        return enum_part(self.raw, name)


def enum_part(raw: Any, name: str) -> Any:
    if name not in ("name", "value"):
        return missing
    return view(dict.get(_attribute(raw, "__dict__"), f"_{name}_", missing))


class Container(View):
    """A container of the app's. Comparisons and look-ups are those of a copy that holds views."""

    __slots__ = ()

    def built(self) -> Any:
        """The same as a container of the template's own."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __contains__(self, item: Any) -> bool:
        return item in self.built()

    def __eq__(self, other: object) -> bool:
        return bool(self.built() == own(other))

    def __lt__(self, other: Any) -> bool:
        return bool(self.built() < own(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.built() <= own(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.built() > own(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.built() >= own(other))

    def __hash__(self) -> int:
        return hash(self.built())


class SequenceView(Container):
    """A list, tuple or deque, or a named tuple with its names."""

    __slots__ = ("base",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.base = _base(raw, _SEQUENCES)

    def get(self, name: str) -> Any:
        names = _fields_of(type(self.raw)) if self.base is tuple else ()
        current().spend(len(names) >> 2)
        return self[names.index(name)] if name in names else missing

    def __len__(self) -> int:
        return self.base.__len__(self.raw)  # type: ignore[no-any-return]

    def __getitem__(self, index: int) -> Any:
        return view(self.base.__getitem__(self.raw, index))

    def __iter__(self) -> Iterator[Any]:
        return viewed(self.base.__iter__(self.raw), self.raw)

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.built())  # type: ignore[no-any-return]

    def built(self) -> Any:
        current().elements(2 * len(self))
        return (tuple if self.base is tuple else list)(self)


class SetView(Container):
    """A set."""

    __slots__ = ("base",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.base = _base(raw, (set, frozenset))

    def __len__(self) -> int:
        return self.base.__len__(self.raw)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        return viewed(self.base.__iter__(self.raw), self.raw)

    def built(self) -> frozenset[Any]:
        current().elements(4 * len(self))
        return frozenset(self)


class MappingView(Container):
    """A dictionary."""

    __slots__ = ("_by_key",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        is_plain = type(raw) is dict and len(raw) <= _SMALL and PLAIN.issuperset(map(type, raw))
        self._by_key: dict[Any, Any] | None = raw if is_plain else None

    def item(self, key: Any) -> Any:
        """The value of this key, as a view; `missing` where there is none."""
        by_key = self._by_key
        if by_key is None:
            by_key = self._by_key = self._looked_up()
        value = by_key.get(key, missing)
        return value if type(value) in PLAIN else view(value)

    def get(self, key: Any, default: Any = None) -> Any:
        value = self.item(key)
        return default if value is missing else value

    def _looked_up(self) -> dict[Any, Any]:
        """The entries by keys that are looked up without code of the app's."""
        raw, known = self.raw, current().known
        if (id(raw), dict) not in known:
            current().elements(4 * len(self))
            is_plain = type(raw) is dict and PLAIN.issuperset(map(type, raw))
            by_key = raw if is_plain else {view(key): part for key, part in dict.items(raw)}
            known[id(raw), dict] = raw, by_key
        return known[id(raw), dict][1]  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> Any:
        value = self.item(key)
        if value is missing:
            raise KeyError
        return value

    def __len__(self) -> int:
        return dict.__len__(self.raw)

    def __iter__(self) -> Iterator[Any]:
        return viewed(dict.__iter__(self.raw), self.raw)

    def __contains__(self, key: Any) -> bool:
        return self.item(key) is not missing

    def keys(self) -> Any:
        return self.built().keys()

    def built(self) -> dict[Any, Any]:
        current().elements(4 * len(self))
        return {view(key): view(value) for key, value in dict.items(self.raw)}


# Virtual, since an abstract class makes `isinstance` five times slower.
Sequence.register(SequenceView)
Set.register(SetView)
Mapping.register(MappingView)


def is_withheld(value: Any, name: str) -> bool:
    """Whether a value has an attribute of this name that a template does not get."""
    if not isinstance(value, (View, Labelled)):
        return hasattr(value, name)
    mro = _mro(type(value.raw))
    return any(name in _dict_of(base) for base in mro) or not _OPAQUE.isdisjoint(mro)


def own(value: Any) -> Any:
    """A container of the app's as one of the template's own; anything else as it is."""
    return value.built() if isinstance(value, Container) else value


def unfolded(value: Any, other: Callable[[View], Any]) -> Any:
    """`own` at any depth; `other` says what stands for a view that is no container."""
    value = own(value)
    if isinstance(value, dict):
        return {unfolded(key, other): unfolded(part, other) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)([unfolded(part, other) for part in value])
    return other(value) if isinstance(value, View) else value


def viewed(items: Iterator[Any], raw: Any) -> Iterator[Any]:
    """The items of `raw` as views; their number was counted."""
    if type(raw) in (list, tuple, dict):
        kinds = set(map(type, raw))
        if kinds <= PLAIN:
            return items
        if len(kinds) == 1:
            make = _BY_TYPE.get(kinds.pop())
            if make is not None:
                return map(make, items)
    return map(view, items)


# -- texts, numbers and dates of classes of their own ------------------------------------------


class Labelled:
    """A plain value whose own class prints it in its own way, such as ``class A(str, Enum)``."""

    raw: Any

    def __str__(self) -> str:
        return printed(self.raw, str)

    def __repr__(self) -> str:
        return printed(self.raw, repr)

    def get(self, name: str) -> Any:
        return enum_part(self.raw, name) if enum.Enum in _mro(type(self.raw)) else missing


class LabelledText(Labelled, str):
    """A text whose class has a `str` of its own."""

    def __format__(self, spec: str) -> str:
        return str.__format__(str(self), spec)


class LabelledInt(Labelled, int):
    """A whole number whose class has a `str` of its own."""


class LabelledFloat(Labelled, float):
    """A number whose class has a `str` of its own."""


def _labelled(kind: type, plain: Any, raw: Any) -> Any:
    if enum.Enum not in _mro(type(raw)) and printed(raw, str) == str(plain):
        return plain
    labelled: Any = kind(plain)
    labelled.raw = raw
    return labelled


def _once(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A view that copies what it shows: made once for each object of a prompt."""

    def once(raw: Any) -> Any:
        budget, key = current(), (id(raw), make)
        budget.tick()
        known = budget.known
        if key not in known:
            known[key] = raw, make(raw)
        return known[key][1]

    return once


@_once
def _text_view(raw: str) -> Any:
    return _labelled(LabelledText, current().made(str.__str__(raw)), raw)


@_once
def _int_view(raw: int) -> Any:
    return _labelled(LabelledInt, int.__add__(raw, 0), raw)


def _float_view(raw: float) -> Any:
    return _labelled(LabelledFloat, float.__add__(raw, 0.0), raw)


def _parts_of(kind: type, raw: Any, names: str) -> list[Any]:
    return [getattr(kind, name).__get__(raw) for name in names.split()]


def _zone(kind: Any, raw: Any) -> Any:
    """A zone of Python's own: one of the app's is asked once, not for each method."""
    zone = kind.tzinfo.__get__(raw)
    if zone is None or type(zone) is ZoneInfo or zone is dt.UTC:
        return zone
    offset, name = kind.utcoffset(raw), kind.tzname(raw)
    if type(zone) is dt.timezone and type(offset) is dt.timedelta and type(name) is str:
        return zone
    if offset is None:
        return None
    offset = dt.timedelta(*_parts_of(dt.timedelta, offset, "days seconds microseconds"))
    return dt.timezone(offset, "UTC" if name is None else str.__str__(name))


def _datetime_view(raw: dt.datetime) -> dt.datetime:
    parts = _parts_of(dt.datetime, raw, "year month day hour minute second microsecond")
    return dt.datetime(*parts, _zone(dt.datetime, raw), fold=dt.datetime.fold.__get__(raw))  # type: ignore[misc]


def _time_view(raw: dt.time) -> dt.time:
    parts = _parts_of(dt.time, raw, "hour minute second microsecond")
    return dt.time(*parts, _zone(dt.time, raw), fold=dt.time.fold.__get__(raw))  # type: ignore[misc]


def _date_view(raw: dt.date) -> dt.date:
    return dt.date(*_parts_of(dt.date, raw, "year month day"))


# -- printing ----------------------------------------------------------------------------------


def printed(raw: Any, how: Callable[[Any], str]) -> str:
    """What the app's own `str` (`repr`, `format`) of an object gives; asked once in a prompt."""
    budget = current()
    key = id(raw), how
    known = budget.known.get(key)
    if known is None:
        measure(raw, PRINTED)
        known = budget.known[key] = raw, budget.made(str.__str__(how(raw)))
    return known[1]


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
        item = _attribute(item, "_Namespace__attrs")
    kind = type(item)
    if kind in PLAIN:
        return None
    mro = _mro(kind)
    if dict in mro:
        return (part for pair in dict.items(item) for part in pair)
    for base in (*_SEQUENCES, set, frozenset, *LISTED):
        if base in mro:
            return base.__iter__(item)  # type: ignore[attr-defined,no-any-return]
    return None


# -- kinds -------------------------------------------------------------------------------------


class Shape:
    """Where the data of a class's instances is. It keeps no class alive."""

    __slots__ = ("has_dict", "is_model", "methods", "properties", "slots")

    def __init__(self, kind: type) -> None:
        mro = _mro(kind)
        is_opaque = not _OPAQUE.isdisjoint(mro)
        slots = frozenset() if is_opaque else frozenset(_slots(mro))
        self.has_dict = not is_opaque and _has_dict(mro)
        self.is_model = self.has_dict and "__pydantic_extra__" in slots
        self.slots = slots
        opened = [_opened[base] for base in mro if base in _opened]
        self.properties = frozenset().union(*(fields for fields, _methods in opened))
        self.methods = frozenset().union(*(methods for _fields, methods in opened))
        if _is_message(mro):
            self.properties |= {"content_blocks", "text"}


def _base(raw: Any, bases: tuple[type, ...]) -> Any:
    mro = _mro(type(raw))
    return next(base for base in bases if base in mro)


def _has_dict(mro: Iterable[type]) -> bool:
    """Whether instances have a `__dict__` that Python itself gives, not code of the class."""
    found = next((_dict_of(base)["__dict__"] for base in mro if "__dict__" in _dict_of(base)), None)
    return type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType)


def _slots(mro: Iterable[type]) -> Iterator[str]:
    for base in mro:
        if "__slots__" in _dict_of(base):
            for name, member in _dict_of(base).items():
                if type(member) is types.MemberDescriptorType:
                    yield name


def _is_message(mro: Iterable[type]) -> bool:
    langchain = sys.modules.get("langchain_core.messages")
    return langchain is not None and langchain.BaseMessage in mro


def _fields_of(kind: type) -> tuple[str, ...]:
    for base in _mro(kind):
        names = _dict_of(base).get("_fields")
        if type(names) is tuple and all(type(name) is str for name in names):
            return names
    return ()


_opened: WeakKeyDictionary[type, tuple[frozenset[str], frozenset[str]]] = WeakKeyDictionary()
# id of a class → what makes a view of its instances, and what removes the row with the class
_makers: dict[int, tuple[Callable[[Any], Any], ref[type]]] = {}


def open_class(kind: type, fields: Iterable[str], methods: Iterable[str]) -> None:
    """Let templates read these fields and call these methods of `kind` and what derives from it."""
    _opened[kind] = frozenset(fields), frozenset(methods)
    _makers.clear()


def opened_methods() -> frozenset[str]:
    """The names of the methods that the app opened, of whatever class."""
    return frozenset().union(*(methods for _fields, methods in _opened.values()))


def _same(value: Any) -> Any:
    return value


def _listed(raw: Any) -> Any:
    current().elements(len(raw))
    return SequenceView(list(raw))


def _proxied(raw: Any) -> Any:
    return view(gc.get_referents(raw)[0])


def _scalar(raw: Any) -> Any:
    plain = raw.item()
    return View(raw) if type(plain) is type(raw) else view(plain)


_BY_TYPE: Final[dict[type, Callable[[Any], Any]]] = {
    **dict.fromkeys((*PLAIN, Decimal, dt.date, dt.timedelta, range), _same),
    type(missing): _same,
    dict: MappingView,
    **dict.fromkeys(_SEQUENCES, SequenceView),
    **dict.fromkeys((set, frozenset), SetView),
    **dict.fromkeys(LISTED, _listed),
    types.MappingProxyType: _proxied,
    dt.datetime: _datetime_view,
    dt.time: _time_view,
}
# The first base that stands here decides.
_BY_BASE: Final[dict[type, Callable[[Any], Any]]] = {
    str: _text_view,
    int: _int_view,
    float: _float_view,
    enum.Enum: EnumView,
    dict: MappingView,
    **dict.fromkeys(_SEQUENCES, SequenceView),
    **dict.fromkeys((set, frozenset), SetView),
    dt.datetime: _datetime_view,
    dt.date: _date_view,
}


def view(value: Any) -> Any:
    """What a template sees of a value of the app's.

    Args:
        value: Anything.

    Returns:
        The value itself where it is plain, else a view. `missing` stays `missing`.

    Example:
        >>> view("a"), type(view(["a"])).__name__
        ('a', 'SequenceView')
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    make = _BY_TYPE.get(kind)
    if make is not None:
        return make(value)
    known = _makers.get(id(kind))
    if known is None:
        number = id(kind)
        known = _maker(kind), ref(kind, lambda _: _makers.pop(number, None))
        _makers[number] = known
    return known[0](value)


def _maker(kind: type) -> Callable[[Any], Any]:
    mro = _mro(kind)
    if any(base in _opened for base in mro):
        return partial(ObjectView, Shape(kind))
    for base in mro:
        if base in _BY_BASE:
            return _BY_BASE[base]
    numpy = sys.modules.get("numpy")
    if numpy is not None and numpy.generic in mro and kind.__module__ == "numpy":
        return _scalar
    return partial(ObjectView, Shape(kind))
