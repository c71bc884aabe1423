"""The live graph as a variable: the server imports this module once."""

from pathlib import Path

from yamlgraph_prompts import load_and_compile

HERE = Path(__file__).parent

graph = load_and_compile(HERE / "graph.yaml", HERE / "prompts").compile()
