"""Says which parts of a graph read prompts past the release. Imports none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yamlgraph_prompts.files.regular_file import read_regular
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.model.graph import PromptUse

_READERS = re.compile(
    rb"\b(execute_prompt(?:_async|_streaming|s_concurrent)?|load_prompt(?:_path)?"
    rb"|prepare_messages(?:_async)?)[ \t]*\("
)


def past_us(config: Any, uses: tuple[PromptUse, ...], shown: str) -> Iterator[Finding]:
    """A warning for each tool that loads prompts itself, and each absolute path of a prompt."""
    for name, tool in config.tools.items():
        if isinstance(tool, Mapping) and tool.get("type") == "python":
            source = _source(tool, config.source_path.parent)
            found = _READERS.search(source) if source else None
            if found:
                yield _warning(
                    f"The tool {name!r} calls {found[1].decode()} itself, so it reads its prompts "
                    "from disk at every call, not from the release.",
                    shown,
                )
    for use in uses:
        if Path(use.prompt).is_absolute():
            yield _warning(
                f"The node {use.node!r} names its prompt by an absolute path, so it reads that "
                "file at every call, not the release.",
                shown,
            )


def _source(tool: Mapping[str, Any], folder: Path) -> bytes | None:
    place: str | Path | None = None
    if isinstance(tool.get("path"), str):
        place = folder / tool["path"]
    elif isinstance(tool.get("module"), str):
        try:
            found = find_spec(tool["module"].partition(".")[0])
        except (ImportError, ValueError):
            return None
        # A parent package must not be imported only to look for a submodule's file.
        if found is not None and "." not in tool["module"]:
            place = found.origin
    try:
        return read_regular(place) if place else None
    except OSError:
        return None


def _warning(message: str, shown: str) -> Finding:
    return Finding(
        "warning",
        "reads-past-release",
        message,
        file=shown,
        graph=shown,
        hint="Let a node of the graph use the prompt instead.",
    )
