"""What every registry promises: one suite, run for each back end by `test_registry.py`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import ROOT
from yamlgraph_prompts._model.entry import Arm, Entry
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import Conflict, ReleaseNotFound, StoreCorrupted
from yamlgraph_prompts.registry.ports import Log, Registry, Releases

WRITERS = 6


def release(text: str) -> Release:
    return Release.of([Prompt("greeting", f"user: {text}\n".encode()), Prompt("bye", b"user: x")])


def add(registry: Registry, text: str, environment: str = "production", **facts: Any) -> Entry:
    """Append an entry for a release, after whatever is current."""
    made = release(text)
    registry.put(made)
    after = registry.current(environment)
    return registry.append(environment, Entry.of(made.id, **facts), after=after)


# What another process runs: argv is the registry's URL, then what the case needs.
WRITER = """
import sys
from yamlgraph_prompts.errors import Conflict
from yamlgraph_prompts.registry import open_registry
from tests.registry_contract import Entry, release

registry = open_registry(sys.argv[1])
made = release(sys.argv[2])
registry.put(made)
before = registry.current("production")
print("ready", flush=True)
sys.stdin.readline()
try:
    print(registry.append("production", Entry.of(made.id), after=before).number)
except Conflict as conflict:
    print("lost to", conflict.winner.number)
"""

KILLED = """
import functools, importlib, os, signal, sys
import boto3, botocore.loaders
from yamlgraph_prompts.registry import open_registry
from tests.registry_contract import Entry, add, release

url, steps = sys.argv[1], [step.split(":") for step in sys.argv[2].split(",")]
old, new = release("old").id, release("new").id
# What is imported and read here is not in every child.
read = functools.cache(botocore.loaders.JSONFileLoader().load_file)
botocore.loaders.JSONFileLoader.load_file = lambda self, path: read(path)
add(open_registry(url), "old", "of the parent")


def kill_at(number):
    left = number

    def wrap(owner, name):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, call)

    for module, path in steps:
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for one in owners:
            owner = getattr(owner, one)
        wrap(owner, name)


seen, step = set(), 0
while True:
    # One history for each step: nothing is ever removed from one.
    environment = f"e{step}"
    pid = os.fork()
    if pid == 0:
        registry = open_registry(url)
        add(registry, "old", environment)
        kill_at(step)
        add(registry, "new", environment)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    pid = os.fork()
    if pid == 0:
        registry = open_registry(url)
        live = registry.current(environment)
        numbers = [entry.number for entry in registry.history(environment)]
        assert numbers == list(range(live.number, 0, -1)), (step, numbers)
        assert registry.get(live.release).id == live.release, step
        third = add(registry, "third", environment)
        assert (third.number, third.previous) == (live.number + 1, live.release), step
        os._exit({old: 10, new: 11}[live.release])
    seen.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if status == 0:
        break
    assert status == -signal.SIGKILL, (step, status)
    step += 1
assert seen == {10, 11}, seen
print(step)
"""


class RegistryContract:
    """A subclass has the fixture `opened`, which opens the registry anew at each call."""

    url: str | None = None
    """How other processes open it; None where they cannot."""

    steps: tuple[str, ...] = ()
    """The calls between which a writer may be killed, each as `module:path`."""

    @pytest.fixture
    def registry(self, opened: Callable[[], Registry]) -> Registry:
        return opened()

    def damage(self, registry: Registry, release_id: str) -> None:
        """Change a byte of what is stored."""
        pytest.skip("Nothing can damage it.")

    # Releases

    def test_it_has_the_ports(self, registry: Registry) -> None:
        assert isinstance(registry, Releases)
        assert isinstance(registry, Log)
        assert registry.url

    def test_a_release_comes_back_byte_for_byte(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        made = release("Grüße {name}")
        assert registry.put(made)
        back = opened().get(made.id)
        assert {name: prompt.data for name, prompt in back.prompts.items()} == {
            name: prompt.data for name, prompt in made.prompts.items()
        }

    def test_an_equal_release_is_not_written_again(self, registry: Registry) -> None:
        assert registry.put(release("a"))
        assert not registry.put(release("a"))

    @pytest.mark.parametrize("name", ["0" * 64, "", "zz", "../../etc/passwd"])
    def test_a_release_that_is_not_there_is_not_found_and_cannot_become_live(
        self, registry: Registry, name: str
    ) -> None:
        with pytest.raises(ReleaseNotFound):
            registry.get(name)
        with pytest.raises(ReleaseNotFound):
            registry.append("production", Entry.of(name), after=None)
        assert registry.current("production") is None

    def test_a_damaged_release_is_refused_until_it_is_put_again(self, registry: Registry) -> None:
        made = release("a")
        registry.put(made)
        self.damage(registry, made.id)
        with pytest.raises(StoreCorrupted):
            registry.get(made.id)
        assert registry.put(made)
        assert registry.get(made.id).id == made.id

    def test_releases_are_found_by_the_beginning_of_their_ids(self, registry: Registry) -> None:
        made = {release(str(number)).id for number in range(20)}
        for number in range(20):
            registry.put(release(str(number)))
        assert set(registry.ids()) == made
        for prefix in {one[0] for one in made}:
            assert set(registry.ids(prefix)) == {one for one in made if one.startswith(prefix)}
        one = next(iter(made))
        assert list(registry.ids(one)) == [one]
        assert not list(registry.ids("x"))

    # History

    def test_nothing_is_current_before_the_first_entry(self, registry: Registry) -> None:
        assert registry.current("production") is None
        assert list(registry.history("production")) == []

    def test_an_entry_keeps_what_was_said_of_it(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        entry = add(
            registry, "a", held=True, who="Ada", why="push", message="Grüße\n\0", at_s=12.5
        )  # fmt: skip
        assert entry.number == 1
        assert (entry.held, entry.who, entry.why) == (True, "Ada", "push")
        assert (entry.message, entry.at_s, entry.previous) == ("Grüße\n\0", 12.5, None)
        assert entry.prompts == 2
        assert opened().current("production") == entry

    def test_arms_and_a_rollout_are_kept(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        first, second = release("a"), release("b")
        registry.put(first)
        registry.put(second)
        arms = (Arm(first.id, 0.9), Arm(second.id, 0.1))
        entry = registry.append(
            "production", Entry(0, arms, rollout={"salt": "x", "step": 2}), after=None
        )
        assert entry.arms == arms
        assert entry.release == first.id
        assert opened().current("production") == entry

    def test_the_history_is_newest_first_complete_and_without_gaps(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        entries = [add(registry, text) for text in ("a", "b", "a", "c")]
        assert [entry.number for entry in entries] == [1, 2, 3, 4]
        assert [entry.previous for entry in entries[1:]] == [e.release for e in entries[:-1]]
        assert list(opened().history("production")) == entries[::-1]

    def test_environments_have_histories_of_their_own(self, registry: Registry) -> None:
        staging = add(registry, "a", "staging")
        production = add(registry, "b", "production")
        assert (staging.number, production.number) == (1, 1)
        assert registry.current("staging") == staging
        assert list(registry.history("production")) == [production]

    def test_a_second_hold_follows_the_first(self, registry: Registry) -> None:
        first, second = add(registry, "a", held=True), add(registry, "b", held=True)
        assert registry.current("production") == second
        assert list(registry.history("production")) == [second, first]
        ended = add(registry, "b", held=False)
        assert registry.current("production") == ended
        assert not ended.held

    # Several writers

    def test_who_appends_after_an_outdated_entry_hears_who_was_first(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        seen = add(registry, "a", who="Ada")
        winner = add(opened(), "b", who="Grace", message="hurry")
        registry.put(release("c"))
        for after in (seen, None):
            with pytest.raises(Conflict, match="Grace was first") as caught:
                registry.append("production", Entry.of(release("c").id), after=after)
            assert caught.value.winner == winner
        assert registry.current("production") == winner
        assert [entry.number for entry in registry.history("production")] == [2, 1]

    def test_writers_at_once_each_win_a_number_or_hear_who_did(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        won: list[Entry] = []
        lost: list[Conflict] = []
        start = threading.Barrier(WRITERS)

        def write(number: int) -> None:
            mine, made = opened(), release(f"by {number}")
            mine.put(made)
            start.wait()
            for _ in range(WRITERS):
                after = mine.current("production")
                try:
                    won.append(mine.append("production", Entry.of(made.id), after=after))
                    return
                except Conflict as conflict:
                    lost.append(conflict)

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        history = list(registry.history("production"))
        assert [entry.number for entry in history] == list(range(WRITERS, 0, -1))
        assert sorted(won, key=lambda entry: -entry.number) == history
        assert [entry.previous for entry in history] == [*(e.release for e in history[1:]), None]
        assert all(conflict.winner in history for conflict in lost)

    def test_of_two_processes_at_once_one_wins(self, registry: Registry) -> None:
        if self.url is None:
            pytest.skip("No other process can open it.")
        add(registry, "before")
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, self.url, f"by {number}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )
            for number in range(2)
        ]  # fmt: skip
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        answers = sorted(writer.communicate(timeout=60)[0].strip() for writer in writers)
        assert answers == ["2", "lost to 2"]
        assert [entry.number for entry in registry.history("production")] == [2, 1]

    def test_killed_between_any_two_steps_it_leaves_the_old_entry_or_the_new(
        self, registry: Registry
    ) -> None:
        if self.url is None:
            pytest.skip("It ends with its process.")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, self.url, ",".join(self.steps)],
            capture_output=True, text=True, timeout=110, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 5

    def test_changes_gives_what_another_writer_appends(
        self, registry: Registry, opened: Callable[[], Registry]
    ) -> None:
        before = add(registry, "a")
        stop, heard = threading.Event(), []
        ready = threading.Semaphore(0)

        def listen() -> None:
            for entry in registry.changes("production", stop):
                heard.append(entry)
                ready.release()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            other = opened()
            expected = []
            for text in ("b", "c"):
                expected.append(add(other, text))
                # The listener may begin only after the first entry: then that is no news to it.
                if not ready.acquire(timeout=5):
                    assert text == "b"
                    expected.pop()
            assert heard == expected
            assert heard[-1].number > before.number
        finally:
            stop.set()
            listener.join(10)
        assert not listener.is_alive()
