"""A prompt's texts, filled in at run time exactly as YAMLGraph would, but guarded and compiled once.

The dialect (Jinja or `str.format`) is decided for each message. Nothing here reads a file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NoReturn

from jinja2.exceptions import SecurityError
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from yamlgraph_prompts import fields
from yamlgraph_prompts.budget import Budget, Limits, Refused, swap
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.explanation import explain
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.inspection import Inspection
from yamlgraph_prompts.sandbox import GuardedEnvironment, environment

Path = tuple[str | int, ...]

_LIMITS = Limits()
_NOT_GIVEN = frozenset({"state", "loop", "range", "true", "false", "none", "self"})
_BRACES = (
    "This message has no Jinja syntax, so it is rendered with str.format and every brace is "
    "significant. Rewrite the shape in prose or wrap it in {% raw %}...{% endraw %} to make the "
    "message Jinja."
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

    __slots__ = ("_fill", "_findings", "_variables", "prompt", "text")

    def __init__(self, text: str, *, prompt: str = "") -> None:
        self.text = text
        self.prompt = prompt
        self._variables: frozenset[str] | None = None
        self._findings: tuple[Finding, ...] = ()
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

    def _inspect(self) -> Inspection | None:
        if self.dialect == "format":
            scan = fields.scan(self.text)
            self._findings = tuple(_format_findings(self.text, scan))
            self._variables = scan.roots - _NOT_GIVEN
            return None
        found = Inspection(self.text, _jinja())
        self._findings = found.findings
        if found.tree is None:
            self._variables = frozenset()
        else:
            simple = fields.scan(fields.without_raw(self.text)).roots
            names = (found.undeclared - found.assigned) | simple
            self._variables = frozenset(names - _NOT_GIVEN)
        return found

    def render(
        self, variables: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> str:
        """The text for these variables, as YAMLGraph's `format_prompt` gives it.

        Args:
            variables: Name → value.
            state: What ``{{ state.field }}`` reads, in the Jinja dialect.

        Returns:
            The text.

        Raises:
            PromptRenderError: It cannot be filled in, or it does what a prompt may not do.
        """
        fill = self._fill or self._compile()
        before = swap(Budget(_LIMITS))
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
                found = self._inspect()
                for finding in self._findings:
                    if finding.severity == "error":
                        self._refuse(finding)
                self._fill = self._format() if found is None else self._template(found)
            return self._fill

    def _refuse(self, finding: Finding) -> NoReturn:
        if finding.code == "format-braces":
            raise self.braces(finding)
        raise self._error(finding.message, finding.line, finding.hint)

    def braces(self, finding: Finding) -> PromptRenderError:
        """YAMLGraph's words for a text that `str.format` cannot render."""
        return PromptRenderError(
            f"Prompt '{self.prompt}' has a message that is not a valid template "
            f"({finding.message}). {_BRACES} Lint reports this as E013.",
            prompt=self.prompt,
            line=finding.line,
        )

    def _format(self) -> _Fill:
        text = fields.FormatText(self.text)
        return lambda variables, state: text.render(variables)

    def _template(self, found: Inspection) -> _Fill:
        jinja = _jinja()
        try:
            code = jinja.compile(found.tree)  # type: ignore[arg-type]
            module = jinja.template_class.from_code(jinja, code, jinja.globals)
        except Exception as error:  # noqa: BLE001 - Jinja and Python refuse in many ways
            failed = self._failure(error, {})
        else:
            return _filler(jinja, module)
        raise failed

    # -- errors

    def _failure(self, error: Exception, variables: Mapping[str, Any]) -> PromptRenderError:
        if self.dialect == "format":
            missing = self.variables - variables.keys()
            if isinstance(error, KeyError) and missing:
                return missing_variables(self.prompt, missing)
            return self._field_failure(error, variables)
        why = explain(error, self.text)
        return self._error(why.message, why.line, None)

    def _field_failure(
        self, error: Exception, variables: Mapping[str, Any]
    ) -> PromptRenderError:
        if isinstance(error, Refused):
            return self._error(explain(error, self.text).message, None, None)
        text = fields.FormatText(self.text)
        before = swap(Budget(_LIMITS))
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
            f"The field {written} does not fit its value, a {kind.__name__!r}.",
            _line_of(self.text, written),
            None,
        )

    def _error(self, message: str, line: int | None, hint: str | None) -> PromptRenderError:
        where = f"Prompt {self.prompt!r}" if self.prompt else "A prompt"
        where += f", line {line} of the message" if line else ""
        return PromptRenderError(f"{where}: {message}", prompt=self.prompt, line=line, hint=hint)


def _filler(jinja: GuardedEnvironment, module: Any) -> _Fill:
    root, blocks, context_class = module.root_render_func, module.blocks, jinja.context_class
    concat = jinja.concat

    def fill(variables: Mapping[str, Any], state: Mapping[str, Any] | None) -> str:
        given = {**_globals, "state": state or {}, **variables}
        return concat(root(context_class(jinja, given, None, blocks)))

    return fill


def missing_variables(prompt: str, missing: frozenset[str]) -> PromptRenderError:
    """YAMLGraph's words for variables that were not given."""
    return PromptRenderError(
        f"Missing required variable(s) for prompt '{prompt}': {', '.join(sorted(missing))}",
        prompt=prompt,
    )


class PromptTemplate:
    """All messages of one prompt. Thread-safe.

    Args:
        content: The prompt's mapping, as YAMLGraph reads it.
        prompt: The prompt's name, for errors.

    Example:
        >>> hello = PromptTemplate({"system": "Be kind.", "user": "Hi {name}"}, prompt="hello")
        >>> [message.content for message in hello.messages({"name": "Ada"})]
        ['Be kind.', 'Hi Ada']
    """

    def __init__(self, content: Mapping[str, Any], *, prompt: str) -> None:
        self.prompt = prompt
        self._provider = content.get("provider")
        self._wrong: str | None = None
        self._scalar = False
        self._no_segments = False
        self._segments: list[tuple[MessageTemplate, bool]] = []
        self._parts: list[tuple[Path, MessageTemplate]] = []
        self._required: frozenset[str] | None = None
        self._read_system(content)
        self._user = self._read_user(content)

    @property
    def parts(self) -> tuple[tuple[Path, MessageTemplate], ...]:
        """Where each text stands in the mapping, such as ``("system", 0, "content")``."""
        return tuple(self._parts)

    @property
    def system_texts(self) -> tuple[str, ...]:
        """The texts of the system message that are not empty."""
        return tuple(template.text for template, _cache in self._segments)

    @property
    def user_text(self) -> str:
        """The text of the user message; ``""`` without one."""
        return self._user.text if self._user else ""

    @property
    def variables(self) -> frozenset[str]:
        """The names that must be given to `messages`."""
        return frozenset().union(*(template.variables for _path, template in self._parts))

    def messages(
        self,
        variables: Mapping[str, Any] | None,
        *,
        state: Mapping[str, Any] | None = None,
        provider: str | None = None,
    ) -> list[BaseMessage]:
        """The LangChain messages, as YAMLGraph's `prepare_messages` builds them.

        Args:
            variables: Name → value.
            state: What ``{{ state.field }}`` reads.
            provider: The provider that the messages are for; the prompt's own by default. For
                ``"anthropic"`` segments become blocks, with `cache_control` where asked for.

        Returns:
            A system message, where there is one, and a human message.

        Raises:
            PromptRenderError: A variable is missing, or a text cannot be filled in.
        """
        variables = variables or {}
        if self._required is None or not variables.keys() >= self._required:
            self._check(variables)
        if self._user is None:
            raise self._error("has no 'user' text.")
        user = self._user.render(variables, state)
        system = self._system(variables, state, provider)
        return [HumanMessage(user)] if system is None else [system, HumanMessage(user)]

    # -- reading

    def _read_system(self, content: Mapping[str, Any]) -> None:
        system = content.get("system")
        if "system_segments" in content:
            segments = content["system_segments"]
            if system:
                self._wrong = (
                    "Cannot specify both 'system' and 'system_segments' fields in prompt "
                    f"'{self.prompt}'"
                )
            elif not isinstance(segments, list):
                self._wrong = f"Prompt '{self.prompt}': system_segments must be a list."
            else:
                self._no_segments = not segments
                for number, segment in enumerate(segments):
                    self._read_segment(("system_segments", number), segment)
        elif isinstance(system, list):
            for number, item in enumerate(system):
                if isinstance(item, dict):
                    self._read_segment(("system", number), item)
                else:
                    self._add(("system", number), str(item), False)
        elif system:
            self._scalar = True
            self._add(("system",), system, False)

    def _read_segment(self, path: Path, segment: Any) -> None:
        if not isinstance(segment, dict):
            self._wrong = f"Prompt '{self.prompt}': a system segment must be a mapping."
            return
        self._add((*path, "content"), segment.get("content", ""), bool(segment.get("cache")))

    def _add(self, path: Path, text: Any, cache: bool) -> None:
        if text and (template := self._message(path, text)):
            self._segments.append((template, cache))

    def _read_user(self, content: Mapping[str, Any]) -> MessageTemplate | None:
        if content.get("user") is None:
            return None
        return self._message(("user",), content["user"])

    def _message(self, path: Path, text: Any) -> MessageTemplate | None:
        if not isinstance(text, str):
            place = ".".join(map(str, path))
            self._wrong = f"Prompt '{self.prompt}': {place} must be a text."
            return None
        is_shared = isinstance(text, Text) and text.template.prompt == self.prompt
        template = text.template if is_shared else MessageTemplate(text, prompt=self.prompt)  # type: ignore[attr-defined]
        self._parts.append((path, template))
        return template

    # -- building

    def _check(self, variables: Mapping[str, Any]) -> None:
        if self._wrong:
            raise PromptRenderError(self._wrong, prompt=self.prompt)
        for _path, template in self._parts:
            for finding in template.findings:
                if finding.code == "format-braces":
                    raise template.braces(finding)
            missing = template.variables - variables.keys()
            if missing:
                raise missing_variables(self.prompt, missing)
        self._required = self.variables

    def _system(
        self, variables: Mapping[str, Any], state: Mapping[str, Any] | None, provider: str | None
    ) -> SystemMessage | None:
        if self._no_segments:
            return SystemMessage("")
        if not self._segments:
            return None
        texts = [template.render(variables, state) for template, _cache in self._segments]
        if self._scalar:
            return SystemMessage(texts[0]) if texts[0] else None
        if (self._provider if provider is None else provider) != "anthropic":
            return SystemMessage("\n".join(texts))
        blocks: list[str | dict[str, Any]] = []
        for text, (_template, cache) in zip(texts, self._segments, strict=True):
            block: dict[str, Any] = {"type": "text", "text": text}
            if cache:
                block["cache_control"] = {"type": "ephemeral"}
            blocks.append(block)
        return SystemMessage(blocks)

    def _error(self, message: str) -> PromptRenderError:
        return PromptRenderError(f"Prompt '{self.prompt}' {message}", prompt=self.prompt)


class Text(str):
    """A message's text that brings its template along, so that it is compiled once.

    `str()` of it is itself, and a copy or a pickle of it is a plain `str`.

    Example:
        >>> text = Text("Hi {name}", MessageTemplate("Hi {name}"))
        >>> str(text).template.render({"name": "Ada"})
        'Hi Ada'
    """

    __slots__ = ("template",)

    template: MessageTemplate

    def __new__(cls, text: str, template: MessageTemplate) -> Text:
        self = super().__new__(cls, text)
        self.template = template
        return self

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str.__str__(self),)


def texts(content: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """A copy of a prompt's mapping whose messages' texts are `Text`.

    Args:
        content: The mapping, as YAMLGraph reads it.
        prompt: The prompt's name.

    Returns:
        The copy: ``system``, ``user``, the items of a ``system`` list and each segment's
        ``content`` are `Text`; everything else is as it was.

    Example:
        >>> texts({"user": "Hi {name}", "model": "m"}, "hello")["user"].template.prompt
        'hello'
    """
    copy = dict(content)
    for key in ("system", "user"):
        if key in copy:
            copy[key] = _with_template(copy[key], prompt)
    for key in ("system", "system_segments"):
        if isinstance(copy.get(key), list):
            copy[key] = [_segment(item, prompt) for item in copy[key]]
    return copy


def _segment(item: Any, prompt: str) -> Any:
    if isinstance(item, dict):
        if "content" in item:
            return {**item, "content": _with_template(item["content"], prompt)}
        return dict(item)
    return _with_template(item, prompt)


def _with_template(value: Any, prompt: str) -> Any:
    if isinstance(value, str):
        return Text(value, MessageTemplate(value, prompt=prompt))
    return value


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


def _format_findings(text: str, scan: fields.FieldScan) -> Iterator[Finding]:
    if scan.brace_error or scan.invalid:
        detail = scan.brace_error or f"invalid format field(s): {', '.join(scan.invalid)}"
        yield Finding(
            "error",
            "format-braces",
            detail,
            line=_brace_line(text, scan),
            hint=_BRACES,
        )
        return
    try:
        found = list(fields.fields(text))
    except ValueError:  # only in a format spec, where YAMLGraph does not look
        yield Finding("error", "format-braces", "a format spec has unbalanced braces")
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


def _line_of(text: str, part: str) -> int | None:
    offset = text.find(part)
    return None if offset < 0 else text.count("\n", 0, offset) + 1


def _brace_line(text: str, scan: fields.FieldScan) -> int | None:
    if not scan.brace_error:
        return _line_of(text, "{" + scan.invalid[0])
    return None
