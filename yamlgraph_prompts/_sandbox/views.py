"""What a template sees of the app's values: plain data, and read-only views of everything else.

`view` is the only way in. Past it a template holds numbers, texts and dates of Python's own types,
containers that it built itself, and the views below. No method, operator or property of the app's
objects runs; what is printed is the object's own `str`, once.
"""

from __future__ import annotations

import enum
import gc
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from jinja2.utils import missing

from yamlgraph_prompts._sandbox.budget import current
from yamlgraph_prompts._sandbox.printing import (
    LISTED,
    PLAIN,
    SCALARS,
    SEQUENCES,
    SETS,
    Labelled,
    View,
    attribute_of,
    dict_of,
    mro_of,
    name_of,
    once,
)

_OPAQUE = frozenset({type, types.ModuleType, types.FunctionType, types.MethodType})
_SMALL = 64  # entries


# -- objects -----------------------------------------------------------------------------------


class Shape:
    """Where the data of a class's instances is. It keeps no class alive."""

    __slots__ = ("has_dict", "is_model", "methods", "properties", "slots")

    def __init__(self, kind: type) -> None:
        mro = mro_of(kind)
        is_opaque = not _OPAQUE.isdisjoint(mro)
        self.slots = frozenset() if is_opaque else frozenset(_slots(mro))
        self.has_dict = not is_opaque and _has_dict(mro)
        self.is_model = self.has_dict and "__pydantic_extra__" in self.slots
        opened = [_opened[base] for base in mro if base in _opened]
        self.properties = frozenset().union(*(fields for fields, _methods in opened))
        self.methods = frozenset().union(*(methods for _fields, methods in opened))
        langchain = sys.modules.get("langchain_core.messages")
        if langchain is not None and langchain.BaseMessage in mro:
            self.properties |= {"content_blocks", "text"}


def _has_dict(mro: Iterable[type]) -> bool:
    """Whether instances have a `__dict__` that Python itself gives, not code of the class."""
    found = next((dict_of(base)["__dict__"] for base in mro if "__dict__" in dict_of(base)), None)
    return type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType)


def _slots(mro: Iterable[type]) -> Iterator[str]:
    for base in mro:
        if "__slots__" in dict_of(base):
            for name, member in dict_of(base).items():
                if type(member) is types.MemberDescriptorType:
                    yield name


class ObjectView(View):
    """An object as its data: what `vars` and its slots hold, and the names opened for its class."""

    __slots__ = ("_held", "shape")

    def __init__(self, shape: Shape, raw: Any) -> None:
        self.shape = shape
        self.raw = raw
        self._held: dict[Any, Any] | None = None

    def item(self, name: str) -> Any:
        shape = self.shape
        if name in shape.properties:
            return view(getattr(self.raw, name, missing))
        if shape.has_dict:
            if self._held is None:  # looking at its keys costs too much for each attribute
                self._held = _by_key(attribute_of(self.raw, "__dict__"))
            value = self._held.get(name, missing)
            if value is not missing:
                return view(value)
        if name in shape.slots:
            try:
                return view(attribute_of(self.raw, name))
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

    def _extra(self) -> MappingView:
        """What a pydantic model holds that it does not declare."""
        extra = attribute_of(self.raw, "__pydantic_extra__")
        return MappingView({} if extra is None else extra)  # its own truth is not asked

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        if not self.shape.is_model:
            raise TypeError(f"{name_of(type(self.raw))!r} object is not iterable")
        names = [*MappingView(attribute_of(self.raw, "__dict__")), *self._extra()]
        current().elements(4 * len(names))
        return iter([(name, self.item(name)) for name in names if not name.startswith("_")])


def _dumped(value: View) -> Any:
    return value.dump() if isinstance(value, ObjectView) and value.shape.is_model else value


class EnumView(View):
    """A member of an enumeration: its name and its value."""

    __slots__ = ()

    def item(self, name: str) -> Any:
        return enum_part(self.raw, name)


def enum_part(raw: Any, name: str) -> Any:
    """The name or the value of a member of an enumeration; `missing` for anything else."""
    if name not in ("name", "value") or enum.Enum not in mro_of(type(raw)):
        return missing
    return view(dict.get(attribute_of(raw, "__dict__"), f"_{name}_", missing))


# -- containers --------------------------------------------------------------------------------


def _by_copy(compare: Callable[[Any, Any], Any]) -> Callable[[Container, Any], bool]:
    return lambda self, other: bool(compare(self.built(), own(other)))


class Container(View):
    """A container of the app's. Comparisons and look-ups are those of a copy that holds views."""

    __slots__ = ("_held", "base")

    _bases: tuple[type, ...] = (dict,)

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._held: dict[Any, Any] | None = None
        # Python's own type: methods of a class of the app's are not run.
        self.base: Any = type(raw)
        if self.base not in self._bases:
            self.base = next(base for base in mro_of(self.base) if base in self._bases)

    def built(self) -> Any:
        """The same as a container of the template's own."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.base.__len__(self.raw)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        return viewed(self.base.__iter__(self.raw), self.raw)

    def __contains__(self, item: Any) -> bool:
        return item in self.built()

    __eq__ = _by_copy(operator.eq)
    __lt__ = _by_copy(operator.lt)
    __le__ = _by_copy(operator.le)
    __gt__ = _by_copy(operator.gt)
    __ge__ = _by_copy(operator.ge)

    def __hash__(self) -> int:
        return hash(self.built())


class SequenceView(Container):
    """A list, tuple or deque, or a named tuple with its names."""

    __slots__ = ()

    _bases = SEQUENCES

    def item(self, name: Any) -> Any:
        if type(name) is int:
            try:
                return view(self.base.__getitem__(self.raw, name))
            except IndexError:
                return missing
        names = _fields_of(type(self.raw)) if self.base is tuple else ()
        current().spend(len(names) >> 2)
        return self[names.index(name)] if name in names else missing

    def __getitem__(self, index: int) -> Any:
        return view(self.base.__getitem__(self.raw, index))

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.built())  # type: ignore[no-any-return]

    def built(self) -> Any:
        current().elements(2 * len(self))
        return (tuple if self.base is tuple else list)(self)


def _fields_of(kind: type) -> tuple[str, ...]:
    for base in mro_of(kind):
        names = dict_of(base).get("_fields")
        if type(names) is tuple and all(type(name) is str for name in names):
            return names
    return ()


class SetView(Container):
    """A set."""

    __slots__ = ()

    _bases = SETS

    def built(self) -> frozenset[Any]:
        current().elements(4 * len(self))
        return frozenset(self)


class MappingView(Container):
    """A dictionary."""

    __slots__ = ()

    def item(self, key: Any) -> Any:
        """The value of this key, as a view; `missing` where there is none."""
        held = self._held
        if held is None:
            held = self._held = _by_key(self.raw)
        value = held.get(key, missing)
        return value if type(value) in PLAIN else view(value)

    def get(self, key: Any, default: Any = None) -> Any:
        value = self.item(key)
        return default if value is missing else value

    def __getitem__(self, key: Any) -> Any:
        value = self.item(key)
        if value is missing:
            raise KeyError
        return value

    def __contains__(self, key: Any) -> bool:
        return self.item(key) is not missing

    def keys(self) -> Any:
        return self.built().keys()

    def built(self) -> dict[Any, Any]:
        current().elements(4 * len(self))
        return {view(key): view(value) for key, value in dict.items(self.raw)}


def _by_key(raw: Any) -> dict[Any, Any]:
    """The entries of a dictionary by keys that are looked up without code of the app's."""
    if type(raw) is dict and len(raw) <= _SMALL:
        for key in raw:
            if type(key) is not str:
                break
        else:
            return raw
    return once(raw, dict, _looked_up)  # type: ignore[no-any-return]


def _looked_up(raw: Any) -> dict[Any, Any]:
    current().elements(4 * dict.__len__(raw))
    is_plain = type(raw) is dict and PLAIN.issuperset(map(type, raw))
    return raw if is_plain else {view(key): part for key, part in dict.items(raw)}


# Virtual, since an abstract class makes `isinstance` five times slower.
Sequence.register(SequenceView)
Set.register(SetView)
Mapping.register(MappingView)


def is_withheld(value: Any, name: str) -> bool:
    """Whether a value has an attribute of this name that a template does not get."""
    if not isinstance(value, (View, Labelled)):
        return hasattr(value, name)
    mro = mro_of(type(value.raw))
    return any(name in dict_of(base) for base in mro) or not _OPAQUE.isdisjoint(mro)


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


# -- the way in --------------------------------------------------------------------------------

_opened: WeakKeyDictionary[type, tuple[frozenset[str], frozenset[str]]] = WeakKeyDictionary()
_makers: dict[ref[type], Callable[[Any], Any]] = {}


def open_class(kind: type, fields: Iterable[str], methods: Iterable[str]) -> None:
    """Let templates read these fields and call these methods of `kind` and what derives from it."""
    _opened[kind] = frozenset(fields), frozenset(methods)
    _makers.clear()


def opened_methods() -> frozenset[str]:
    """The names of the methods that the app opened, of whatever class."""
    return frozenset().union(*(methods for _fields, methods in _opened.values()))


def _listed(raw: Any) -> Any:
    if type(raw) not in LISTED:
        return View(raw)
    current().elements(len(raw))
    return SequenceView(list(raw))


def _scalar(raw: Any) -> Any:
    """A number of numpy's as Python's, where it has one."""
    plain = raw.item()
    return View(raw) if type(plain) is type(raw) else view(plain)


# The first base that stands here decides.
_BY_BASE: Final[dict[type, Callable[[Any], Any]]] = {
    enum.Enum: EnumView,
    **SCALARS,
    dict: MappingView,
    **dict.fromkeys(SEQUENCES, SequenceView),
    **dict.fromkeys(SETS, SetView),
    **dict.fromkeys(LISTED, _listed),
    types.MappingProxyType: lambda raw: view(gc.get_referents(raw)[0]),
    **dict.fromkeys((range, type(missing)), lambda raw: raw),
}


def view(value: Any) -> Any:
    """What a template sees of a value: itself where it is plain (or `missing`), else a view."""
    kind = type(value)
    if kind in PLAIN:
        return value
    make = _BY_BASE.get(kind) or _makers.get(ref(kind))
    if make is None:
        make = _makers[ref(kind, _makers.pop)] = _maker(kind)
    return make(value)


def viewed(items: Iterator[Any], raw: Any) -> Iterator[Any]:
    """The items of `raw` as views; their number was counted."""
    is_plain = type(raw) in (list, tuple, dict) and PLAIN.issuperset(map(type, raw))
    return items if is_plain else map(view, items)


def _maker(kind: type) -> Callable[[Any], Any]:
    mro = mro_of(kind)
    if not any(base in _opened for base in mro):
        for base in mro:
            if base in _BY_BASE:
                return _BY_BASE[base]
        numpy = sys.modules.get("numpy")
        if numpy is not None and numpy.generic in mro and kind.__module__ == "numpy":
            return _scalar
    return partial(ObjectView, Shape(kind))
