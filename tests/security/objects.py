"""What an app may give to a prompt: ordinary data, live objects, and objects that fight back.

Every value that must not leak holds the word ``SECRET``. Every hostile method counts its calls in
`CALLS`. `snapshot` sees whether anything was changed, without using the object's own methods.
"""

from __future__ import annotations

import array
import collections
import ctypes
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import io
import itertools
import logging
import operator
import os
import pathlib
import re
import tempfile
import threading
import types
import typing
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr, computed_field

MEBI = 1024 * 1024
CALLS: collections.Counter[str] = collections.Counter()
# Printing an object is the app's own `str` or `format`, which may use the `repr` of what it holds.
PRINTING = frozenset({"__str__", "__repr__", "__format__"})


def words(text: str) -> list[str]:
    """The words of a list that is written as a text."""
    return text.split()


def _count(name: str) -> None:
    CALLS[name] += 1


class User:
    """An app's ordinary object."""

    kind = "person"
    _class_secret = "SECRET-class"

    def __init__(self) -> None:
        self.name = "Ada"
        self.tags = ["a"]
        self._secret = "SECRET-private"

    @property
    def balance(self) -> int:
        _count("User.balance")
        return 42

    @functools.cached_property
    def loaded(self) -> str:
        _count("User.loaded")
        return "SECRET-loaded"

    def greet(self, who: str = "you") -> str:
        _count("User.greet")
        return f"hi {who}"

    @classmethod
    def create(cls) -> User:
        _count("User.create")
        return cls()

    @staticmethod
    def run(command: str) -> str:
        _count("User.run")
        return command

    def __call__(self, *args: Any) -> str:
        _count("User.__call__")
        return "called"


class Slotted:
    __slots__ = ("_hidden", "name")

    def __init__(self) -> None:
        self.name = "Slot"
        self._hidden = "SECRET-slot"


class Dynamic:
    """Answers to every attribute, as mocks, clients and ORMs do."""

    def __init__(self) -> None:
        self.name = "Dyn"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _count("Dynamic.__getattr__")
        return "SECRET-dynamic"


class WithHtml:
    def __init__(self) -> None:
        self.name = "Html"

    def __html__(self) -> str:
        _count("WithHtml.__html__")
        return "<SECRET-html>"

    def __str__(self) -> str:
        return "an html object"


_RESULTS: dict[str, Any] = {
    "__bool__": False,
    "__contains__": True,
    "__delitem__": None,
    "__eq__": True,
    "__format__": "hostile-format",
    "__ge__": True,
    "__gt__": True,
    "__hash__": 7,
    "__html__": "SECRET-html",
    "__index__": 10**9,
    "__int__": 10**9,
    "__iter__": iter(()),
    "__le__": True,
    "__len__": 10**9,
    "__length_hint__": 10**9,
    "__lt__": True,
    "__missing__": "SECRET-missing",
    "__ne__": True,
    "__repr__": "hostile-repr",
    "__str__": "hostile-str",
}
_OPERATORS = words(
    "__abs__ __add__ __and__ __await__ __call__ __ceil__ __complex__ __divmod__ __enter__ "
    "__float__ __floor__ __floordiv__ __getitem__ __iadd__ __imul__ __invert__ __ior__ "
    "__lshift__ __matmul__ __mod__ __mul__ __neg__ __or__ __pos__ __pow__ __radd__ __rand__ "
    "__rdivmod__ __reversed__ __rfloordiv__ __rmod__ __rmul__ __ror__ __round__ __rpow__ "
    "__rsub__ __rtruediv__ __rxor__ __sub__ __truediv__ __trunc__ __xor__ __copy__ "
    "__deepcopy__ __reduce_ex__ __getstate__ __dir__"
)


def _method(label: str, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        CALLS[f"{label}.{name}"] += 1
        if name in _RESULTS:
            return _RESULTS[name]
        return "SECRET-" + name

    method.__name__ = name
    return method


def _hostile(label: str, base: type, *, plain: tuple[str, ...] = ()) -> type:
    """A subclass of `base` whose every special method and public method is the attacker's own."""
    names = [*_RESULTS, *_OPERATORS]
    names += [name for name in dir(base) if not name.startswith("_")]
    body: dict[str, Any] = {name: _method(label, name) for name in names if name not in plain}

    def getattribute(self: Any, name: str) -> Any:
        if name not in ("__class__", "__dict__") or base is object:
            CALLS[f"{label}.__getattribute__({name})"] += 1
        return object.__getattribute__(self, name)

    body["__getattribute__"] = getattribute
    return type(label, (base,), body)


HostileObject = _hostile("HostileObject", object)
HostileStr = _hostile("HostileStr", str)
HostileInt = _hostile("HostileInt", int)
HostileFloat = _hostile("HostileFloat", float)
HostileList = _hostile("HostileList", list)
HostileDict = _hostile("HostileDict", dict)
HostileTuple = _hostile("HostileTuple", tuple)
HostileSet = _hostile("HostileSet", set)
HostileBytes = _hostile("HostileBytes", bytes)
HostileSpan = _hostile("HostileSpan", datetime.timedelta)


class Zone(datetime.tzinfo):
    """A zone of the app's, whose answers have classes of their own."""

    def utcoffset(self, _when: Any) -> Any:
        return HostileSpan(hours=1)

    def tzname(self, _when: Any) -> Any:
        return HostileStr("CET")

    def dst(self, _when: Any) -> Any:
        return HostileSpan(0)


class Pretender:
    """Claims to be a `str` for `isinstance`."""

    def __init__(self) -> None:
        self.name = "Pre"

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        _count("Pretender.__class__")
        return str

    def __str__(self) -> str:
        return "pretender"


class _Meta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        _count("Meta.__instancecheck__")
        return True

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _count("Meta.__getattr__")
        return "SECRET-meta"

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _count("Meta.__call__")
        return super().__call__(*args, **kwargs)

    def __iter__(cls) -> Iterator[str]:
        _count("Meta.__iter__")
        return iter(["SECRET-meta"])


class MetaClassed(metaclass=_Meta):
    def __init__(self) -> None:
        self.name = "Meta"


class Defaulting(dict):  # type: ignore[type-arg]
    def __missing__(self, key: Any) -> Any:
        _count("Defaulting.__missing__")
        return "SECRET-missing"


class Address(BaseModel):
    city: str = "Paris"


class Customer(BaseModel):
    """A pydantic model with everything that one may have."""

    model_config = ConfigDict(extra="allow")

    name: str = "Ada"
    tags: list[str] = ["x"]
    address: Address = Address()
    password: SecretStr = SecretStr("SECRET-password")
    _token: str = PrivateAttr("SECRET-token")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def score(self) -> int:  # pydantic's own `repr` reads it
        return 7

    @property
    def expensive(self) -> str:
        _count("Customer.expensive")
        return "SECRET-expensive"

    def shout(self) -> str:
        _count("Customer.shout")
        return self.name.upper()


@dataclass
class Point:
    x: int = 1
    ys: list[int] = field(default_factory=lambda: [2])
    _z: str = "SECRET-z"

    @property
    def norm(self) -> int:
        _count("Point.norm")
        return 3


class Pair(typing.NamedTuple):
    left: int
    right: str

    def swap(self) -> Pair:  # type: ignore[name-defined]
        _count("Pair.swap")
        return Pair(0, self.right)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

    def leak(self) -> str:
        _count("Color.leak")
        return "SECRET-enum"


class Mood(str, enum.Enum):  # noqa: UP042 - it prints differently
    GOOD = "good"


class Level(enum.IntEnum):
    HIGH = 3


class Broken:
    def __str__(self) -> str:
        raise ValueError("SECRET-broken")

    __repr__ = __str__


class Rows:
    """A sequence by `__getitem__` only; each look-up is a query."""

    def __init__(self) -> None:
        self.table = "rows"

    def __getitem__(self, key: Any) -> Any:
        _count("Rows.__getitem__")
        if isinstance(key, int) and key > 3:
            raise IndexError(key)
        return "SECRET-row"

    def __len__(self) -> int:
        _count("Rows.__len__")
        return 10**9


class Money:
    """An app's class that a test opens by `templates.allow`."""

    def __init__(self, amount: int = 5) -> None:
        self.amount = amount
        self._ledger = "SECRET-ledger"

    def formatted(self, currency: str = "EUR") -> str:
        return f"{self.amount} {currency}"

    def drain(self) -> None:
        _count("Money.drain")
        self.amount = 0


def a_function(*args: Any, **kwargs: Any) -> str:
    _count("a_function")
    return "SECRET-function"


def _generator() -> Iterator[str]:
    _count("generator")
    yield "SECRET-generated"
    yield "two"


def _file() -> Any:
    # The kernel keeps it while it is open: nothing is left behind.
    opened = tempfile.TemporaryFile("w+")  # noqa: SIM115
    opened.write("SECRET-file\nline two\n")
    opened.seek(0)
    return opened


def _caught() -> Exception:
    api_key = "SECRET-local"
    try:
        raise ValueError(f"bad {api_key}")
    except ValueError as error:
        return error


def _cyclic() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def _deep(levels: int = 5_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _wide() -> list[Any]:
    """2 ** 40 elements when written out, in 40 lists."""
    value: list[Any] = ["x"]
    for _ in range(40):
        value = [value, value]
    return value


def _weak() -> Any:
    user = User()
    reference = weakref.ref(user)
    _alive.append(user)
    return reference


def _weak_proxy() -> Any:
    user = User()
    _alive.append(user)
    return weakref.proxy(user)


_alive: list[Any] = []


def _conversation() -> list[Any]:
    return [
        SystemMessage("Be kind."),
        HumanMessage("hi", name="ada", id="m1"),
        AIMessage(
            "ho",
            tool_calls=[{"name": "search", "args": {"q": "cats"}, "id": "c1"}],
            additional_kwargs={"note": "kept"},
        ),
        ToolMessage("3 cats", tool_call_id="c1", artifact={"raw": "a"}),
    ]


def _packed() -> Any:
    """A model whose data are in dictionaries of the app's own class."""
    model = Customer()
    object.__setattr__(model, "__dict__", HostileDict(name="Eve"))
    object.__setattr__(model, "__pydantic_extra__", HostileDict(more="yes"))
    return model


def _keyed() -> Any:
    """An object with a key that is no plain text."""
    simple = types.SimpleNamespace()
    simple.__dict__[HostileStr("name")] = "Kay"
    return simple


class LongText(str):
    """A text of a class of its own."""


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return array.array("d", [1.0, 2.0])
    return numpy.arange(6.0)


FACTORIES: dict[str, Callable[[], Any]] = {
    # ordinary data
    "api_key": lambda: "SECRET-9d1f",
    "text": lambda: "abc",
    "n": lambda: 3,
    "ratio": lambda: 0.5,
    "flag": lambda: True,
    "nothing": lambda: None,
    "l": lambda: [3, 1, 2],
    "d": lambda: {"a": 1, "list": [1, 2], "items": "own"},
    "t": lambda: (1, 2),
    "s": lambda: {1, 2},
    "fs": lambda: frozenset({1}),
    "names": lambda: ["Ada", "Bob"],
    "rows": lambda: [{"name": "b", "n": 2}, {"name": "a", "n": 1}],
    "when": lambda: datetime.datetime(2026, 1, 2, 3, 4, 5),
    "day": lambda: datetime.date(2026, 1, 2),
    "price": lambda: decimal.Decimal("1.50"),
    "part": lambda: fractions.Fraction(1, 3),
    "raw": lambda: b"SECRET-bytes",
    "ba": lambda: bytearray(b"SECRET-bytearray"),
    "mv": lambda: memoryview(b"SECRET-memory"),
    "uid": lambda: uuid.UUID(int=1),
    "z": lambda: 1 + 2j,
    "span": lambda: range(3),
    "huge_range": lambda: range(10**12),
    # large data
    "big": lambda: "a" * MEBI,
    "long_a": lambda: "a" * (4 * MEBI),
    "long_b": lambda: "a" * (4 * MEBI - 1) + "b",
    "blank": lambda: " " * MEBI,
    "many": lambda: list(range(100_000)),
    "many_texts": lambda: [str(i) * 3 for i in range(100_000)],
    "equal_texts": lambda: ["a" * 20_000 + "b" for _ in range(2_000)],
    "colliding": lambda: [i * (2**61 - 1) for i in range(20_000)],
    "deep": _deep,
    "wide": _wide,
    "cyclic": _cyclic,
    "huge_int": lambda: 1 << 3_000_000,
    # the app's objects
    "user": User,
    "slotted": Slotted,
    "dynamic": Dynamic,
    "html": WithHtml,
    "model": lambda: Customer(nickname="Countess"),  # type: ignore[call-arg]
    "point": Point,
    "pair": lambda: Pair(1, "two"),
    "color": lambda: Color.RED,
    "mood": lambda: Mood.GOOD,
    "level": lambda: Level.HIGH,
    "messages": _conversation,
    "doc": lambda: Document("page text", metadata={"source": "a.md"}),
    "chat_prompt": lambda: ChatPromptTemplate.from_messages([("user", "hi {name}")]),
    "lc_prompt": lambda: PromptTemplate.from_template("hi {name}"),
    "runnable": lambda: RunnableLambda(a_function),
    "simple": lambda: types.SimpleNamespace(name="Simple", _x="SECRET-simple"),
    "money": Money,
    "rows_like": Rows,
    # live objects
    "gen": _generator,
    "iterator": lambda: iter([1, 2, 3]),
    "forever": lambda: itertools.count(),
    "mapped": lambda: map(str.upper, ["a"]),
    "opened": _file,
    "buffer": lambda: io.StringIO("SECRET-buffer"),
    "module": lambda: os,
    "types_module": lambda: types,
    "func": lambda: a_function,
    "method": lambda: User().greet,
    "partial": lambda: functools.partial(a_function, "x"),
    "opener": lambda: open,
    "popen": lambda: os.popen,
    "evaluator": lambda: eval,
    "importer": lambda: __import__,
    "cls": lambda: User,
    "type_type": lambda: type,
    "model_cls": lambda: Customer,
    "color_cls": lambda: Color,
    "getter": lambda: operator.attrgetter("_secret"),
    "caller_": lambda: operator.methodcaller("greet"),
    "path": lambda: pathlib.Path("/etc/passwd"),
    "pattern": lambda: re.compile(r"(a+)+$"),
    "match": lambda: re.match("(a)", "a"),
    "logger": lambda: logging.getLogger("app"),
    "lock": threading.Lock,
    "thread": threading.current_thread,
    "error": _caught,
    "weak": _weak,
    "weak_proxy": _weak_proxy,
    "libc": lambda: ctypes.CDLL(None),
    "cbuffer": lambda: ctypes.create_string_buffer(b"SECRET-c"),
    "environ": lambda: os.environ,
    "array": _numpy,
    "matrix": lambda: array.array("i", [1, 2, 3]),
    "frame": inspect.currentframe,
    "code": lambda: a_function.__code__,
    "descriptor": lambda: User.__dict__["balance"],
    "str_method": lambda: "x".join,
    "list_append": lambda: [].append,
    # mutable containers
    "counter": lambda: collections.Counter(a=1),
    "od": lambda: collections.OrderedDict(a=1, b=2),
    "dd": lambda: collections.defaultdict(list),
    "dq": lambda: collections.deque([1, 2]),
    "chain_map": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "proxy": lambda: types.MappingProxyType({"a": 1}),
    "defaulting": lambda: Defaulting(a=1),
    # objects that fight back
    "broken": Broken,
    "hostile": HostileObject,
    "hostile_str": lambda: HostileStr("SECRET-sub"),
    "hostile_int": lambda: HostileInt(5),
    "hostile_float": lambda: HostileFloat(0.5),
    "hostile_list": lambda: HostileList([1, 2]),
    "hostile_dict": lambda: HostileDict(a=1),
    "hostile_tuple": lambda: HostileTuple((1, 2)),
    "hostile_set": lambda: HostileSet({1}),
    "hostile_bytes": lambda: HostileBytes(b"x"),
    "pretender": Pretender,
    "zoned": lambda: datetime.time(1, 2, tzinfo=Zone()),
    "zoned_day": lambda: datetime.datetime(2026, 1, 2, tzinfo=Zone()),
    "stamped": lambda: datetime.datetime(
        2026, 1, 2, tzinfo=datetime.timezone(HostileSpan(hours=1), HostileStr("CET"))
    ),
    "packed": _packed,
    "keyed": _keyed,
    "entries": lambda: {"keys": dict.fromkeys(range(100_000)).keys()},
    "long_sub": lambda: {"text": LongText("a" * MEBI)},
    "metaclassed": MetaClassed,
    "meta_cls": lambda: MetaClassed,
}

_WORD = re.compile(r"\w+")


def for_text(text: str) -> dict[str, Any]:
    """New values for every name of `FACTORIES` that stands in `text`."""
    return {name: FACTORIES[name]() for name in set(_WORD.findall(text)) & FACTORIES.keys()}


# Not looked into; a path and a runnable keep their text once they were printed.
_OPAQUE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    pathlib.PurePath,
    RunnableLambda,
)


def snapshot(value: Any, depth: int = 12) -> Any:
    """What `value` holds, taken without any method that its class could have replaced."""
    kind = type(value)
    if depth == 0 or issubclass(kind, (str, bytes, int, float, *_OPAQUE)):
        return kind, id(value)
    parts: list[Any] = [kind]
    if kind in (list, tuple) and len(value) > 1_000:
        return kind, tuple(value)  # of plain data
    if issubclass(kind, dict):
        parts += [(id(k), snapshot(v, depth - 1)) for k, v in dict.items(value)]
    elif issubclass(kind, list):
        parts += [snapshot(item, depth - 1) for item in list.__iter__(value)]
    elif issubclass(kind, tuple):
        parts += [snapshot(item, depth - 1) for item in tuple.__iter__(value)]
    elif issubclass(kind, (set, frozenset)):
        base = set if issubclass(kind, set) else frozenset
        parts.append(sorted(map(id, base.__iter__(value))))
    elif issubclass(kind, collections.deque):
        parts += [snapshot(item, depth - 1) for item in collections.deque.__iter__(value)]
    elif issubclass(kind, (bytearray, array.array)):
        parts.append(bytes(value))
    elif kind is types.GeneratorType:
        parts.append(inspect.getgeneratorstate(value))
    elif kind in (type(iter([])), itertools.count):
        parts.append(value.__reduce__()[-1])
    elif isinstance(value, io.IOBase):
        parts.append(value.tell())
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            member = owner.__dict__.get(name)
            if isinstance(member, types.MemberDescriptorType):
                try:
                    parts.append((name, snapshot(member.__get__(value, kind), depth - 1)))
                except AttributeError:
                    parts.append((name, None))
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        own = None
    if type(own) is dict and not issubclass(kind, (threading.Thread, logging.Logger)):
        parts += [(name, snapshot(item, depth - 1)) for name, item in own.items()]
    return tuple(parts)
