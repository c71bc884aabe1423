"""The live graph from a factory. The server calls it for each run; it gives the same one again."""

import asyncio
from functools import cache
from pathlib import Path

from langchain_core.runnables import RunnableConfig

from yamlgraph_prompts import LiveGraph, load_and_compile

HERE = Path(__file__).parent


@cache
def load() -> LiveGraph:
    return load_and_compile(HERE / "notes.yaml", HERE / "prompts").compile()


async def make_graph(config: RunnableConfig) -> LiveGraph:
    return await asyncio.to_thread(load)
