"""The app under test: a graph that greets."""

from typing import TypedDict

from langchain_core.language_models import BaseChatModel
from langgraph.graph import START, StateGraph

from yamlgraph_prompts import LiveGraph, LivePrompts, Release, live_graph


class State(TypedDict, total=False):
    name: str
    greeting: str


def greeter(model: BaseChatModel, prompts: LivePrompts) -> LiveGraph:
    """A live graph that greets with the prompt `greeting`."""

    def build(release: Release) -> StateGraph[State]:
        def greet(state: State) -> State:
            messages = release["greeting"].messages(name=state["name"])
            return {"greeting": model.invoke(messages).text}

        return StateGraph(State).add_node(greet).add_edge(START, "greet")

    return live_graph(build, prompts=prompts).compile()
