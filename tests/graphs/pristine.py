"""What YAMLGraph sends in a process that has never heard of this package. Must run in one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.graphs import runs
from tests.graphs.catalog import CATALOG
from tests.model_server import ModelServer


def recordings(folder: Path) -> dict[str, list[str]]:
    """Entry → the request bodies of all its runs. The graphs run in copies below `folder`."""
    with ModelServer() as server:
        os.environ.update(PROVIDER="lmstudio", LMSTUDIO_BASE_URL=server.url)
        import yamlgraph
        import yamlgraph.utils.prompts

        sent = {}
        for entry in CATALOG:
            copy = Path(shutil.copytree(entry.folder, folder / entry.name))
            os.chdir(copy)
            yamlgraph.utils.prompts.PROMPTS_DIR = copy / "prompts"
            recorded = runs.run(entry, copy / entry.graph, yamlgraph.load_and_compile, server)
            sent[entry.name] = [body.decode() for body in recorded.bodies]
    assert "yamlgraph_prompts" not in sys.modules
    return sent
