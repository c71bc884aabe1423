"""Finds the graphs of a project, and those that a change of it may break. Runs none of them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from yamlgraph_prompts._cli.selection import LIMIT_GRAPH_BYTES
from yamlgraph_prompts._files.regular_file import read_regular
from yamlgraph_prompts._yaml_file import parse_yaml

GIT_TIMEOUT_S = 10.0
MAX_FILES = 10_000
_FOREIGN = {"node_modules", "site-packages", "__pycache__"}
_CHILD = re.compile(rb"\bgraph:[ \t]*+[\"']?+([^\"'\s,}]++)")


def graphs_below(root: Path) -> list[Path]:
    """The graphs in a folder that are no other graph's children, by path."""
    graphs: dict[Path, bytes] = {}
    seen = 0
    for folder, names, files in os.walk(root):
        is_foreign = "pyvenv.cfg" in files
        names[:] = sorted(n for n in names if n[0] != "." and n not in _FOREIGN and not is_foreign)
        for name in sorted(files):
            if name.endswith((".yaml", ".yml")) and name[0] != "." and seen < MAX_FILES:
                seen += 1
                path = Path(folder, name)
                if data := _graph(path):
                    graphs[path] = data
    children = {
        Path(os.path.normpath(path.parent / os.fsdecode(child)))
        for path, data in graphs.items()
        for child in _CHILD.findall(data)
    }
    return [path for path in graphs if path not in children]


def graphs_at_stake() -> list[Path]:
    """The graphs that the staged change touches; each one where it takes a prompt away."""
    ends = [os.environ.get(f"PRE_COMMIT_{end}_REF") for end in ("FROM", "TO")]
    change = ["...".join(map(str, ends))] if all(ends) else ["--cached"]
    command = ["git", "diff", "--no-ext-diff", "--no-renames", "--relative", "--name-status", "-z"]
    try:
        done = subprocess.run(
            [*command, *change], capture_output=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    statuses, names, *_ = (os.fsdecode(done.stdout).split("\0")[at::2] for at in (0, 1))
    changed = dict(zip(names, statuses, strict=False))
    if any(one == "D" and "prompts" in Path(name).parts for name, one in changed.items()):
        return graphs_below(Path())
    return [
        Path(name) for name in changed if name.endswith((".yaml", ".yml")) and _graph(Path(name))
    ]


def _graph(path: Path) -> bytes | None:
    """The content of a file that is a graph."""
    try:
        data = read_regular(path, limit_bytes=LIMIT_GRAPH_BYTES)
    except OSError:
        return None
    if b"nodes" not in data or b"edges" not in data:
        return None
    content, _ = parse_yaml(data, limit_bytes=LIMIT_GRAPH_BYTES)
    return data if isinstance(content, dict) and {"nodes", "edges"} <= content.keys() else None
