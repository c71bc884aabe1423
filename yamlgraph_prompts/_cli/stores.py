"""`yamlgraph-prompts store list | prune`: every store in a folder, also those of former layers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from yamlgraph_prompts._cli.terminal import note, paint, say, say_json, table
from yamlgraph_prompts._files.disk import remove_tree
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.registry.folder import FolderLock, store_root
from yamlgraph_prompts.registry.local import LocalRegistry
from yamlgraph_prompts.registry.replicas import HostReplicas


@dataclass(frozen=True)
class _Kept:
    folder: str
    environment: str
    release: str | None
    held: bool
    layers: tuple[str, ...]
    used_s: float
    bytes: int
    processes: int
    trouble: str | None = None


def run(arguments: Any) -> int:
    """List the stores, or remove those that were not used for some days."""
    if arguments.words not in (["list"], ["prune"]):
        raise PromptsError("store takes list or prune.", hint="yamlgraph-prompts store list")
    root = store_root(arguments.store)
    stores = list(_stores(root))
    if arguments.words == ["prune"]:
        oldest_s = time.time() - arguments.days * 86400.0
        unused = (one for one in stores if one.used_s < oldest_s and not one.held)
        stores = [one for one in unused if _removed(one)]
    if arguments.json:
        say_json({"root": str(root), "stores": [asdict(one) for one in stores]})
        return 0
    if not stores:
        note(f"There is nothing to {arguments.words[0]} in {root}.")
        return 0
    rows = [("environment", "release", "last used", "MB", "processes", "layers", "folder", "")]
    for one in stores:
        used = datetime.fromtimestamp(one.used_s).astimezone().strftime("%Y-%m-%d")
        size, release = f"{one.bytes / 1e6:.1f}", (one.release or "")[:12]
        mark = "removed" if arguments.words == ["prune"] else "held" if one.held else ""
        layers = one.trouble or ", ".join(one.layers)
        first = (one.environment, release, used, size, str(one.processes))
        rows.append((*first, layers, Path(one.folder).name, mark))
    head, *lines = table(rows)
    say(paint(head, "dim"))
    for line in lines:
        say(line)
    return 0


def _stores(root: Path) -> Iterator[_Kept]:
    folders = sorted(root.iterdir()) if root.is_dir() else []
    for folder in (one for one in folders if (one / "packs").is_dir()):
        environment = folder.name.rpartition("-")[0]
        release, held, trouble = None, False, None
        layers: tuple[str, ...] = ()
        try:
            registry = LocalRegistry(folder)
            entry = registry.current(environment)
            if entry is not None:
                release, held = entry.release, entry.held
                layers = tuple(layer.url for layer in registry.head(release).layers)
        except (PromptsError, OSError) as problem:
            trouble = str(problem)
        facts = [path.lstat() for path in folder.rglob("*") if path.name != "lock"]
        used_s = max((one.st_mtime for one in facts), default=folder.stat().st_mtime)
        size = sum(one.st_size for one in facts)
        yield _Kept(
            *(str(folder), environment, release, held, layers, used_s, size),
            len(HostReplicas(folder.joinpath("workers").absolute).replicas(environment)),
            trouble,
        )


def _removed(store: _Kept) -> bool:
    """Remove a store, unless a process uses it."""
    folder = Path(store.folder)
    with FolderLock(folder).held(0.0):
        if not store.processes and os.access(folder, os.W_OK):
            remove_tree(folder)
    return not folder.exists()
