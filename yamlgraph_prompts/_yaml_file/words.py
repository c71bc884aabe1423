"""PyYAML's exceptions → findings that a prompt author understands: what, where, what to do."""

from __future__ import annotations

import re
from typing import Any

import yaml

from yamlgraph_prompts._text.escaping import invisible
from yamlgraph_prompts._yaml_file.lines import split_lines
from yamlgraph_prompts.findings import Finding, Severity

_QUOTE_IT = "Put the whole value in quotes, or write it as a block under `|`."
_OR_CLOSE_IT = f"{_QUOTE_IT} If it is meant as a mapping or a list, close it."
_ALIGN = (
    "Check the indentation: all lines of a block under `|` must be indented at least as far as"
    " its first, and all keys of one level must start in the same column."
)
_QUOTES = {"'": "''", '"': '\\"'}
_TAB_INDENT = re.compile(" *\t")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# Where YAML wants a space: before the first character of a line, behind a colon or a dash.
_SPACES = re.compile("(?:^|(?<=[:-]))[\\s\u00ad\u180e\u200b-\u200f\u2060-\u206f\ufeff]++")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEFORE_VALUE = re.compile(r"""\s*+(?:- ++)*+(?:[^\s:{}\[\]"']++ *+: ++)?+(?:- ++)*+""")

# For these the place where the construct began is the one to mend.
_BLAME_THE_CONTEXT = ("unexpected end of stream", "could not find expected ':'", "expected ',' or")

# Parts of PyYAML's message (libyaml's | the pure parser's) → our message and hint.
_SYNTAX = {
    "mapping values are not allowed": (
        "a colon followed by a space is read as the start of a new key here",
        f"{_QUOTE_IT} If it is meant as a key, check its indentation.",
    ),
    "sequence entries are not allowed": (
        "a list cannot start on the same line as its key",
        f"Start the list on the next line. If it is text: {_QUOTE_IT.lower()}",
    ),
    "mapping keys are not allowed": ("`? ` at the start of a value is not read as text", _QUOTE_IT),
    "tab character": ("a tab is used for indentation", "Indent with spaces."),
    "unexpected end of stream": (
        "a quote that is opened here is never closed",
        "Close it, or write the text as a block under `|`, where quotes need no care.",
    ),
    "could not find expected ':'": (
        "this line has no key and does not belong to the value above it",
        "Indent it further than the key that it belongs to, or write `key: value`.",
    ),
    "unknown escape character": (
        "a backslash in double quotes starts an escape that YAML does not know",
        "Double the backslash, use single quotes, or write a block under `|`.",
    ),
    "expected comment or line break|expected a comment or a line break|chomping": (
        "`|` and `>` must end their line: the text starts on the next one",
        "Move the text to the next line and indent it.",
    ),
    "undefined alias": (
        "`*` at the start of a value is read as a reference to an anchor, and there is none",
        _QUOTE_IT,
    ),
    "alphabetic or numeric character": (
        "`*` or `&` at the start of a value is not read as text",
        _QUOTE_IT,
    ),
    "but found another document": (
        "the file contains a second document after `---`",
        "Use one document for each file; indent `---` if it is part of a text.",
    ),
    "second occurrence": ("the anchor was given already", "Use another name after `&`."),
    "<document start>": (
        "this does not belong to the lines above it",
        "All keys of the first level must start in the same column.",
    ),
    "expected '-' indicator": (
        "a list and keys are mixed on one level",
        "Start each item with `- `, or indent the key under one.",
    ),
    "expected ',' or ']'|expected ',' or '}'": (
        "a `[` or `{` at the start of a value opens a YAML list or mapping that is not closed",
        _OR_CLOSE_IT,
    ),
    "node content": ("this character cannot start a value", _QUOTE_IT),
    "indentation indicator": (
        "the number after `|` or `>` must be from 1 to 9",
        "Omit the number: YAML detects the indentation.",
    ),
}


def yaml_finding(mark: Any, severity: Severity, code: str, message: str, hint: str) -> Finding:
    """A finding at a mark of PyYAML's."""
    line, column = mark.line + 1, mark.column + 1
    return Finding(severity, code, message, line=line, column=column, hint=hint)


def syntax_finding(error: yaml.YAMLError, data: bytes) -> Finding:
    """The finding for YAML that does not parse."""
    source = data.decode("utf-8-sig", "replace")
    if isinstance(error, yaml.reader.ReaderError):
        return _unprintable(source)
    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    context_mark = getattr(error, "context_mark", None)
    if mark is None or any(words in problem for words in _BLAME_THE_CONTEXT):
        mark = context_mark or mark
    if mark is None:
        return Finding("error", "yaml-syntax", f"The YAML cannot be read: {_short(problem)}")
    line, column = mark.line, mark.column
    lines = split_lines(source)
    text = lines[line] if line < len(lines) else ""
    value = _BEFORE_VALUE.match(text).end()  # type: ignore[union-attr]
    if "Unicode character escape" in problem and (half := _HALF.search(text)):
        message = f"the escape {half[0]} is half of a character, as JSON writes emoji"
        hint = "Write the character itself: YAML does not join two escapes into one character."
        return Finding(
            "error", "yaml-syntax", message, None, None, line + 1, half.start() + 1, hint
        )
    if no_space := no_yaml_space(text, line):
        return no_space
    if indented := _TAB_INDENT.match(text):
        # That is what is wrong, whatever the parser makes of what stands behind it.
        column = indented.end() - 1
    elif text[value : value + 1] in ("{", "["):
        column = value
    message, hint = _in_words(problem, text[value : value + 1], text[column : column + 1])
    return Finding("error", "yaml-syntax", message, line=line + 1, column=column + 1, hint=hint)


def no_yaml_space(text: str, line: int) -> Finding | None:
    """The error for a space in a line, from 0, that looks like a YAML space and is none."""
    for found in _SPACES.finditer(text):
        if hidden := invisible(found[0]):
            message = f"{hidden[1]} stands where YAML needs a space"
            hint = "Replace it by an ordinary space: the two look alike in an editor."
            at = line + 1, found.start() + hidden[0] + 1
            return Finding("error", "yaml-syntax", message, None, None, *at, hint)
    return None


def _in_words(problem: str, start: str, char: str) -> tuple[str, str]:
    if char == "\t":
        return "a tab is used for indentation", "Indent with spaces."
    if start == "{":
        return (
            "`{` at the start of a value begins a YAML mapping, so `{name}` is not read as text",
            _OR_CLOSE_IT,
        )
    if "cannot start any token" in problem:
        return f"a value cannot start with {char!r}", _QUOTE_IT
    if "node content" in problem and not char:
        return "the line ends within a `[` or `{` that is never closed", _OR_CLOSE_IT
    if "expected key" in problem or "<block end>" in problem:
        return _misplaced(start)
    for needles, finding in _SYNTAX.items():
        if any(needle in problem for needle in needles.split("|")):
            return finding
    return f"the YAML cannot be read: {_short(problem)}", _QUOTE_IT


def _misplaced(start: str) -> tuple[str, str]:
    if start == "[":
        message = "`[` at the start of a value begins a YAML list, so it is not read as text"
        return message, _QUOTE_IT
    if start in _QUOTES:
        hint = f"Write {_QUOTES[start]} for one inside the text, or write a block under `|`."
        return f"there is text after a closing {start}", hint
    return "this line does not fit the lines above it", _ALIGN


def _unprintable(source: str) -> Finding:
    match = _UNPRINTABLE.search(source)
    # libyaml, unlike the pure parser, also refuses a byte order mark within the text.
    at = match.start() if match else max(source.find("\ufeff"), 0)
    before = split_lines(source[:at])
    return Finding(
        "error",
        "yaml-syntax",
        f"the character U+{ord(source[at]):04X} is not allowed in YAML" if source else "no text",
        line=len(before),
        column=len(before[-1]) + 1,
        hint="Delete it; it may be invisible in your editor.",
    )


def construct_finding(error: Exception, data: bytes, loader_class: Any) -> Finding:
    """The finding for YAML that parses but whose values cannot be made."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        is_brace = mark is not None and _char_at(data, mark) == "{"
        message, hint = _value_in_words(str(error.problem), is_brace)
    else:
        mark = _failing_mark(data, loader_class)
        message = "this looks like a number, a date or a tagged value, but is none"
        hint = "Put it in quotes if it is text."
    if mark is None:
        return Finding("error", "yaml-syntax", message, hint=hint)
    return yaml_finding(mark, "error", "yaml-syntax", message, hint)


def _char_at(data: bytes, mark: Any) -> str:
    lines = split_lines(data.decode("utf-8-sig", "replace"))
    return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _value_in_words(problem: str, is_brace: bool) -> tuple[str, str]:
    if "unhashable key" in problem and is_brace:
        message = "`{{` at the start of a value begins a YAML mapping, so it is not read as text"
        return message, _QUOTE_IT
    if "unhashable key" in problem:
        return "a key must be text, not a list or a mapping", "Write the key as text."
    if "constructor for the tag" in problem:
        tag = _short(problem.split("the tag", 1)[1].strip())
        if "tag:yaml.org,2002:value" in tag:
            return "a lone `=` is not read as text", _QUOTE_IT
        return (
            f"the tag {tag} is not allowed",
            f"Delete it. If `!` is the start of a text: {_QUOTE_IT.lower()}",
        )
    if "for merging" in problem:
        return "`<<` merges mappings only", "Quote the key if it is meant as text."
    return f"the YAML cannot be read: {_short(problem)}", _QUOTE_IT


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _failing_mark(data: bytes, loader_class: Any) -> Any:
    """The mark of the innermost node whose value cannot be made; reads the file again."""
    failed: list[Any] = []

    class Recorder(loader_class):  # type: ignore[misc]
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep=deep)
            except Exception:
                failed.append(node.start_mark)
                raise

    loader = Recorder(data)
    try:
        loader.get_single_data()
    except Exception:  # noqa: BLE001 - the same failure as the caller's
        return failed[0] if failed else None
    finally:
        loader.dispose()
    return None
