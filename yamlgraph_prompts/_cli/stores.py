"""`yamlgraph-prompts store list | prune`: every store in a folder, also those of former layers."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from yamlgraph_prompts._cli.terminal import note, say_json, say_table
from yamlgraph_prompts._files.disk import remove_tree
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.registry.folder import FolderLock, store_root
from yamlgraph_prompts.registry.local import LocalRegistry
from yamlgraph_prompts.registry.replicas import HostReplicas

_HEAD = ("environment", "release", "last used", "MB", "processes", "layers", "folder", "")


def run(arguments: Any) -> int:
    """List the stores, or remove those that were not used for some days."""
    if arguments.words not in (["list"], ["prune"]):
        raise PromptsError("store takes list or prune.", hint="yamlgraph-prompts store list")
    root = store_root(arguments.store)
    stores = [_facts(packs.parent) for packs in sorted(root.glob("*/packs/"))]
    if arguments.words == ["prune"]:
        oldest_s = time.time() - arguments.days * 86400.0
        stores = [one for one in stores if one["used_s"] < oldest_s and _removed(one)]
    if arguments.json:
        say_json({"root": str(root), "stores": stores})
        return 0
    if not stores:
        note(f"There is nothing to {arguments.words[0]} in {root}.")
        return 0
    say_table([_HEAD, *map(_row, stores)])
    return 0


def _facts(folder: Path) -> dict[str, Any]:
    environment = folder.name.rpartition("-")[0]
    facts: dict[str, Any] = {"environment": environment, "release": None, "held": False}
    facts |= {"folder": str(folder), "layers": [], "trouble": None}
    try:
        registry = LocalRegistry(folder)
        if (entry := registry.current(environment)) is not None:
            facts |= {"release": entry.release, "held": entry.held}
            facts["layers"] = [layer.url for layer in registry.head(entry.release).layers]
    except (PromptsError, OSError) as problem:
        facts["trouble"] = str(problem)
    files = [path.lstat() for path in folder.rglob("*") if path.name != "lock"]
    facts["used_s"] = max((one.st_mtime for one in files), default=0.0)
    facts["bytes"] = sum(one.st_size for one in files)
    facts["processes"] = len(HostReplicas(lambda: folder / "workers").replicas(environment))
    return facts


def _row(store: dict[str, Any]) -> tuple[str, ...]:
    used = datetime.fromtimestamp(store["used_s"]).astimezone().strftime("%Y-%m-%d")
    name = Path(store["folder"]).name
    first = (store["environment"], (store["release"] or "")[:12], used)
    more = (f"{store['bytes'] / 1e6:.1f}", str(store["processes"]))
    layers = store["trouble"] or ", ".join(store["layers"])
    return (*first, *more, layers, name, "held" if store["held"] else "")


def _removed(store: dict[str, Any]) -> bool:
    """Remove a store that is neither held, nor used, nor another version's."""
    folder = Path(store["folder"])
    if store["held"] or store["processes"] or store["trouble"]:
        return False
    with FolderLock(folder).held(0.0):
        remove_tree(folder)
    return not folder.exists()
