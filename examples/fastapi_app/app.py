"""Letters by HTTP: `uvicorn app:app --workers 4`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from pydantic import BaseModel

from yamlgraph_prompts import LiveGraph, load_and_compile

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
CHECKPOINTS = os.environ.get("CHECKPOINTS", "checkpoints.sqlite")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncSqliteSaver.from_conn_string(CHECKPOINTS) as saver:
        app.state.letters = await asyncio.to_thread(load, saver)
        yield
        await asyncio.to_thread(app.state.letters.prompts.close)


def load(saver: AsyncSqliteSaver) -> LiveGraph:
    """Read the prompts, and follow them from now on: the first use begins to."""
    graph = load_and_compile(HERE / "graph.yaml", HERE / "prompts")
    letters = graph.compile(checkpointer=saver)
    logger.info("We begin with release %s.", letters.release.id[:12])
    return letters


app = FastAPI(lifespan=lifespan)


class Start(BaseModel):
    name: str


class Wish(BaseModel):
    wish: str


@app.post("/letters/{thread}")
async def start(thread: str, body: Start, request: Request) -> dict[str, Any]:
    """Draft a letter; the answer is a question."""
    return await run(request.app.state.letters, thread, {"name": body.name})


@app.post("/letters/{thread}/wish")
async def resume(thread: str, body: Wish, request: Request) -> dict[str, Any]:
    """Answer the question; the letter is written with the prompts that it was drafted with."""
    letters: LiveGraph = request.app.state.letters
    state = await letters.aget_state(at(thread))
    if not state.interrupts:
        raise HTTPException(409, "Nobody asked.")
    return await run(letters, thread, Command(resume=body.wish))


@app.get("/release")
async def release(request: Request) -> dict[str, Any]:
    """What is live now, and where each prompt came from."""
    live = request.app.state.letters.release
    return {
        "release": live.id,
        "worker": os.getpid(),
        "prompts": {prompt.name: prompt.file for prompt in live.prompts.values()},
    }


async def run(letters: LiveGraph, thread: str, given: Any) -> dict[str, Any]:
    result = await letters.ainvoke(given, at(thread))
    if asked := result.get("__interrupt__"):
        return {"draft": result["draft"], "question": asked[0].value}
    return {"letter": result["letter"]}


def at(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread}}
