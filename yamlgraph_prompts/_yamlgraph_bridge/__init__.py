"""The only package that imports yamlgraph. It reads graphs, and builds them on one release.

`facts` reads which prompts a graph uses, `adopt` builds it on a release's folder, `execute` makes
each call cheap and safe, `known` lists the functions of yamlgraph that all this relies on.
"""

from __future__ import annotations

from yamlgraph_prompts._yamlgraph_bridge.facts import peek
from yamlgraph_prompts._yamlgraph_bridge.graph import YamlGraph

__all__ = ["YamlGraph", "peek"]
