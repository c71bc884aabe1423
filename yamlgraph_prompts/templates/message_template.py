"""One message's text, filled in at run time as YAMLGraph would, but guarded and compiled once.

The dialect (Jinja or `str.format`) is decided for each message. Nothing here reads a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import CodeType
from typing import Any, Literal

from jinja2 import Template
from jinja2.exceptions import SecurityError

from yamlgraph_prompts._sandbox import fields
from yamlgraph_prompts._sandbox.budget import Budget, Limits, Refused, swap
from yamlgraph_prompts._sandbox.examination import Examination, examination, is_jinja
from yamlgraph_prompts._sandbox.explanation import explain
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._sandbox.views import view
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.findings import Finding

LIMITS = Limits()  # of all the messages of one prompt
# Characters of a text, and of the Python that it becomes; more would hold the interpreter lock for
# 50 ms.
_QUICKLY_COMPILED = 16_384
_QUICKLY_COMPILED_SOURCE = 80_000
_MAX_QUOTED = 500  # characters of a template in an error
_BRACES = (
    "This message has no Jinja syntax, so it is rendered with str.format and every brace is "
    "significant. Rewrite the shape in prose or wrap it in {% raw %}...{% endraw %} to make the "
    "message Jinja."
)
_compiling = threading.RLock()


_jinja = cache(GuardedEnvironment)
_Fill = Callable[[Mapping[str, Any], Mapping[str, Any] | None], Iterable[str]]


class MessageTemplate:
    """The template of one message. Thread-safe; read and compiled when first needed."""

    __slots__ = ("_examined", "fill", "prompt", "text")

    def __init__(self, text: str, *, prompt: str = "") -> None:
        self.text = text
        self.prompt = prompt
        self._examined: Examination | None = None
        self.fill: _Fill | None = None  # once it is compiled

    def __repr__(self) -> str:
        return f"<MessageTemplate of {self.prompt!r}, {len(self.text)} characters>"

    @property
    def dialect(self) -> Literal["jinja", "format"]:
        """``"jinja"`` or ``"format"``."""
        return "jinja" if is_jinja(self.text) else "format"

    @property
    def variables(self) -> frozenset[str]:
        """The names that `render` needs: those of YAMLGraph's `extract_variables`."""
        return (self._examined or self._examination()).variables

    @property
    def optional(self) -> frozenset[str]:
        """Those of `variables` that the text asks for: ``x is defined``, or with a ``default``."""
        return self._examination().optional

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the text; lines and columns count from 1 in it."""
        return self._examination().findings

    def _examination(self) -> Examination:
        if self._examined is None:
            self._examined = examination(self.text, _jinja())
        return self._examined

    def render(
        self,
        variables: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> str:
        """The text for these variables, as YAMLGraph's `format_prompt` gives it."""
        fill = self.fill or self._compile()
        budget = budget or Budget(LIMITS)
        before = swap(budget)
        try:
            text = budget.join(fill(variables, state), budget.characters)
            budget.characters -= len(text)
            return text
        except Exception as error:  # noqa: BLE001 - the app's own values may raise anything
            failed = self._failure(error, variables)
        finally:
            swap(before)
        raise failed

    # -- compiling

    def _compile(self) -> _Fill:
        with _compiling:
            if self.fill is None:
                self.refuse_braces()
                for finding in self.findings:
                    if finding.severity == "error":
                        raise self._error(finding.message, finding.line, finding.hint)
                self.fill = self._format() if self.dialect == "format" else self._template()
            return self.fill

    def refuse_braces(self) -> None:
        """Refuse a text that `str.format` cannot render, as YAMLGraph does."""
        for finding in self.findings:
            if finding.code == "format-braces":
                scan = fields.scan(self.text)
                detail = scan.brace_error or f"invalid format field(s): {', '.join(scan.invalid)}"
                raise PromptRenderError(
                    f"Prompt '{self.prompt}' has a message that is not a valid template "
                    f"({detail if scan.wrong else finding.message}). {_BRACES} "
                    "Lint reports this as E013.",
                    prompt=self.prompt,
                    line=finding.line,
                )

    def _format(self) -> _Fill:
        text = fields.FormatText(self.text)
        return lambda variables, state: (text.render(variables),)

    def _template(self) -> _Fill:
        jinja = _jinja()
        try:
            module = Template.from_code(jinja, self._code(jinja), jinja.globals)
        except Exception as error:  # noqa: BLE001 - Jinja and Python refuse in many ways
            failed = self._failure(error, {})
        else:
            # Jinja's own names stand in the text, too, where it uses them.
            names = [name for name in self._examination().names if name in self.text]
            return _filler(jinja, module, names)
        raise failed

    def _code(self, jinja: GuardedEnvironment) -> CodeType:
        if len(self.text) <= _QUICKLY_COMPILED:
            source = jinja.compile(self.text, raw=True)
            if len(source) <= _QUICKLY_COMPILED_SOURCE:
                return jinja._compile(source, "<template>")
        from yamlgraph_prompts._isolation.compiling import compile_text

        compiled = compile_text(self.text)
        if compiled.code is None:
            raise Refused(compiled.findings[-1].message)
        return compiled.code

    # -- errors

    def _failure(self, error: Exception, variables: Mapping[str, Any]) -> PromptRenderError:
        if self.dialect == "jinja" or isinstance(error, Refused):
            why = explain(error, self.text)
            return self._error(why.message, why.line, None)
        missing = self.variables - variables.keys()
        if isinstance(error, KeyError) and missing:
            return missing_variables(self.prompt, missing)
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
        line = self.text.count("\n", 0, self.text.find(written)) + 1
        return self._error(
            f"The field {_shortened(written)} does not fit its value, a {kind.__name__!r}.",
            line if written in self.text else None,
            _field_hint(written, kind),
        )

    def _error(self, message: str, line: int | None, hint: str | None) -> PromptRenderError:
        where = f"Prompt {self.prompt!r}" if self.prompt else "A prompt"
        where += f", line {line} of the message" if line else ""
        return PromptRenderError(f"{where}: {message}", prompt=self.prompt, line=line, hint=hint)


def _filler(jinja: GuardedEnvironment, module: Any, names: list[str]) -> _Fill:
    root, blocks, context_class = module.root_render_func, module.blocks, jinja.context_class
    own = {name: jinja.globals[name] for name in names if name in jinja.globals}

    def fill(variables: Mapping[str, Any], state: Mapping[str, Any] | None) -> Iterable[str]:
        context = {**own}
        for name in names:
            if name in variables:
                context[name] = view(variables[name])
            elif name == "state":
                context[name] = view({} if state is None else state)
        return root(context_class(jinja, context, None, blocks))  # type: ignore[no-any-return]

    return fill


def missing_variables(prompt: str, missing: frozenset[str]) -> PromptRenderError:
    """YAMLGraph's error for missing variables."""
    names = _shortened(", ".join(sorted(missing)))
    return PromptRenderError(
        f"Missing required variable(s) for prompt '{prompt}': {names}", prompt=prompt
    )


def _field_hint(written: str, kind: type) -> str | None:
    name = written[1:-1]
    if len(name) > _MAX_QUOTED:
        return None
    if kind is dict and name.replace(".", "").isidentifier():
        return (
            f"Write {{{name.replace('.', '[', 1).replace('.', '][')}]}} for a key of a dictionary."
        )
    if kind is list and not name.isidentifier():
        return f"A list is joined to a text before: in Jinja, write {{{{ {name} }}}}."
    return None


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


# -- examining ---------------------------------------------------------------------------------


def examine(text: str) -> tuple[Finding, ...]:
    """What is wrong with one message's text; nothing of it is run."""
    return MessageTemplate(text).findings
