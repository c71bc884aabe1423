"""A support desk to try the page on: prompts in two layers, a real graph, a real server.

Shared by the browser's tests, the screenshots and the benchmarks. Tests nothing itself.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.conftest import wait_until
from tests.files import write
from yamlgraph_prompts import LivePrompts, load_and_compile
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.sql import SqlRegistry

PEOPLE = {"vera": "viewer", "ada": "author", "ben": "author", "olga": "operator"}

GRAPH = """\
name: support desk
state: {question: str, name: str}
nodes:
  classify:
    type: router
    prompt: router/classify
    route_field: intent
    routes: {billing: billing, technical: technical}
    default_route: technical
    variables: {question: "{state.question}"}
    state_key: intent
  billing:
    type: llm
    prompt: answers/billing
    variables: {question: "{state.question}", name: "{state.name}"}
    state_key: answer
  technical:
    type: llm
    prompt: answers/technical
    variables: {question: "{state.question}", name: "{state.name}"}
    state_key: answer
  sign:
    type: llm
    prompt: letters/signature
    variables: {answer: "{state.answer}"}
    state_key: letter
edges:
  - {from: START, to: classify}
  - {from: classify, to: [billing, technical], type: conditional}
  - {from: billing, to: sign}
  - {from: technical, to: sign}
  - {from: sign, to: END}
"""

TECHNICAL = """\
system: |
  You help customers of a small shop with their orders and devices.
  Answer in at most five sentences.
user: |
  Hello, I am {name}. {question}
"""

FILES = {
    "support.yaml": GRAPH,
    "prompts/production/router/classify.yaml": """\
system: Say what the question is about, in one word.
user: "{question}"
schema:
  name: Classified
  fields:
    intent: {type: str, description: billing or technical}
""",
    "prompts/production/answers/technical.yaml": TECHNICAL,
    "prompts/production/answers/billing.yaml": """\
system: |
  You answer questions about bills. {% if name %}The customer is {{ name }}.{% endif %}
  Name the amount, the date and the next step.
user: "{{ question }}"
""",
    "prompts/production/letters/signature.yaml": 'user: "{answer} Yours, the team."\n',
    "prompts/base/letters/imprint.yaml": 'user: "The shop, 1 Harbour Road. {date}"\n',
    "prompts/base/letters/apology.yaml": 'user: "Dear {name}, we are sorry about {topic}."\n',
}


class Server:
    """uvicorn in a thread. It can be stopped, and started again on the same port."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        config = uvicorn.Config(
            self.app, log_level="critical", timeout_graceful_shutdown=0, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self, listening: socket.socket) -> None:
        with listening:
            self._server.run([listening])


class Site:
    """`with Site(folder) as site`: the page is at `site.url`, and the graph it is about runs.

    Args:
        folder: Empty; everything is in it.
        root: The path that the page is mounted under.
        files: More prompts, or other texts for them.
    """

    def __init__(self, folder: Path, root: str = "", files: Mapping[str, str] | None = None):
        self.folder = folder = write(folder / "desk", {**FILES, **(files or {})})
        self.root = root
        write(folder, {"tokens": "".join(map(_line, PEOPLE.items()))})
        (folder / "tokens").chmod(0o600)
        self.prompts = LivePrompts(
            *self.layers(),
            environment="production",
            store=folder / "store",
        )
        self.graph = load_and_compile(folder / "support.yaml", prompts=self.prompts).compile()
        self.server = Server(self._app())

    def layers(self) -> tuple[str, ...]:
        """Where the prompts are, highest priority first."""
        folder = self.folder / "prompts"
        return f"{folder}/{{environment}}", f"{folder}/base"

    def __enter__(self) -> Self:
        assert self.prompts.release
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.stop()
        self.prompts.close()

    @property
    def url(self) -> str:
        """Where the page begins, without a slash at its end."""
        return self.server.url + self.root

    def restart(self) -> None:
        """Start the stopped server as after a deployment: same port, nothing in memory."""
        self.server.app = self._app()
        self.server.start()

    def save(self, name: str, text: str) -> None:
        """Change a prompt on disk, behind the page's back."""
        write(self.folder, {f"prompts/production/{name}.yaml": text})

    def publish(self, name: str, text: str) -> str:
        """Change a prompt on disk; the id of the release that is live with it."""
        self.save(name, text)
        wait_until(lambda: self._serves(name, text))
        return self.prompts.release.id

    def _serves(self, name: str, text: str) -> bool:
        served = self.prompts.release.prompts.get(name)
        return served is not None and served.data == text.encode()

    def text(self, name: str) -> str:
        return (self.folder / f"prompts/production/{name}.yaml").read_text()

    def run(self, **state: str) -> dict[str, Any]:
        """The next run of the graph."""
        # Playwright keeps an event loop in this thread, which YAMLGraph would trip over.
        with ThreadPoolExecutor(1) as apart:
            return apart.submit(self.graph.invoke, state).result()

    def _app(self) -> Any:
        page = admin_app(self.prompts, self.folder / "tokens")
        return Starlette(routes=[Mount(self.root, page)]) if self.root else page


class DatabaseSite(Site):
    """The same, with all prompts in a database: what staging tries has one change more."""

    def layers(self) -> tuple[str, ...]:
        url = f"sqlite:///{self.folder}/prompts.db"
        self.registry = open_registry(url)
        assert isinstance(self.registry, SqlRegistry)
        numbers: dict[str, int | None] = {}
        for path, text in FILES.items():
            if path.startswith("prompts/"):
                name = path.removesuffix(".yaml").split("/", 2)[2]
                made = self.registry.create(name, text.encode(), who="ada", message="The first")
                numbers[name] = made.number
        self.registry.activate("production", numbers, who="ada", message="To begin with")
        name = "answers/technical"
        text = TECHNICAL.replace("at most five", "no more than three")
        numbers[name] = self.registry.create(
            name, text.encode(), who="ben", message="Be brief"
        ).number
        self.registry.activate("staging", numbers, who="ben", message="Let us see")
        return (url,)


def token(name: str) -> str:
    return f"the-token-of-{name}"


def _line(person: tuple[str, str]) -> str:
    name, role = person
    return f"{sha256(token(name).encode()).hexdigest()} {role} {name}\n"
