"""One message's text, filled in at run time as YAMLGraph would, but guarded and compiled once.

The dialect (Jinja or `str.format`) is decided for each message. Nothing here reads a file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, Literal, NoReturn

from jinja2.exceptions import SecurityError

from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sandbox import GuardedEnvironment, environment, fields
from yamlgraph_prompts.sandbox.budget import Budget, Limits, Refused, current, swap
from yamlgraph_prompts.sandbox.explanation import explain
from yamlgraph_prompts.sandbox.inspection import Inspection
from yamlgraph_prompts.sandbox.views import view

LIMITS = Limits()  # of all the messages of one prompt
_QUICKLY_COMPILED = 16_384  # characters; more would hold the interpreter lock for 50 ms
_SHORT = 65_536  # characters of a text whose facts are kept a while
_MAX_QUOTED = 500  # characters of a template in an error
_SHOWN = 40  # characters of what stands between wrong braces
_NOT_GIVEN = frozenset({"state", "loop", "range", "true", "false", "none", "self"})
_BRACES = (
    "This message has no Jinja syntax, so it is rendered with str.format and every brace is "
    "significant. Rewrite the shape in prose or wrap it in {% raw %}...{% endraw %} to make the "
    "message Jinja."
)
_AS_TEXT = (
    "Where braces are meant as text, such as JSON, put {% raw %} before and {% endraw %} after "
    "them, and write the variables of this message as {{ name }}."
)
_compiling = threading.RLock()
_environment: GuardedEnvironment | None = None
_globals: dict[str, Any] = {}


def is_jinja(text: str) -> bool:
    """Whether YAMLGraph would render `text` with Jinja rather than `str.format`.

    Example:
        >>> is_jinja("Hi {{ name }}"), is_jinja("Hi {name}")
        (True, False)
    """
    return "{{" in text or "{%" in text


def _jinja() -> GuardedEnvironment:
    global _environment, _globals
    if _environment is None:
        with _compiling:
            if _environment is None:
                made = environment()
                _globals = dict(made.globals)
                _environment = made
    return _environment


_Fill = Callable[[Mapping[str, Any], Mapping[str, Any] | None], str]


class MessageTemplate:
    """The template of one message. Thread-safe; read and compiled when first needed.

    Args:
        text: The message's text as it stands in the prompt.
        prompt: The prompt's name, for errors.

    Example:
        >>> MessageTemplate("Hi {name}").render({"name": "Ada"})
        'Hi Ada'
        >>> MessageTemplate("{% for n in names %}{{ n }}! {% endfor %}").variables
        frozenset({'names'})
    """

    __slots__ = ("_fill", "_findings", "_names", "_variables", "prompt", "text")

    def __init__(self, text: str, *, prompt: str = "") -> None:
        self.text = text
        self.prompt = prompt
        self._variables: frozenset[str] | None = None
        self._findings: tuple[Finding, ...] = ()
        self._names: frozenset[str] = frozenset()  # that it looks up
        self._fill: _Fill | None = None

    def __repr__(self) -> str:
        return f"<MessageTemplate of {self.prompt!r}, {len(self.text)} characters>"

    @property
    def dialect(self) -> Literal["jinja", "format"]:
        """``"jinja"`` or ``"format"``."""
        return "jinja" if is_jinja(self.text) else "format"

    @property
    def variables(self) -> frozenset[str]:
        """The names that must be given: those that YAMLGraph's `extract_variables` names."""
        if self._variables is None:
            self._inspect()
        return self._variables or frozenset()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the text; lines and columns count from 1 in it."""
        if self._variables is None:
            self._inspect()
        return self._findings

    def _inspect(self) -> None:
        facts = _short_facts if len(self.text) <= _SHORT else _facts
        self._findings, self._variables, self._names = facts(self.text)

    def render(
        self,
        variables: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> str:
        """The text for these variables, as YAMLGraph's `format_prompt` gives it.

        Args:
            variables: Name → value.
            state: What ``{{ state.field }}`` reads, in the Jinja dialect.
            budget: What all messages of a prompt may use together; a new one by default.

        Returns:
            The text.

        Raises:
            PromptRenderError: It cannot be filled in, or it does what a prompt may not do.
        """
        fill = self._fill or self._compile()
        before = swap(Budget(LIMITS) if budget is None else budget)
        try:
            return fill(variables, state)
        except Exception as error:  # noqa: BLE001 - the app's own values may raise anything
            failed = self._failure(error, variables)
        finally:
            swap(before)
        raise failed

    # -- compiling

    def _compile(self) -> _Fill:
        with _compiling:
            if self._fill is None:
                for finding in self.findings:
                    if finding.severity == "error":
                        self._refuse(finding)
                self._fill = self._format() if self.dialect == "format" else self._template()
            return self._fill

    def _refuse(self, finding: Finding) -> NoReturn:
        if finding.code == "format-braces":
            raise self.braces(finding)
        raise self._error(finding.message, finding.line, finding.hint)

    def refuse_braces(self) -> None:
        """Refuse a text that `str.format` cannot render, as YAMLGraph does."""
        for finding in self.findings:
            if finding.code == "format-braces":
                raise self.braces(finding)

    def braces(self, finding: Finding) -> PromptRenderError:
        """YAMLGraph's words for a text that `str.format` cannot render."""
        scan = fields.scan(self.text)
        detail = scan.brace_error or f"invalid format field(s): {', '.join(scan.invalid)}"
        return PromptRenderError(
            f"Prompt '{self.prompt}' has a message that is not a valid template "
            f"({detail if scan.wrong else finding.message}). {_BRACES} Lint reports this as E013.",
            prompt=self.prompt,
            line=finding.line,
        )

    def _format(self) -> _Fill:
        text = fields.FormatText(self.text)
        return lambda variables, state: text.render(variables)

    def _template(self) -> _Fill:
        jinja = _jinja()
        try:
            code = self._code(jinja)
            module = jinja.template_class.from_code(jinja, code, jinja.globals)
        except Exception as error:  # noqa: BLE001 - Jinja and Python refuse in many ways
            failed = self._failure(error, {})
        else:
            return _filler(jinja, module, self._names)
        raise failed

    def _code(self, jinja: GuardedEnvironment) -> CodeType:
        if len(self.text) <= _QUICKLY_COMPILED:
            return jinja.compile(self.text)
        from yamlgraph_prompts.isolation.compiling import compile_text

        compiled = compile_text(self.text)
        if compiled.code is None:
            raise Refused(compiled.findings[-1].message)
        return compiled.code

    # -- errors

    def _failure(self, error: Exception, variables: Mapping[str, Any]) -> PromptRenderError:
        if self.dialect == "format":
            missing = self.variables - variables.keys()
            if isinstance(error, KeyError) and missing:
                return missing_variables(self.prompt, missing)
            return self._field_failure(error, variables)
        why = explain(error, self.text)
        return self._error(why.message, why.line, None)

    def _field_failure(self, error: Exception, variables: Mapping[str, Any]) -> PromptRenderError:
        if isinstance(error, Refused):
            return self._error(explain(error, self.text).message, None, None)
        text = fields.FormatText(self.text)
        before = swap(Budget(LIMITS))
        try:
            culprit = text.culprit(variables)
        except SecurityError:
            culprit = None
        finally:
            swap(before)
        if culprit is None:
            return self._error("A field cannot be filled in.", None, None)
        written, kind = culprit
        return self._error(
            f"The field {_shortened(written)} does not fit its value, a {kind.__name__!r}.",
            _line_of(self.text, written),
            None,
        )

    def _error(self, message: str, line: int | None, hint: str | None) -> PromptRenderError:
        where = f"Prompt {self.prompt!r}" if self.prompt else "A prompt"
        where += f", line {line} of the message" if line else ""
        return PromptRenderError(f"{where}: {message}", prompt=self.prompt, line=line, hint=hint)


def _filler(jinja: GuardedEnvironment, module: Any, names: frozenset[str]) -> _Fill:
    root, blocks, context_class = module.root_render_func, module.blocks, jinja.context_class

    def fill(variables: Mapping[str, Any], state: Mapping[str, Any] | None) -> str:
        given = _globals.copy()
        for name in names:
            if name in variables:
                given[name] = view(variables[name])
            elif name == "state":
                given[name] = view(state or {})
        return current().output(root(context_class(jinja, given, None, blocks)))

    return fill


def missing_variables(prompt: str, missing: frozenset[str]) -> PromptRenderError:
    """YAMLGraph's words for variables that were not given."""
    names = _shortened(", ".join(sorted(missing)))
    return PromptRenderError(
        f"Missing required variable(s) for prompt '{prompt}': {names}", prompt=prompt
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


# -- examining ---------------------------------------------------------------------------------


def examine(text: str) -> tuple[Finding, ...]:
    """What is wrong with one message's text; nothing of it is run.

    Args:
        text: The text as it stands in the prompt.

    Returns:
        The findings, with lines and columns from 1 in `text`. Jinja's ``template-syntax``,
        ``unknown-filter``, ``unknown-test``, ``template-include``; ``format-braces`` for text that
        `str.format` cannot render; ``unsafe-template`` in both dialects.

    Example:
        >>> [(f.code, f.line) for f in examine("Hi\\n{{ name | uper }}")]
        [('unknown-filter', 2)]
    """
    return MessageTemplate(text).findings


def _facts(text: str) -> tuple[tuple[Finding, ...], frozenset[str], frozenset[str]]:
    """What is wrong with a text, the variables that must be given, and all that it looks up."""
    if not is_jinja(text):
        scan = fields.scan(text)
        return tuple(_format_findings(text, scan)), scan.roots - _NOT_GIVEN, scan.roots
    found = Inspection(text, _jinja())
    if found.tree is None:
        return found.findings, frozenset(), frozenset()
    simple = fields.scan(fields.without_raw(text)).roots
    required = ((found.undeclared - found.assigned) | simple) - _NOT_GIVEN
    return found.findings, frozenset(required), frozenset({*found.undeclared, *_globals})


_short_facts = lru_cache(maxsize=64)(_facts)  # who checks a prompt asks more than once


def _format_findings(text: str, scan: fields.FieldScan) -> Iterator[Finding]:
    if scan.wrong:
        message, hint = _brace_words(scan)
        yield Finding("error", "format-braces", message, line=_brace_line(text, scan), hint=hint)
        return
    try:
        found = list(fields.fields(text))
    except ValueError as error:  # in a format spec, where YAMLGraph does not look
        yield Finding("error", "format-braces", f"in a format spec: {error}")
        return
    for name, spec, _conversion in found:
        if part := fields.private_part(name):
            yield Finding(
                "error",
                "unsafe-template",
                f"{part!r} in the field {{{name}}} is not for prompts",
                line=_line_of(text, name),
            )
        if max((len(digits) for digits in re.findall(r"\d+", spec)), default=0) > 7:
            yield Finding(
                "error",
                "unsafe-template",
                f"the field {{{name}:{spec}}} is too wide",
                line=_line_of(text, name),
            )


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
    if name.strip().isidentifier():
        return f"there is a space inside the braces of {{{name}}}", f"Write {{{name.strip()}}}."
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    return (
        f"{{{' '.join(shown.split())}}} is no variable",
        f"A variable's name begins with a letter and holds letters, digits and _. {_AS_TEXT}",
    )


def _line_of(text: str, part: str) -> int | None:
    offset = text.find(part)
    return None if offset < 0 else text.count("\n", 0, offset) + 1


def _brace_line(text: str, scan: fields.FieldScan) -> int | None:
    if not scan.brace_error:
        return _line_of(text, "{" + scan.invalid[0])
    return None
