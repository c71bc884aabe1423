"""Greets each name that is typed. Edit prompts/ meanwhile: the next greeting has it."""

import sys
from typing import Any, TypedDict

from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langgraph.graph import START, StateGraph

from yamlgraph_prompts import Release, live_graph


class Echo(SimpleChatModel):
    """Says the last message again. Any LangChain chat model can stand here."""

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        return messages[-1].text

    @property
    def _llm_type(self) -> str:
        return "echo"


class State(TypedDict, total=False):
    name: str
    greeting: str
    release: str


model = Echo()


def build(release: Release) -> StateGraph[State]:
    """The graph on one release: called again whenever the prompts change."""

    def greet(state: State) -> State:
        messages = release["greeting"].messages(name=state["name"])
        return {"greeting": model.invoke(messages).text, "release": release.id}

    return StateGraph(State).add_node(greet).add_edge(START, "greet")


app = live_graph(build, "prompts").compile()

print("Who is there?", flush=True)
for line in sys.stdin:
    answer = app.invoke({"name": line.strip()})
    print(f"{answer['greeting']} (release {answer['release'][:12]})", flush=True)
