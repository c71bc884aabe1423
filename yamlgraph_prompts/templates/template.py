"""A prompt's messages, built at run time exactly as YAMLGraph builds them.

The dialect (Jinja or `str.format`) is decided for each message. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._sandbox.budget import Budget
from yamlgraph_prompts._sandbox.examination import is_jinja
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.templates.message_template import (
    LIMITS,
    MessageTemplate,
    examine,
    missing_variables,
)

__all__ = ["MessageTemplate", "PromptTemplate", "Text", "examine", "is_jinja", "missing_variables"]

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Path = tuple[str | int, ...]
Blocks = list[str | dict[str, Any]]

_NOT_FILLED_IN = "(a message that yamlgraph-prompts has not filled in)"


class PromptTemplate:
    """All messages of one prompt. Thread-safe."""

    def __init__(self, content: Mapping[str, Any], *, prompt: str) -> None:
        self.prompt = prompt
        self._content = content
        self._provider = content.get("provider")
        self._wrong: str | None = None
        self._is_scalar = False
        self._no_segments = False
        self._segments: list[tuple[MessageTemplate, bool]] = []
        # Where each text stands in the mapping, such as ("system", 0, "content").
        self.parts: list[tuple[Path, MessageTemplate]] = []
        self._required: frozenset[str] | None = None
        self._read_system(content)
        self._user = self._read_user(content)

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
        """The names that its messages mention, as YAMLGraph counts them."""
        return frozenset().union(*(template.variables for _path, template in self.parts))

    @property
    def required(self) -> frozenset[str]:
        """Those of `variables` that some message cannot do without."""
        parts = (template for _path, template in self.parts)
        return frozenset().union(*(part.variables - part.optional for part in parts))

    def messages(
        self, variables: Mapping[str, Any], *, state: Mapping[str, Any] | None = None
    ) -> list[BaseMessage]:
        """The LangChain messages, as YAMLGraph's `prepare_messages` builds them."""
        from langchain_core.messages import HumanMessage, SystemMessage

        system, user = self.rendered(variables, state=state)
        return (
            [HumanMessage(user)] if system is None else [SystemMessage(system), HumanMessage(user)]
        )

    def rendered(
        self, variables: Mapping[str, Any], *, state: Mapping[str, Any] | None = None
    ) -> tuple[str | Blocks | None, str]:
        """The texts of the system message, None without one, and of the human message."""
        if self._required is None or not variables.keys() >= self._required:
            self._check(variables)
        if self._user is None:
            raise PromptRenderError(
                f"Prompt '{self.prompt}' has no 'user' text.", prompt=self.prompt
            )
        budget = Budget(LIMITS)
        user = self._user.render(variables, state, budget)
        return self._system(variables, state, budget), user

    def loaded(self) -> dict[str, Any]:
        """The prompt's mapping for YAMLGraph's `load_prompt`; its `Text`s share one budget."""
        if self._wrong:
            raise PromptRenderError(self._wrong, prompt=self.prompt)
        budget = Budget(LIMITS)
        copy = {**self._content}
        for key in ("system", "system_segments"):
            if isinstance(copy.get(key), list):
                copy[key] = [dict(item) if isinstance(item, dict) else item for item in copy[key]]
        for path, template in self.parts:
            place: Any = copy
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = text = Text(_NOT_FILLED_IN)
            text.template, text.budget = template, budget
        return copy

    # -- reading

    def _read_system(self, content: Mapping[str, Any]) -> None:
        system = content.get("system")
        if "messages" in content and not {"system", "user"} & content.keys():
            self._wrong = (
                f"Prompt '{self.prompt}' uses 'messages:' role list — YAMLGraph prompts use "
                "top-level 'system:' and 'user:' keys (see reference/prompt-yaml.md)."
            )
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
                    self._read_item(("system_segments", number), segment)
        elif isinstance(system, list):
            for number, item in enumerate(system):
                self._read_item(("system", number), item)
        elif system:
            self._is_scalar = True
            self._read_item(("system",), system)

    def _read_item(self, path: Path, item: Any) -> None:
        cache = False
        if isinstance(item, dict) and len(path) > 1:
            path, item, cache = (*path, "content"), item.get("content", ""), bool(item.get("cache"))
        elif path[0] == "system_segments":
            self._wrong = f"Prompt '{self.prompt}': a system segment must be a mapping."
            return
        if template := self._message(path, item):
            self._segments.append((template, cache))

    def _read_user(self, content: Mapping[str, Any]) -> MessageTemplate | None:
        user = content.get("user")
        if user == "":
            return MessageTemplate("", prompt=self.prompt)
        return None if user is None else self._message(("user",), user)

    def _message(self, path: Path, text: Any) -> MessageTemplate | None:
        if type(text) is not str:
            place = ".".join(map(str, path))
            self._wrong = f"Prompt '{self.prompt}': {place} must be a text."
            return None
        if not text:
            return None
        template = MessageTemplate(text, prompt=self.prompt)
        self.parts.append((path, template))
        return template

    # -- building

    def _check(self, variables: Mapping[str, Any]) -> None:
        if self._wrong:
            raise PromptRenderError(self._wrong, prompt=self.prompt)
        for _path, template in self.parts:
            template.refuse_braces()
            if missing := template.variables - template.optional - variables.keys():
                raise missing_variables(self.prompt, missing)
        self._required = self.required

    def _system(
        self, variables: Mapping[str, Any], state: Mapping[str, Any] | None, budget: Budget
    ) -> str | Blocks | None:
        if self._no_segments:
            return ""
        if not self._segments:
            return None
        texts = [template.render(variables, state, budget) for template, _cache in self._segments]
        if self._is_scalar:
            return texts[0] or None
        if self._provider != "anthropic":
            return "\n".join(texts)
        blocks: Blocks = []
        for text, (_template, cache) in zip(texts, self._segments, strict=True):
            block: dict[str, Any] = {"type": "text", "text": text}
            if cache:
                block["cache_control"] = {"type": "ephemeral"}
            blocks.append(block)
        return blocks


class Text(str):
    """A message to be filled in, as YAMLGraph holds it, with its prompt's budget.

    Its characters are a placeholder: where YAMLGraph or the app makes another text of it, nothing
    of the prompt reaches a renderer that is not ours.
    """

    __slots__ = ("budget", "template")

    budget: Budget
    template: MessageTemplate

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (_NOT_FILLED_IN,)
