"""What a project says once for the command: `yamlgraph-prompts.toml`, or a table in pyproject.toml.

Only the command reads it; what is named on the command line wins.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from yamlgraph_prompts._cli.selection import seems_graph
from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.findings import ALWAYS_SHOWN, Finding

OWN_FILE, SHARED_FILE, TABLE = "yamlgraph-prompts.toml", "pyproject.toml", "yamlgraph-prompts"
LIMIT_BYTES = 1 << 20
_TABLE = re.compile(rf"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*[\"']?{TABLE}[\"']?[ \t]*[.\]]", re.M)
_WORD = re.compile(r"[\w-]++")
_KINDS = {str: "a text", bool: "true or false", list: "a list", dict: "a table"}
_KEYS = {"layers": list, "graphs": list, "environment": str, "store": str, "ignore": list}
_LAYER_KEYS = {"url": str, "optional": bool}
_IGNORE_KEYS = {"code": str, "prompt": str, "reason": str}


@dataclass
class Config:
    """The settings of one file; its paths are relative to the working directory."""

    file: Path
    layers: list[tuple[str, bool]] = field(default_factory=list)
    graphs: list[str] = field(default_factory=list)
    environment: str | None = None
    store: str | None = None
    ignore: dict[tuple[str, str | None], int | None] = field(default_factory=dict)
    # Those of `ignore` that silenced a warning; and whether everything that is named here is used.
    used: set[tuple[str, str | None]] = field(default_factory=set)
    whole: bool = False

    def silences(self, finding: Finding) -> bool:
        """Whether a warning is to be ignored."""
        names = [(finding.code, finding.prompt), (finding.code, None)]
        found = {name for name in names if name in self.ignore}
        if finding.severity == "error" or finding.code in ALWAYS_SHOWN or not found:
            return False
        self.used |= found
        return True

    def unused(self) -> Iterator[Finding]:
        """A warning for each `ignore` that silenced nothing, after a check of the whole project."""
        for (code, prompt), line in self.ignore.items() if self.whole else ():
            if (code, prompt) not in self.used:
                where = f" of {prompt!r}" if prompt else ""
                text = f"this ignores {code}{where}, and there is no such warning"
                yield Finding("warning", "unused-ignore", text, file=str(self.file), line=line,
                              hint="Delete it, or correct the code or the prompt.")  # fmt: skip


def apply(arguments: Any) -> None:
    """Fill in what the command line leaves open from the project's file, if there is one."""
    arguments.config, arguments.rooted = None, False
    if not hasattr(arguments, "environment") or (config := find(Path.cwd())) is None:
        return
    arguments.config = config
    if getattr(arguments, "store", "") is None and not os.environ.get("YAMLGRAPH_PROMPTS_STORE"):
        arguments.store = config.store
    if not hasattr(arguments, "layers") or arguments.layers is not None:
        return
    command, words = arguments.command, arguments.words
    if command == "run":
        words = arguments.rest
    elif command not in ("push", "import") and any("://" in word for word in words):
        return  # the history of a bucket has neither graphs nor layers
    elif command in ("check", "push", "import") and any(map(os.path.isdir, words)):
        return  # folders of prompts, which take the place of layers
    config.whole = not words
    # Its layers are relative to the file, also for a graph that has its prompts beside it.
    arguments.layers, arguments.rooted = config.layers or None, bool(config.layers)
    if not any(_is_graph(word, among_prompts=command == "check") for word in words):
        if command != "run":
            arguments.words = [*words, *config.graphs]
        elif len(config.graphs) == 1:
            arguments.rest = [*config.graphs, *words]


def _is_graph(word: str, *, among_prompts: bool) -> bool:
    if not word.endswith((".yaml", ".yml")):
        return False
    return not among_prompts or (os.path.isfile(word) and seems_graph(Path(word)))


def find(start: Path) -> Config | None:
    """The settings for a folder: the nearest file up to the root of the repository."""
    folders = [start, *start.parents]
    root = next((at for at, one in enumerate(folders) if (one / ".git").exists()), 0)
    for folder in folders[: root + 1]:
        for name in (OWN_FILE, SHARED_FILE):
            path = folder / name
            if path.is_file() and (config := _read(path, start)) is not None:
                return config
    return None


def _read(path: Path, start: Path) -> Config | None:
    shown = Path(os.path.relpath(path, start))
    with path.open("rb") as file:
        data = file.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise PromptsError(f"{shown} has more than {LIMIT_BYTES:,} bytes.")
    try:
        text = data.decode()
        table: Any = tomllib.loads(text)
    except ValueError as problem:  # of UTF-8 too
        raise PromptsError(f"{shown} cannot be read: {problem}.") from problem
    if path.name == SHARED_FILE:
        tools = table.get("tool")
        if not isinstance(tools, dict) or TABLE not in tools:
            return None
        table = tools[TABLE]
    return _Reader(shown, text).config(table)


@dataclass(frozen=True)
class _Reader:
    """Reads a table, and says where what is wrong with it stands."""

    file: Path
    text: str

    def config(self, table: Any) -> Config:
        self._table(table, _KEYS, "")
        config = Config(self.file, environment=table.get("environment"))
        for layer in table.get("layers", ()):
            if isinstance(layer, str):
                layer = {"url": layer}
            self._table(layer, _LAYER_KEYS, "layers", "url")
            config.layers.append((self._path(layer["url"]), layer.get("optional", False)))
        for graph in table.get("graphs", ()):
            self._kind(graph, str, "graphs")
            config.graphs.append(self._path(graph))
        for one in table.get("ignore", ()):
            self._table(one, _IGNORE_KEYS, "ignore", "code")
            line = self._line("ignore", one["code"])
            config.ignore[one["code"], one.get("prompt")] = line
        if "store" in table:
            config.store = self._path(table["store"])
        return config

    def _path(self, path: str) -> str:
        if "://" in path or not path or os.path.isabs(path):
            return path
        return os.path.relpath(self.file.parent / path)

    def _table(self, table: Any, kinds: Mapping[str, type], where: str, needs: str = "") -> None:
        self._kind(table, dict, where)
        for key, value in table.items():
            if key not in kinds:
                hint = did_you_mean(key, kinds) or f"Known are {', '.join(kinds)}."
                self._refuse(f"{key!r} is no setting{where and f' of {where}'}.", hint, key)
            self._kind(value, kinds[key], key)
        if needs and needs not in table:
            self._refuse(f"An item of {where} has no {needs!r}.", None, where)

    def _kind(self, value: Any, kind: type, key: str) -> None:
        if not isinstance(value, kind):
            what = f"{key!r} must be" if key else "It must be"
            self._refuse(f"{what} {_KINDS[kind]}, not {value!r:.60}.", None, key)

    def _refuse(self, message: str, hint: str | None, key: str) -> NoReturn:
        line = self._line(key)
        where = f"{self.file}:{line}" if line else f"{self.file}"
        raise PromptsError(f"{where}: {message}", hint=hint)

    def _line(self, key: str, text: str = "") -> int | None:
        """The first line with a key; of a text at or below it."""
        start = _TABLE.search(self.text) if self.file.name == SHARED_FILE else None
        before = self.text.count("\n", 0, start.start()) if start else 0
        is_below = False
        for number, line in enumerate(self.text.split("\n")[before:], before + 1):
            is_below = is_below or key in _WORD.findall(line)
            if is_below and text in line:
                return number
        return None
