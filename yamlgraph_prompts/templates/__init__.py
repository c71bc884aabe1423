"""Opens the app's own classes to templates, which otherwise see only the data of its objects."""

from __future__ import annotations

from collections.abc import Iterable

from yamlgraph_prompts._sandbox.views import open_class

__all__ = ["allow"]


def allow(kind: type, *, fields: Iterable[str] = (), methods: Iterable[str] = ()) -> None:
    """Let templates read properties of a class, and call methods of it.

    What is named here runs when a prompt author asks for it, as often as they like and, for
    methods, with arguments of theirs. So name only what reads and is quick. Call it once, before
    graphs run; it holds for this process, and for classes that derive from `kind`.

    Args:
        kind: The class.
        fields: Its attributes and properties that templates may read besides the data of its
            objects.
        methods: Its methods that templates may call.

    Raises:
        TypeError: `kind` is no class, or a name is no text.
        ValueError: A name is private or not an attribute of the class.

    Example:
        >>> class Money:
        ...     def __init__(self, cents: int) -> None:
        ...         self.cents = cents
        ...     @property
        ...     def amount(self) -> str:
        ...         return f"{self.cents / 100:.2f}"
        >>> allow(Money, fields=("amount",))
        >>> from yamlgraph_prompts import LivePrompts
        >>> prompts = LivePrompts({"bill": "user: 'You owe {{ sum.amount }}.'"})
        >>> prompts["bill"].messages(sum=Money(250))[0].content
        'You owe 2.50.'
    """
    if not isinstance(kind, type):
        raise TypeError("allow() takes a class.")
    fields, methods = tuple(fields), tuple(methods)
    for name in (*fields, *methods):
        if not isinstance(name, str):
            raise TypeError("allow() takes the names of attributes as texts.")
        if name.startswith("_"):
            raise ValueError(f"{name!r} is private; templates never see private attributes.")
    for name in methods:
        if not callable(getattr(kind, name, None)):
            raise ValueError(f"{kind.__name__} has no method {name!r}.")
    open_class(kind, fields, methods)
