"""Explains an exception that a template raised, without showing the value of a variable."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jinja2 import Template
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError, UndefinedError

from yamlgraph_prompts._sandbox.budget import Refused
from yamlgraph_prompts._text.escaping import invisible

# Python's and Jinja's words that name only types and operators.
_OF_TYPES = re.compile(
    r"unsupported operand type\(s\) for \S+( or pow\(\))?: '[\w.]+' and '[\w.]+'"
    r"|'\S+' not supported between instances of '[\w.]+' and '[\w.]+'"
    r"|'[\w.]+' object is not (iterable|callable|subscriptable|reversible)"
    r"|can only concatenate \w+ \(not \"[\w.]+\"\) to \w+"
    r"|object of type '[\w.]+' has no len\(\)"
    r"|Object of type \w+ is not JSON serializable"
    r"|(integer |float )?(division|modulo|division or modulo) by zero"
    r"|not (all|enough) arguments (for format string|converted during string formatting)"
    r"|[\w. ]*\(\) (takes|missing) [\w ,()']+"
    r"|cannot assign attribute on non-namespace object"
)
# Words that quote names, which may be values: shown where the template itself has them.
_OF_NAMES = re.compile(
    r"macro '\w+' takes (not more than \d+ argument\(s\)|no keyword argument '\w+')"
    r"|[\w. ]*\(\) got [\w ,()']+"
    r"|'[\w.]+' object has no attribute '\w+'"
    r"|No (filter|test) named '\w+'( found)?\."
)
_CLOSE = "What begins with {{ ends with }}, and what begins with {% ends with %}."
# The beginning of Jinja's words for a mistake, up to a tag's name → what to do about that tag.
_HINTS = {
    "unexpected '}'": _CLOSE,
    "unexpected end of template, expected": _CLOSE,
    "expected token ':', got '}'": "Write a name without braces of its own: {{ name }}.",
    "block that needs to be closed is '": "Write {% end<tag> %} where it ends.",
    "unknown tag 'else'": "{% else %} stands between {% if ... %} and {% endif %}.",
    "unknown tag 'elif'": "{% elif %} stands between {% if ... %} and {% endif %}.",
    "unknown tag 'end": "There is no open {% <tag> ... %} that it ends: write one, or remove it.",
    "unknown tag 'do'": "Write {% set xs = xs + [x] %} to add to a list.",
    "unknown tag": "Tags are if, for, set and a few more; see Jinja's documentation for designers.",
    "Expected an expression, got 'end of": "Something is missing before the closing braces.",
    "expected token 'end of print": "Write one name or expression between {{ and }}.",
    "expected token 'name', got 'end of": "Name a filter behind the |, or remove it.",
    "unexpected char": "Is a quotation mark missing?",
}
# What other template languages write, which Jinja cannot read → what it is, and what to do.
_FOREIGN = (
    (
        re.compile(r"\{\{[#/^>!@&]"),
        "{0} is a tag of Handlebars or Mustache, and templates here are Jinja",
        "Write {% if x %}...{% endif %}, or {% for x in xs %}...{% endfor %}.",
    ),
    (
        re.compile(r"""\{\{(?=\s*+(?:\}\}|(?:"[^"{}]*+"|'[^'{}]*+'|\w++)\s*+:))"""),
        "{0} begins a Jinja expression, and is no escape for one brace as in str.format",
        "Put {% raw %} before braces that are meant as text, such as JSON, and {% endraw %} after.",
    ),
)
_UNEXPECTED = re.compile(r"unexpected char '(.+)' at (\d+)")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NO_ATTRIBUTE = re.compile(" object'? has no attribute ")
_IS_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a template failed."""

    message: str  # holds nothing of a value
    template: str | None = None  # the name of the one that was running
    line: int | None = None  # its line, from 1
    name: str | None = None  # that is undefined


def syntax_hint(message: str) -> str | None:
    """What to do about a mistake in the words of Jinja's parser; None where nothing is to add."""
    for words, hint in _HINTS.items():
        _before, found, rest = message.partition(words)
        if found:
            return hint.replace("<tag>", rest.partition("'")[0])
    return None


def foreign_syntax(text: str, message: str) -> tuple[int, str, str] | None:
    """(offset, message, hint) for what Jinja cannot read because it is not Jinja; None if it is."""
    for pattern, what, hint in _FOREIGN:
        if found := pattern.search(text):
            return found.start(), what.replace("{0}", found[0]), hint
    found = _UNEXPECTED.match(message)
    if found and (hidden := invisible(text[int(found[2]) :][:1])):
        hint = "Delete it; it may be invisible in your editor."
        return int(found[2]), f"the character {hidden[1]} stands in an expression", hint
    return None


def explain(error: BaseException, text: str) -> Explanation:
    """Why a template failed; a name may be shown that stands in `text`, the templates' own."""
    if isinstance(error, TemplateSyntaxError):
        return Explanation(error.message or "syntax error", error.name, error.lineno)
    message = _text_of(error)
    name = _IS_UNDEFINED.match(message) if isinstance(error, UndefinedError) else None
    shown = _words(error, message, text)
    return Explanation(shown, *_place(error), name[1] if name and shown == message else None)


def _place(error: BaseException) -> tuple[str | None, int | None]:
    template, line, traceback = None, None, error.__traceback__
    while traceback is not None:
        running = traceback.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(running, Template):
            template = running.name
            line = running.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return template, line


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of the app's own
        return ""


def _words(error: BaseException, message: str, text: str) -> str:
    if isinstance(error, Refused):
        return message if _may_show(message, text) else "It reaches for what is not for prompts."
    if isinstance(error, UndefinedError):
        return message if _may_show(message, text) else "Something in it is undefined."
    if isinstance(error, TemplateNotFound):
        named = str(error.name or "")
        return f"There is no template {named!r}." if named in text else "A template is not there."
    if isinstance(error, RecursionError):
        return "It nests or calls itself too deeply."
    if isinstance(error, MemoryError):
        return "It takes too much memory."
    if len(message) < _MAX_SHOWN and (
        _OF_TYPES.fullmatch(message) or (_OF_NAMES.fullmatch(message) and _may_show(message, text))
    ):
        return f"{message[0].upper()}{message[1:]}"
    return f"{type(error).__name__} while it was filled in."


def _may_show(message: str, text: str) -> bool:
    """Whether every quoted name stands in the template, or is a type's."""
    if len(message) > _MAX_SHOWN:
        return False
    quoted = [one or other for one, other in _QUOTED.findall(message)]
    if message.endswith("object is not for prompts.") or _NO_ATTRIBUTE.search(message):
        quoted = quoted[:1] if message.startswith("The attribute") else quoted[1:]
    return all(name in text for name in quoted)
