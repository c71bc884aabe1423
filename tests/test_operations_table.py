"""Every operation of Jinja and of Python's plain types is in a table, or excluded for a reason.

A version of either that brings a new name fails here until it is decided on.
"""

from __future__ import annotations

import datetime
import decimal

import pytest
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE, DEFAULT_TESTS

from yamlgraph_prompts._sandbox.access import METHODS
from yamlgraph_prompts._sandbox.filters import EXCLUDED_FILTERS, FILTERS
from yamlgraph_prompts._sandbox.functions import GLOBALS, TESTS
from yamlgraph_prompts._sandbox.methods import FIELDS

KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "list": (list,),
    "mapping": (dict,),
    "tuple": (tuple,),
    "set": (set, frozenset),
    "range": (range,),
    "int": (int, bool),
    "float": (float,),
    "decimal": (decimal.Decimal,),
    "date": (datetime.date,),
    "datetime": (datetime.datetime,),
    "time": (datetime.time,),
    "timedelta": (datetime.timedelta,),
}


def words(text: str) -> list[str]:
    return text.split()


_CHANGES = "changes its object"
_CLASS = "makes an object from nothing: it belongs to the class"
_NUMBERS = "its table is of numbers of letters, which only `maketrans` makes"
_BYTES = "gives or takes bytes, which are opaque"
_CONTEXT = "depends on the thread's decimal context, or takes time without a bound"
_STEPS = "looks for anything but a whole number step by step"
EXCLUDED_METHODS: dict[str, dict[str, str]] = {
    "text": {"encode": _BYTES, "maketrans": _CLASS, "translate": _NUMBERS},
    "list": dict.fromkeys(
        ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"), _CHANGES
    ),
    "mapping": {
        **dict.fromkeys(("clear", "pop", "popitem", "setdefault", "update"), _CHANGES),
        "fromkeys": _CLASS,
    },
    "tuple": {},
    "set": dict.fromkeys(
        words(
            "add clear difference_update discard intersection_update pop remove "
            "symmetric_difference_update update"
        ),
        _CHANGES,
    ),
    "range": dict.fromkeys(("count", "index"), _STEPS),
    "int": {"from_bytes": _BYTES, "to_bytes": _BYTES},
    "float": {"fromhex": _CLASS, "from_number": _CLASS},
    "decimal": {
        **dict.fromkeys(("from_float", "from_number", "radix"), _CLASS),
        **dict.fromkeys(
            words(
                "as_integer_ratio as_tuple canonical compare compare_signal compare_total "
                "compare_total_mag conjugate copy_negate copy_sign exp fma imag "
                "is_canonical is_normal is_qnan is_snan is_subnormal ln log10 logb "
                "logical_and logical_invert logical_or logical_xor max max_mag min min_mag "
                "next_minus next_plus next_toward number_class real remainder_near rotate "
                "same_quantum scaleb shift sqrt to_eng_string to_integral to_integral_exact"
            ),
            _CONTEXT,
        ),
    },
    "date": dict.fromkeys(
        words(
            "fromisocalendar fromisoformat fromordinal fromtimestamp max min resolution "
            "strptime timetuple today"
        ),
        _CLASS,
    ),
    "datetime": dict.fromkeys(
        words(
            "combine fromisocalendar fromisoformat fromordinal fromtimestamp max min now "
            "resolution strptime timetuple today tzinfo utcfromtimestamp utcnow "
            "utctimetuple"
        ),
        _CLASS,
    ),
    "time": dict.fromkeys(words("fromisoformat max min resolution strptime tzinfo"), _CLASS),
    "timedelta": dict.fromkeys(("max", "min", "resolution"), _CLASS),
}
# Names that only some of the supported versions of Python have.
NEWER = {
    "date": {"strptime"},
    "decimal": {"from_number"},
    "float": {"from_number"},
    "int": {"is_integer"},
    "time": {"strptime"},
}


def public(*types: type) -> set[str]:
    return {name for kind in types for name in dir(kind) if not name.startswith("_")}


def allowed(kind: str) -> set[str]:
    return {*METHODS[kind], *FIELDS.get(kind, ())}


def test_every_kind_of_value_with_methods_is_looked_at() -> None:
    assert set(METHODS) == set(KINDS)
    assert set(FIELDS) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_public_name_of_a_type_is_allowed_or_excluded(kind: str) -> None:
    decided = allowed(kind) | set(EXCLUDED_METHODS[kind])
    assert public(*KINDS[kind]) - decided == set()


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_is_both_allowed_and_excluded_or_of_no_type(kind: str) -> None:
    assert allowed(kind) & set(EXCLUDED_METHODS[kind]) == set()
    unknown = (allowed(kind) | set(EXCLUDED_METHODS[kind])) - public(*KINDS[kind])
    assert unknown <= NEWER.get(kind, set())


def test_every_filter_test_and_global_of_jinja_is_allowed_or_excluded() -> None:
    assert set(DEFAULT_FILTERS) == {*FILTERS, *EXCLUDED_FILTERS}
    assert set(DEFAULT_TESTS) == set(TESTS)
    assert set(DEFAULT_NAMESPACE) == set(GLOBALS)
    assert set(FILTERS) & set(EXCLUDED_FILTERS) == set()


def test_no_allowed_filter_test_or_method_is_pythons_or_jinjas_own_function() -> None:
    # It would run without a cost.
    for table, own in ((FILTERS, DEFAULT_FILTERS), (TESTS, DEFAULT_TESTS)):
        assert [name for name, function in table.items() if function is own[name]] == []
    for kind, methods in METHODS.items():
        types = KINDS[kind]
        assert [n for n, m in methods.items() if any(m is getattr(t, n, None) for t in types)] == []
