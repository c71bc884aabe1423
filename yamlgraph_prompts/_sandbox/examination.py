"""What is wrong with one message's text, and which variables it needs; nothing of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from yamlgraph_prompts._sandbox import fields
from yamlgraph_prompts._sandbox.inspection import Inspection
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._sandbox.positions import Positions
from yamlgraph_prompts._text.escaping import invisible
from yamlgraph_prompts.findings import Finding, bounded, shown

_SHORT = 65_536  # characters of a text of which many are remembered
_MAX_SHOWN = 20  # characters of what stands between wrong braces
_MAX_DIGITS = 7  # of a number in a format spec
_FIELD = re.compile(r"\{([^\W\d]\w*+(?:[.\[][^{}!:\s]*+)?+)(?:![rsa])?+(?::[^{}\s]++)?+\}")
_GITHUB = re.compile(
    r"\$\{\{\s*+(env|github|inputs|job|matrix|needs|runner|secrets|steps|vars)\.\w++"
)
_LOST_BRACES = re.compile(r"""\{\{(["'])\w[\w .-]*+\1(?:,\s*+(["'])[^"'{}]*+\2)*+\}\}""")
_INDEXED = re.compile(r"\w++\[\d++\]")
_DIGITS = re.compile(r"\d+")
_NOT_GIVEN = frozenset({"state", "loop", "range", "true", "false", "none", "self"})
_AS_TEXT = (
    "Where braces are meant as text, such as JSON, put {% raw %} before and {% endraw %} after "
    "them, and write the variables of this message as {{ name }}."
)
_RAW = "Where it is meant as text, put {% raw %} before and {% endraw %} after it."


class Examination(NamedTuple):
    """The findings and names of a text; lines and columns count from 1 in it."""

    findings: tuple[Finding, ...]
    variables: frozenset[str]  # that must be given
    names: frozenset[str]  # that it looks up outside, Jinja's own too
    optional: frozenset[str] = frozenset()  # variables that it can do without, as it says itself


def is_jinja(text: str) -> bool:
    """Whether YAMLGraph would render `text` with Jinja rather than `str.format`."""
    return "{{" in text or "{%" in text


def examination(text: str, environment: GuardedEnvironment) -> Examination:
    """What is wrong with a text, and which names it needs; nothing of it is run.

    Its `variables` are those that YAMLGraph's `extract_variables` names.
    """
    examine = _short_examination if len(text) <= _SHORT else _long_examination
    return examine(text, environment)


def _examination(text: str, environment: GuardedEnvironment) -> Examination:
    if not is_jinja(text):
        scan = fields.scan(text)
        found = bounded(_format_findings(text, scan))
        return Examination(found, scan.roots - _NOT_GIVEN, scan.roots)
    inspection = Inspection(text, environment)
    if inspection.tree is None:
        return Examination(inspection.findings, frozenset(), frozenset())
    simple = fields.scan(fields.without_raw(text)).roots
    variables = frozenset((inspection.undeclared - inspection.assigned) | simple) - _NOT_GIVEN
    names = frozenset({*inspection.undeclared, *environment.globals})
    found = bounded((*inspection.findings, *_jinja_findings(text, environment)))
    return Examination(found, variables, names, variables & inspection.defaulted)


# The steps of a check examine the same text.
_short_examination = lru_cache(maxsize=64)(_examination)
_long_examination = lru_cache(maxsize=2)(_examination)


def _jinja_findings(text: str, environment: GuardedEnvironment) -> Iterator[Finding]:
    """Warnings for simple fields, which Jinja leaves as they are, and for GitHub's expressions."""
    positions = Positions(text)

    def warning(offset: int, code: str, message: str, hint: str) -> Finding:
        line, column = positions.at(offset)
        return Finding("warning", code, message, line=line, column=column, hint=hint)

    is_raw, at = False, 0
    seen: set[str] = set()
    for _line, kind, token in environment.lexer.tokeniter(text, None) if "{" in text else ():
        if kind in ("raw_begin", "raw_end"):
            is_raw = kind == "raw_begin"
        for field in _FIELD.finditer(token) if kind == "data" else ():
            at = max(text.find(field[0], at), at)
            if not (is_raw or field[0] in seen):
                seen.add(field[0])
                message = f"this message is Jinja, so {shown(field[0])} in it is not filled in"
                hint = f"Write {{{{ {field[1]} }}}}. {_RAW}"
                yield warning(at, "not-filled-in", message, hint)
            at += len(field[0])
    for found in _LOST_BRACES.finditer(text):
        message = f"{found[0][:_MAX_SHOWN]} prints a text without its braces: {{{{ is no escape"
        yield warning(found.start(), "lost-braces", message, f"Write single braces. {_RAW}")
    for found in _GITHUB.finditer(text):
        message = f"{found[0]} begins an expression of GitHub Actions, which is not evaluated here"
        hint = f"Pass its value as a variable; {found[1]!r} is read as one, and the $ stays."
        yield warning(found.start(), "foreign-syntax", message, hint)


def _format_findings(text: str, scan: fields.FieldScan) -> Iterator[Finding]:
    positions = Positions(text)

    def wrong_at(offset: int, code: str, message: str, hint: str | None = None) -> Finding:
        line, column = positions.at(offset)
        return Finding("error", code, message, line=line, column=column, hint=hint)

    if scan.wrong:
        first = text.find("{" + scan.invalid[0]) if scan.invalid else 0
        offset = _loose_brace(text) if scan.brace_error else max(first, 0)
        yield wrong_at(offset, "format-braces", *_brace_words(scan))
        return
    try:
        found = list(fields.located_fields(text))
    except ValueError as error:  # in a format spec, where YAMLGraph does not look
        yield wrong_at(_loose_brace(text), "format-braces", f"in a format spec: {error}")
        return
    for offset, (name, spec, _conversion) in found:
        if part := fields.private_part(name):
            message = f"{shown(part)} in a field is not for prompts"
            if len(name) <= _MAX_SHOWN:
                message = f"{part!r} in the field {{{name}}} is not for prompts"
            yield wrong_at(offset, "unsafe-template", message)
        if _INDEXED.match(name) and len(name) <= _MAX_SHOWN:
            line, column = positions.at(offset)
            message = f"of a list, {{{name}}} is one letter: lists are joined to a text before"
            hint = f"Make the message Jinja, and write {{{{ {name} }}}}."
            yield Finding("warning", "joined-list", message, line=line, column=column, hint=hint)
        if any(len(digits) > _MAX_DIGITS for digits in _DIGITS.findall(spec)):
            written = f"{name}:{spec}"
            field = f"the field {{{written}}}" if len(written) <= 2 * _MAX_SHOWN else "a field"
            yield wrong_at(offset, "unsafe-template", f"{field} is too wide")


def _brace_words(scan: fields.FieldScan) -> tuple[str, str]:
    """(what is wrong with the braces, what to do) in a prompt author's words."""
    if error := scan.brace_error:
        if error.startswith("Single '}'"):
            return "the } here closes nothing", f"Delete it, or add its {{. {_AS_TEXT}"
        if "expected '}'" in error or error.startswith("Single '{'"):
            return "the { here is never closed", f"Write }} after the variable's name. {_AS_TEXT}"
        return error, _AS_TEXT
    name = scan.invalid[0]
    if not name:
        return "{} names no variable", f"Write its name between the braces. {_AS_TEXT}"
    if name.startswith("#"):
        message = "{# ... #} is a comment only in Jinja, and this message is not Jinja"
        return message, f"Delete it, or write a YAML comment above the text. {_AS_TEXT}"
    if hidden := invisible(name):
        message = f"the name between these braces has an invisible character, {hidden[1]}"
        return message, "Delete the name and write it anew."
    hint = f"A variable's name begins with a letter and holds letters, digits and _. {_AS_TEXT}"
    if len(name) > _MAX_SHOWN:
        return "what stands between these braces is no variable", hint
    if name.strip().isidentifier():
        return f"there is a space inside the braces of {{{name}}}", f"Write {{{name.strip()}}}."
    return f"{{{' '.join(name.split())}}} is no variable", hint


def _loose_brace(text: str) -> int:
    """Where `str.format` meets a brace that has no partner."""
    opened: list[int] = []
    at = 0
    while at < len(text):
        if not opened and text[at : at + 2] in ("{{", "}}"):
            at += 1
        elif text[at] == "{":
            opened.append(at)
        elif text[at] == "}":
            if not opened:
                return at
            opened.pop()
        at += 1
    return opened[0] if opened else 0
