"""The only package that imports yamlgraph. It reads graphs, and builds them on one release.

`facts` reads what a graph asks for, `adopt` builds it on a release's folder, `execute` makes each
call cheap and safe, `known` says which functions of yamlgraph all this relies on.
"""

from __future__ import annotations

from yamlgraph_prompts.yamlgraph_bridge.facts import peek
from yamlgraph_prompts.yamlgraph_bridge.graph import YamlGraph

__all__ = ["YamlGraph", "peek"]
