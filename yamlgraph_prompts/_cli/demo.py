"""`yamlgraph-prompts demo`: a real YAMLGraph graph whose prompts change while it runs.

Needs no key and no network, leaves nothing behind, and fails if a step does not happen.
"""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from yamlgraph_prompts._cli.terminal import finding_lines, paint, say
from yamlgraph_prompts._model.events import Event
from yamlgraph_prompts.errors import PromptsError

if TYPE_CHECKING:
    from yamlgraph_prompts._model.release import Outcome
    from yamlgraph_prompts.live_prompts import LivePrompts

WAIT_S = 5.0

GRAPH = """\
name: demo
state:
  name: str
nodes:
  greet:
    type: llm
    prompt: greeting
    state_key: greeting
  sign:
    type: llm
    prompt: signature
    state_key: letter
edges:
  - {from: START, to: greet}
  - {from: greet, to: sign}
  - {from: sign, to: END}
"""

FILES = {
    "graph.yaml": GRAPH,
    "prompts/base/greeting.yaml": 'user: "Hello {name}."\n',
    "prompts/base/signature.yaml": 'user: "{greeting} Yours, the team."\n',
    "prompts/production/greeting.yaml": 'user: "Good day, {name}."\n',
}

EDITED = 'user: "Welcome back, {name}!"\n'
ANOTHER = 'user: "Hi {name}!"\n'
BROKEN = 'system: Be kind.\nuser: "Welcome back, {{ name }!"\n'


class DemoFailed(PromptsError):
    """A step of the demo did not happen as announced."""


def run(arguments: object = None) -> int:
    """Run the demo; 1 if a step did not happen as announced."""
    started = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prompts-demo-")))
        stack.enter_context(_set_up(folder, stack))
        try:
            _Demo(folder, stack).play()
        except DemoFailed as problem:
            say(paint(f"✗ {problem}", "bold", "red"))
            return 1
    say()
    say(paint(f"All of that in {time.perf_counter() - started:.1f} s.", "bold") + " Next:")
    say("  change one import in your app:  from yamlgraph_prompts import load_and_compile")
    say("  check your own prompts:         yamlgraph-prompts check graph.yaml")
    say("  read docs/quickstart.md")
    return 0


class _Demo:
    """One graph, its prompts, and everything that is reported about them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._greeting = folder / "prompts/production/greeting.yaml"
        self._news: queue.Queue[Outcome] = queue.Queue()
        self._folder, self._stack = folder, stack
        self._serve(folder / "prompts/{environment}", folder / "prompts/base")

    def _serve(self, *layers: Path | str) -> None:
        from yamlgraph_prompts.live_prompts import LivePrompts
        from yamlgraph_prompts.load import load_and_compile

        store = self._folder / "store"
        self._prompts: LivePrompts = self._stack.enter_context(
            LivePrompts(*layers, environment="production", store=store, hooks=[self._hear])
        )
        graph = load_and_compile(self._folder / "graph.yaml", prompts=self._prompts)
        self._app = graph.compile()

    def play(self) -> None:
        from yamlgraph_prompts.registry.channel import Channel

        say(paint("A YAMLGraph graph of two nodes; its model is an echo on this machine.", "dim"))
        say(paint("Layers: prompts/production over prompts/base.", "dim"))

        self._step("The app answers")
        self._answers("Good day, Ada. Yours, the team.")
        first = self._prompts.release.id

        self._step("prompts/production/greeting.yaml is edited; nothing is restarted")
        outcome, elapsed_s = self._save(EDITED)
        self._expect(outcome.status == "published", f"the edit was {outcome.status}")
        self._answers("Welcome back, Ada! Yours, the team.")
        say(f"  from save to live: {paint(f'{elapsed_s * 1e3:.0f} ms', 'bold')}")
        second = self._prompts.release.id

        self._step("A mistake: a closing brace is missing")
        outcome, _ = self._save(BROKEN)
        self._expect(outcome.status == "rejected", f"the mistake was {outcome.status}")
        self._expect(bool(outcome.errors), "no finding says why")
        for line in finding_lines(
            finding.at(file=_within(finding.file, self._folder)) for finding in outcome.errors
        ):
            say(f"  {line}")
        say("  Rejected, so the app continues with the live release:")
        self._answers("Welcome back, Ada! Yours, the team.")
        self._expect(self._prompts.release.id == second, "another release is live")

        self._step("A rollback activates the previous release at once and holds it")
        self._expect(self._prompts.rollback().status == "published", "the rollback was rejected")
        self._expect(self._prompts.held, "the release is not held")
        self._expect(self._prompts.release.id == first, "another release is live")
        self._answers("Good day, Ada. Yours, the team.")

        self._step("The mistake is fixed, and follow() ends the hold")
        self._greeting.write_text(EDITED)
        self._expect(self._prompts.follow().status != "rejected", "the fixed file was rejected")
        self._expect(self._prompts.release.id == second, "the edit is not live again")
        self._answers("Welcome back, Ada! Yours, the team.")

        self._step("The same prompts from a database, here SQLite; version 2 of one is made")
        channel = Channel(f"sqlite:///{self._folder}/prompts.db", environment="production")
        channel.push(self._prompts.release, message="As they were in the folder", who="demo")
        self._serve(channel.url)
        made = channel.versions().create("greeting", ANOTHER.encode(), who="demo")
        self._answers("Welcome back, Ada! Yours, the team.")

        self._step(f"{made.spelled} is activated, in every process that reads the database")
        channel.versions().activate("production", {"greeting": made.number}, who="demo")
        self._published()
        self._answers("Hi Ada! Yours, the team.")

        self._step("It is rolled back, by one more line of the history")
        channel.rollback(who="demo")
        self._published()
        self._answers("Welcome back, Ada! Yours, the team.")

    def _hear(self, event: Event) -> None:
        if event.outcome is not None and event.reason not in ("start", "rollback", "follow"):
            self._news.put(event.outcome)

    def _save(self, text: str) -> tuple[Outcome, float]:
        """Save the greeting as an editor does: what came of it, and how many seconds that took."""
        for line in text.splitlines():
            say(f"  {paint(line, 'cyan')}")
        beside = self._greeting.with_name(".greeting.tmp")
        beside.write_text(text)
        started = time.perf_counter()
        os.replace(beside, self._greeting)
        return self._published(), time.perf_counter() - started

    def _published(self) -> Outcome:
        """What came of the change that was just made."""
        while True:
            try:
                outcome = self._news.get(timeout=WAIT_S)
            except queue.Empty:
                raise DemoFailed(f"The change was not noticed within {WAIT_S:g} s.") from None
            if outcome.status != "unchanged":
                return outcome

    def _answers(self, expected: str) -> None:
        answer = self._app.invoke({"name": "Ada"})["letter"]
        say(f"  {paint('→', 'dim')} {paint(answer, 'green')}")
        self._expect(answer == expected, f"{expected!r} was expected")

    def _step(self, text: str) -> None:
        say()
        say(paint(text, "bold"))

    def _expect(self, true: bool, otherwise: str) -> None:
        if not true:
            raise DemoFailed(f"The demo failed: {otherwise}.")


@contextmanager
def _set_up(folder: Path, stack: ExitStack) -> Iterator[None]:
    from yamlgraph_prompts.demo_server import EchoModel

    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    model = stack.enter_context(EchoModel())
    settings = {
        "PROVIDER": "lmstudio",
        "LMSTUDIO_BASE_URL": model.url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "LANGSMITH_TRACING": "false",
        "LANGCHAIN_TRACING_V2": "false",
        "YAMLGRAPH_PROMPTS_WATCH": "1",
    }
    before, disabled = dict(os.environ), logging.root.manager.disable
    os.environ.update(settings)
    logging.disable(logging.CRITICAL)  # the demo itself tells what is refused
    try:
        yield
    finally:
        logging.disable(disabled)
        os.environ.clear()
        os.environ.update(before)


def _within(file: str | None, folder: Path) -> str | None:
    return file and file.removeprefix(f"{folder}/")
