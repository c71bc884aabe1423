"""A process that forks: parent and child follow changes, whenever the fork happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import run_in
from tests.example_apps import copy_of
from tests.files import write
from tests.model_server import ModelServer

FORK = """
import os, sys
from yamlgraph_prompts import load_and_compile
from yamlgraph_prompts._cli import main
from tests.conftest import wait_until
from tests.example_apps import save
from pathlib import Path

app = load_and_compile("graph.yaml").compile()
if sys.argv[1] == "used":
    print("parent:", app.invoke({"name": "Ada"})["letter"].strip(), flush=True)
child = os.fork()
if child == 0:
    code = 1
    try:
        def letter():
            return app.invoke({"name": "Ada"})["letter"]

        assert "three cheers" not in letter()
        save(Path("prompts/letter.yaml"), 'user: "three cheers {greeting}"')
        wait_until(lambda: "three cheers" in letter())
        save(Path("prompts/letter.yaml"), 'user: "four cheers {greeting}"')
        wait_until(lambda: "four cheers" in letter())
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
if sys.argv[1] == "used":
    wait_until(lambda: "four cheers" in app.invoke({"name": "Ada"})["letter"])
print("done")
"""


@pytest.mark.parametrize("parent", ["loaded", "used"])
def test_a_forked_worker_follows_edits(
    tmp_path: Path, model_server: ModelServer, parent: str
) -> None:
    folder = copy_of("quickstart", tmp_path)
    script = f"import sys; sys.argv = ['', {parent!r}]\n{FORK}"
    assert run_in(folder, script).splitlines()[-1] == "done"


FORK_DURING_IMPORT = """
import os, sys, threading, time
from pathlib import Path
from langgraph.graph import START, StateGraph
from yamlgraph_prompts import live_graph
from tests.conftest import wait_until
from tests.example_apps import save

importing = threading.Event()

class Slowly:
    def find_spec(self, name, path, target=None):
        if name.startswith("watchdog"):
            importing.set()
            time.sleep(0.2)

def build(release):
    def greet(state):
        return {"text": release["greeting"].user}
    return StateGraph(dict).add_node(greet).add_edge(START, "greet")

app = live_graph(build, "prompts").compile()
sys.meta_path.insert(0, Slowly())
app.invoke({})
assert importing.wait(10)
child = os.fork()
if child == 0:
    code = 1
    try:
        app.invoke({})
        save(Path("prompts/greeting.yaml"), "user: Hail")
        wait_until(lambda: app.invoke({})["text"] == "Hail")
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""


def test_a_fork_while_the_parent_begins_to_watch_still_follows_edits(tmp_path: Path) -> None:
    folder = copy_of("plain_langgraph", tmp_path)
    assert run_in(folder, FORK_DURING_IMPORT).splitlines()[-1] == "done"


FORKING = """
import os, sys, time
from pathlib import Path
from yamlgraph_prompts import live_graph
from tests.files import says, write
folder = Path({folder!r})
app = live_graph(says("a"), folder).compile()
assert app.invoke({{}}) == {{"said": ["one"]}}

def until(text):
    ends = time.monotonic() + 20
    while app.invoke({{}}) != {{"said": [text]}}:
        assert time.monotonic() < ends, (os.getpid(), text)
        time.sleep(0.01)

write(folder, {{"a.yaml": "user: two"}})
until("two")
read, wrote = os.pipe()
child = os.fork()
if child == 0:
    try:
        until("two")
        os.write(wrote, b"ready")
        until("three")
        until("four")
        app.prompts.publish()
        os._exit(0)
    except BaseException as problem:
        print(repr(problem), flush=True)
        os._exit(1)
os.read(read, 5)
write(folder, {{"a.yaml": "user: three"}})
until("three")
time.sleep(0.3)
write(folder, {{"a.yaml": "user: four"}})
until("four")
print(os.waitpid(child, 0)[1])
"""


def test_a_forked_child_follows_changes_and_so_does_its_parent(tmp_path: Path) -> None:
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    out = run_in(tmp_path, FORKING.format(folder=str(folder)))
    assert out == "0\n"


FORKED_BUSY = """
import os, sys, threading, time
from pathlib import Path
from yamlgraph_prompts import live_graph
from tests.files import says, write
folder = Path({folder!r})
write(folder, {{"b.yaml.j2": "user: {{{{ x }}}}", "vars.yaml": "x: word"}})
app = live_graph(says("a", "b"), folder).compile()
app.invoke({{}})
stop = threading.Event()

def publish():
    number = 0
    while not stop.is_set():
        number += 1
        write(folder, {{"vars.yaml": f"x: word{{number}}"}})
        app.prompts.publish()

thread = threading.Thread(target=publish)
thread.start()
codes = []
for _ in range({forks}):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(3):
                assert app.prompts.publish().status in ("published", "unchanged")
                said = app.invoke({{}})["said"]
                assert said[1].startswith("word"), said
            os._exit(0)
        except BaseException as problem:
            print(repr(problem), flush=True)
            os._exit(1)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
thread.join()
print(codes)
"""


@pytest.mark.parametrize("forks", [4, pytest.param(8, marks=pytest.mark.nightly)])
def test_a_fork_in_the_middle_of_a_publication_leaves_the_child_able_to_publish(
    tmp_path: Path, forks: int
) -> None:
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    out = run_in(tmp_path, FORKED_BUSY.format(folder=str(folder), forks=forks))
    assert out == f"{[0] * forks}\n"
