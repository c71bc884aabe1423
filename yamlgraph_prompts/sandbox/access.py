"""What a template may reach: public attributes and harmless calls, nothing of Python's insides."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any, NoReturn

from yamlgraph_prompts.sandbox.budget import Refused


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as a text."""
    return frozenset(text.split())


# Things whose every attribute leads to the interpreter.
_OPAQUE = (
    types.AsyncGeneratorType,
    types.BuiltinFunctionType,
    types.ClassMethodDescriptorType,
    types.CodeType,
    types.CoroutineType,
    types.FrameType,
    types.FunctionType,
    types.GeneratorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.MethodType,
    types.MethodWrapperType,
    types.ModuleType,
    types.TracebackType,
    types.WrapperDescriptorType,
)
_MUTATORS = words(
    "add append appendleft clear difference_update discard extend extendleft insert "
    "intersection_update pop popitem popleft remove reverse rotate setdefault sort "
    "symmetric_difference_update update"
)
# pydantic's methods that read files, unpickle (`parse_raw`), or build models of anything.
_MODEL_METHODS = words(
    "construct copy from_orm model_construct model_copy model_parametrized_name "
    "model_post_init model_rebuild model_validate model_validate_json "
    "model_validate_strings parse_file parse_obj parse_raw update_forward_refs validate"
)
_MUTABLE = (MutableMapping, MutableSequence, MutableSet, deque)
_CLASS_METHODS = frozenset({"mro", "register"})
# Modules whose objects do input and output; None: not one of their methods may be called.
_OUTSIDE: Mapping[str, frozenset[str] | None] = {
    **dict.fromkeys(
        words(
            "_io asyncio concurrent ctypes ftplib http importlib inspect io logging "
            "multiprocessing os pathlib pickle requests httpx shutil socket sqlite3 ssl "
            "subprocess sys tempfile threading urllib zipfile"
        )
    ),
    "numpy": frozenset({"dump", "tofile"}),
    "pandas": words(
        "eval query pipe to_clipboard to_csv to_excel to_feather to_gbq to_hdf to_html "
        "to_json to_latex to_markdown to_orc to_parquet to_pickle to_sql to_stata to_xml"
    ),
}
# Modules whose classes make anything of any size, or import by name.
_BUILDING = frozenset({*_OUTSIDE, *words("array builtins collections functools itertools types")})
_BUILTINS = words(
    "__import__ breakpoint compile delattr dir eval exec getattr globals help input "
    "locals memoryview open setattr vars"
)


def refuse_attribute(obj: Any, name: str) -> NoReturn:
    raise Refused(f"The attribute {name!r} of a {type(obj).__name__!r} object is not for prompts.")


def check_attribute(obj: Any, name: str, value: Any) -> None:
    """Refuse what a template may not read of an object.

    Args:
        obj: The object.
        name: The attribute's name.
        value: What it is.

    Raises:
        Refused: It is private, internal to Python, changes the object, or does input or output.
    """
    if str.startswith(name, "_") or isinstance(obj, _OPAQUE):
        refuse_attribute(obj, name)
    if name in _MUTATORS and isinstance(obj, _MUTABLE):
        refuse_attribute(obj, name)
    owner = obj if isinstance(obj, type) else type(obj)
    if owner is obj and name in _CLASS_METHODS:
        refuse_attribute(obj, name)
    if name in _MODEL_METHODS and hasattr(owner, "__pydantic_complete__"):
        refuse_attribute(obj, name)
    root = owner.__module__.partition(".")[0] if isinstance(owner.__module__, str) else ""
    if root in _OUTSIDE and callable(value):
        refused = _OUTSIDE[root]
        if refused is None or name in refused:
            refuse_attribute(obj, name)


def is_refused_callable(obj: Any) -> bool:
    """Whether `obj` is one of Python's own functions that a template may not call."""
    if isinstance(obj, types.MethodDescriptorType | types.WrapperDescriptorType):
        return True
    if isinstance(obj, type):
        return obj is not dict and str(obj.__module__).partition(".")[0] in _BUILDING
    if isinstance(obj, types.BuiltinFunctionType | types.FunctionType):
        if (obj.__module__ or "").partition(".")[0] in _OUTSIDE:
            return True
        return obj.__module__ == "builtins" and obj.__name__ in _BUILTINS
    return False
