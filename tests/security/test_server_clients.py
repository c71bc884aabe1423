"""A client of a LangGraph server chooses no release, whatever it puts into which request."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from yamlgraph_prompts import (
    GraphRefused,
    LivePrompts,
    PromptNotFound,
    PromptsError,
    ReleaseNotFound,
    live_graph,
)
from yamlgraph_prompts.registry.store import Store

CONF = "configurable"
OLD, NEW = "user: Old {name}", "user: New {name}"
GIVEN: Any = {"name": "Ada"}
ANSWER: Any = Command(resume="yes")


class State(TypedDict, total=False):
    name: str
    letter: str


def asks(write: Callable[[State], State]) -> StateGraph:
    def ask(state: State) -> State:
        interrupt("Shall we?")
        return {}

    graph = StateGraph(State).add_node("ask", ask).add_node("write", write)
    return graph.add_edge(START, "ask").add_edge("ask", "write")


def build(release: Any) -> StateGraph:
    return asks(lambda state: {"letter": release["letter"].messages(name=state["name"])[0].content})


def thread(name: str = "victim", **more: Any) -> Any:
    return {"configurable": {"thread_id": name, **more}}


@dataclass
class Scene:
    """A server whose live release is the new one, and which keeps the old one.

    `app` is the live graph, `other` a graph of the same server that knows nothing of releases,
    `past` the metadata of a checkpoint that was made on the old release.
    """

    folder: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=lambda: {"letter": OLD})

    def __post_init__(self) -> None:
        self.saver = InMemorySaver()
        self.other = asks(lambda state: {"letter": "another graph's"}).compile(
            checkpointer=self.saver
        )
        self.prompts = LivePrompts(self.texts, store=self.folder, environment="production")
        self.app = self.graph()
        self.old = self.app.release.id
        self.app.invoke(GIVEN, thread("past"))
        self.past: dict[str, Any] = dict(self.metadata("past"))
        self.texts["letter"] = NEW
        self.prompts.publish()
        assert self.app.release.id != self.old

    def graph(self, **options: Any) -> Any:
        made = live_graph(build, prompts=self.prompts, **{**self.options, **options})
        return made.compile(checkpointer=self.saver)

    @property
    def store(self) -> Path:
        assert self.folder is not None
        return self.folder

    def metadata(self, name: str = "victim") -> Any:
        saved = self.saver.get_tuple(thread(name))
        assert saved is not None
        return saved.metadata

    def letter(self, name: str = "victim") -> str:
        """What is written when the thread goes on."""
        found = self.app.invoke(ANSWER, thread(name))
        if "__interrupt__" in found:
            found = self.app.invoke(ANSWER, thread(name))
        return str(found["letter"])


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.prompts.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "store")
    yield made
    made.prompts.close()


# What a client says.

LIES: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "the id": lambda s: {"prompts_release": s.old},
    "the pair": lambda s: {
        "prompts_release": s.old,
        "prompts_graph": s.past["prompts_graph"],
    },
    "all that an old checkpoint says": lambda s: {
        name: value for name, value in s.past.items() if isinstance(value, str)
    },
    "the beginning of an id": lambda s: {
        "prompts_release": s.old[:8],
        "prompts_graph": s.past["prompts_graph"],
    },
    "no id": lambda s: {"prompts_release": "x", "prompts_graph": "\x1b[31m"},
    "no text": lambda s: {"prompts_release": {"release": s.old}, "prompts_graph": [s.old]},
    "a mark of its own": lambda s: {
        **{name: value for name, value in s.past.items() if isinstance(value, str)},
        "release_mark": s.past["release_mark"][:-1] + "é\ud800",
        "__prompts_release": s.old,
    },
}


# Where it says it; the thread "victim" is to be on the old release then.


def updates_a_new_thread(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.update_state(thread(**lie), GIVEN, as_node="__start__")


def updates_a_new_thread_with_metadata(scene: Scene, lie: dict[str, Any]) -> None:
    config = {**thread(), "metadata": lie, **lie}
    scene.app.update_state(config, GIVEN, as_node="__start__")


def updates_many_steps(scene: Scene, lie: dict[str, Any]) -> None:
    from langgraph.types import StateUpdate

    steps = [[StateUpdate(GIVEN, "__input__")], [StateUpdate(GIVEN, "__start__")]]
    scene.app.bulk_update_state({**thread(**lie), "metadata": lie}, steps)


def updates_a_thread_that_waits(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.invoke(GIVEN, thread())
    scene.app.update_state({**thread(**lie), "metadata": lie}, GIVEN, as_node="__start__")


def copies_a_checkpoint(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.invoke(GIVEN, thread())
    config = {**thread(**lie), "metadata": lie}
    scene.app.update_state(config, [(GIVEN, "__start__")], as_node="__copy__")


def runs_afresh(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.invoke(GIVEN, {**thread(**lie), "metadata": lie, **lie})


def runs_afresh_as_a_stream(scene: Scene, lie: dict[str, Any]) -> None:
    list(scene.app.stream(GIVEN, {**thread(**lie), "metadata": lie}))


def runs_afresh_in_a_batch(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.batch([GIVEN], [{**thread(**lie), "metadata": lie}])


def runs_in_a_served_copy(scene: Scene, lie: dict[str, Any]) -> None:
    """As a LangGraph server does: a copy for each run, the checkpointer in the config too."""
    served = scene.app.copy(update={"checkpointer": scene.saver, "store": None, "name": "served"})
    lent = {"__pregel_checkpointer": scene.saver, "run_id": "1"}
    config = {**thread(**lent, **lie), "metadata": {**lie, "run_attempt": 1, "run_id": "1"}}
    served.invoke(GIVEN, config)


def updates_in_a_factorys_context(scene: Scene, lie: dict[str, Any]) -> None:
    """A server sets the request's config as the context in which a factory's graph works."""
    token = var_child_runnable_config.set({**thread(**lie), "metadata": lie})
    try:
        scene.app.update_state(thread(), GIVEN, as_node="__start__")
    finally:
        var_child_runnable_config.reset(token)


def runs_another_graph(scene: Scene, lie: dict[str, Any]) -> None:
    scene.other.invoke(GIVEN, {**thread(**lie), "metadata": lie})


def updates_with_another_graph(scene: Scene, lie: dict[str, Any]) -> None:
    config = {**thread(**lie), "metadata": lie}
    scene.other.update_state(config, GIVEN, as_node="__start__")


def forks_with_another_graph(scene: Scene, lie: dict[str, Any]) -> None:
    scene.app.invoke(GIVEN, thread())
    config = {**thread(**lie), "metadata": lie}
    scene.other.update_state(config, GIVEN, as_node="__start__")


def updates_with_ours_what_another_graph_wrote(scene: Scene, lie: dict[str, Any]) -> None:
    runs_another_graph(scene, lie)
    scene.app.update_state(thread(**lie), GIVEN, as_node="__start__")


def writes_metadata_itself(scene: Scene, lie: dict[str, Any]) -> None:
    """As a server's own endpoints might."""
    scene.other.invoke(GIVEN, thread())
    saved = scene.saver.get_tuple(thread())
    assert saved is not None
    metadata: Any = {**saved.metadata, **lie}
    held = {**saved.config, "metadata": lie}
    scene.saver.put(held, saved.checkpoint, metadata, {})


WAYS = (
    updates_a_new_thread,
    updates_a_new_thread_with_metadata,
    updates_many_steps,
    updates_a_thread_that_waits,
    copies_a_checkpoint,
    runs_afresh,
    runs_afresh_as_a_stream,
    runs_afresh_in_a_batch,
    runs_in_a_served_copy,
    updates_in_a_factorys_context,
    runs_another_graph,
    updates_with_another_graph,
    forks_with_another_graph,
    updates_with_ours_what_another_graph_wrote,
    writes_metadata_itself,
)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_client_gets_the_live_release_wherever_it_says_another(
    scene: Scene, way: Callable[[Scene, dict[str, Any]], None], lie: str
) -> None:
    said = LIES[lie](scene)
    try:
        way(scene, said)
    except (TypeError, UnicodeError):
        assert lie in ("no text", "a mark of its own")  # a checkpointer that cannot keep it
        return
    assert scene.letter() == "New Ada"
    assert scene.metadata()["prompts_release"] == scene.app.release.id


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("way", [runs_another_graph, updates_a_new_thread, writes_metadata_itself])
def test_a_thread_is_pinned_to_no_release_that_a_client_wrote(
    way: Callable[[Scene, dict[str, Any]], None], lie: str
) -> None:
    scene = Scene(options={"pin": "thread"})
    try:
        way(scene, LIES[lie](scene))
    except (TypeError, UnicodeError):
        assert lie in ("no text", "a mark of its own")
        return
    scene.app.invoke(GIVEN, thread())
    assert scene.letter() == "New Ada"
    assert scene.letter("past") == "Old Ada"


@pytest.mark.parametrize("lie", ["the id", "all that an old checkpoint says", "no text"])
@pytest.mark.parametrize("way", ["sync", "async"])
async def test_an_update_through_a_live_graph_records_no_release_that_a_client_said(
    scene: Scene, way: str, lie: str
) -> None:
    said = LIES[lie](scene)
    config = {**thread(**said), "metadata": said}
    if way == "sync":
        scene.app.update_state(config, GIVEN, as_node="__start__")
    else:
        await scene.app.aupdate_state(config, GIVEN, as_node="__start__")
    assert not {name for name in scene.metadata() if "release" in name or "prompts" in name}


@pytest.mark.parametrize("lie", ["the id", "all that an old checkpoint says", "no text"])
def test_a_live_graph_inside_another_graph_takes_no_release_that_a_client_said(
    scene: Scene, lie: str
) -> None:
    child = live_graph(build, prompts=scene.prompts).compile()
    around = StateGraph(State).add_node("child", child).add_edge(START, "child")
    parent = around.compile(checkpointer=scene.saver)
    said = LIES[lie](scene)
    config = {**thread(**said), "metadata": {} if lie == "no text" else said}
    parent.invoke(GIVEN, config)
    (task,) = parent.get_state(thread()).tasks
    inside: Any = task.state
    parent.update_state({**inside, CONF: {**inside[CONF], **said}}, GIVEN, as_node="__start__")
    found = parent.invoke(ANSWER, config)
    if "__interrupt__" in found:
        found = parent.invoke(ANSWER, config)
    assert found["letter"] == "New Ada"


# A run that waits


@pytest.mark.parametrize("given", [ANSWER, None], ids=["answer", "nothing"])
@pytest.mark.parametrize(
    "said",
    [
        {"__pregel_resuming": False},
        {"__pregel_resuming": None},
        {"__pregel_resuming": True},
        {"__pregel_resuming": 0, "__pregel_replay_state": True},
        {"__pregel_replay_state": {"checkpoint_id": "x"}},
        {"__pregel_send": "x", "__pregel_resuming": False},
        {"prompts_release": "the live one"},
        {"checkpoint_ns": "child:x"},
        {"checkpoint_map": {"child": "x"}},
    ],
    ids=str,
)
def test_a_run_that_waits_keeps_its_release_whatever_a_client_says(
    scene: Scene, said: dict[str, Any], given: Any
) -> None:
    if "prompts_release" in said:
        said = {"prompts_release": scene.app.release.id}
    scene.app.invoke(given, {**thread("past", **said), "metadata": said})
    if given is None:
        scene.app.invoke(ANSWER, thread("past"))
    saved = scene.saver.get_tuple(thread("past"))
    assert saved is not None
    assert saved.checkpoint["channel_values"]["letter"] == "Old Ada"
    assert scene.metadata("past")["prompts_release"] == scene.old


@pytest.mark.parametrize("by", ["sync", "async"])
async def test_an_update_and_a_fork_of_a_run_that_waits_keep_its_release(
    scene: Scene, by: str
) -> None:
    lie = {"prompts_release": scene.app.release.id}
    for as_node in ("__start__", "__copy__"):
        config = {**thread("past", **lie), "metadata": lie}
        values = None if as_node == "__copy__" else GIVEN
        if by == "sync":
            scene.app.update_state(config, values, as_node=as_node)
        else:
            await scene.app.aupdate_state(config, values, as_node=as_node)
    assert scene.letter("past") == "Old Ada"


def test_a_copied_thread_that_waits_keeps_its_release(scene: Scene) -> None:
    scene.saver.storage["copied"] = copy.deepcopy(scene.saver.storage["past"])
    for name, *rest in list(scene.saver.blobs):
        scene.saver.blobs["copied", *rest] = scene.saver.blobs[name, *rest]  # type: ignore[index]
    for name, *rest in list(scene.saver.writes):
        scene.saver.writes["copied", *rest] = dict(scene.saver.writes[name, *rest])  # type: ignore[index]
    assert scene.letter("copied") == "Old Ada"


# Stores, processes, environments


def restarted(scene: Scene, store: Path, **options: Any) -> Any:
    """The same app in another process, as far as marks go."""
    texts = {"letter": OLD}
    environment = options.pop("environment", "production")
    prompts = LivePrompts(texts, store=store, environment=environment, **options)
    app = live_graph(build, prompts=prompts).compile(checkpointer=scene.saver)
    texts["letter"] = NEW
    prompts.publish()
    return app


def test_another_process_with_the_same_store_resumes_the_run(on_disk: Scene) -> None:
    scene = on_disk
    app = restarted(scene, scene.store)
    assert app.invoke(ANSWER, thread("past"))["letter"] == "Old Ada"


def test_what_another_store_recorded_is_a_release_that_is_not_found(
    on_disk: Scene, tmp_path: Path
) -> None:
    scene = on_disk
    app = restarted(scene, tmp_path / "another")
    assert app.get_state(thread("past")).next == ("ask",)
    with pytest.raises(ReleaseNotFound) as refused:
        app.invoke(ANSWER, thread("past"))
    assert refused.value.release_id == scene.old
    app = restarted(scene, tmp_path / "third", missing_release="live")
    assert app.invoke(ANSWER, thread("past"))["letter"] == "New Ada"


def test_a_key_that_is_set_is_shared_by_stores_and_not_by_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_KEY", "correct horse battery staple, and salt")
    scene = Scene(tmp_path / "one")
    app = restarted(scene, tmp_path / "staging", environment="staging")
    with pytest.raises(ReleaseNotFound):
        app.invoke(ANSWER, thread("past"))
    app = restarted(scene, tmp_path / "two")
    assert app.invoke(ANSWER, thread("past"))["letter"] == "Old Ada"
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_KEY", "short")
    with pytest.raises(ValueError, match="at least 32 characters"):
        scene.graph()


def test_every_process_that_shares_a_store_has_its_secret_and_nobody_else(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "store") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(Store.secret, stores))
    (secret,) = secrets
    file = tmp_path / "store" / "secret"
    assert file.read_bytes() == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert Store(tmp_path / "store").secret() == secret
    assert Store(tmp_path / "other").secret() != secret
    file.write_bytes(b"damaged")
    mended = Store(tmp_path / "store").secret()
    assert mended is not None
    assert len(mended) == 32


def test_a_run_goes_on_in_this_process_where_no_secret_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    scene = Scene(tmp_path / "store")
    file = next(scene.store.glob("*/secret"))
    file.unlink()
    file.mkdir()
    scene.app = scene.graph()
    scene.app.invoke(GIVEN, thread())
    assert scene.graph().invoke(ANSWER, thread())["letter"] == "New Ada"


# Ids and error texts


@pytest.mark.parametrize(
    "wish",
    [
        lambda s: s.old[:63],
        lambda s: s.old[:1],
        lambda s: "",
        lambda s: s.old.upper(),
        lambda s: f" {s.old}",
        lambda s: s.old + "\n",
        lambda s: "0" * 64,
        lambda s: "../../" + s.old,
        lambda s: "\x1b[31m",
    ],
    ids=["63", "1", "empty", "upper", "blank", "newline", "unknown", "path", "escape"],
)
@pytest.mark.parametrize("place", ["configurable", "metadata"])
def test_where_callers_may_choose_they_give_a_full_id_and_learn_of_no_other(
    on_disk: Scene, place: str, wish: Callable[[Scene], str]
) -> None:
    scene = on_disk
    free = scene.graph(allow_release_override=True)
    said = {"prompts_release": wish(scene)}
    config = thread(**said) if place == "configurable" else {**thread(), "metadata": said}
    if not said["prompts_release"]:
        free.invoke(GIVEN, config)
        assert scene.metadata()["prompts_release"] == scene.app.release.id
        return
    with pytest.raises(ReleaseNotFound) as refused:
        free.invoke(GIVEN, config)
    assert refused.value.release_id == said["prompts_release"]
    assert_discreet(scene, refused.value)
    free.invoke(GIVEN, thread(prompts_release=scene.old))
    assert scene.metadata()["prompts_release"] == scene.old


def test_an_operator_may_still_give_the_beginning_of_an_id(on_disk: Scene) -> None:
    scene = on_disk
    assert scene.prompts.find(scene.old[:8]).id == scene.old
    assert scene.prompts.activate(scene.old[:8]).status == "published"


def lose_the_release(scene: Scene) -> None:
    next(scene.store.glob(f"*/packs/{scene.old}.pack")).unlink()


def damage_the_release(scene: Scene) -> None:
    next(scene.store.glob(f"*/packs/{scene.old}.pack")).write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("trouble", "error"), [(lose_the_release, ReleaseNotFound), (damage_the_release, GraphRefused)]
)
def test_a_run_whose_release_cannot_be_read_lists_nothing_of_the_store(
    on_disk: Scene,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Scene], None],
    error: type[PromptsError],
) -> None:
    scene = on_disk
    trouble(scene)
    prompts = LivePrompts({"letter": NEW}, store=scene.store, environment="production")
    app = live_graph(build, prompts=prompts).compile(checkpointer=scene.saver)
    with pytest.raises(error) as refused:
        app.invoke(ANSWER, thread("past"))
    assert_discreet(scene, refused.value)
    assert scene.old[:12] in caplog.text


def test_a_graph_that_does_not_build_any_more_tells_no_paths(on_disk: Scene) -> None:
    scene = on_disk
    broken: list[str] = []

    def fragile(release: Any) -> StateGraph:
        if broken:
            raise FileNotFoundError(broken[0])
        return build(release)

    app = live_graph(fragile, prompts=scene.prompts).compile(checkpointer=scene.saver)
    broken.append(str(scene.store / "secret.txt"))
    with pytest.raises(GraphRefused) as refused:
        app.invoke(ANSWER, thread("past"))
    assert_discreet(scene, refused.value)
    assert "secret.txt" in refused.value.findings[0].message


@pytest.mark.parametrize("when", ["while it is built", "while it runs"])
def test_a_prompt_that_a_release_does_not_have_tells_no_paths(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "letter.yaml").write_text(OLD)
    asked = ["letter"]

    def reads(release: Any) -> StateGraph:
        if when == "while it is built":
            release[asked[0]]
        return asks(lambda state: {"letter": release[asked[0]].name})

    with LivePrompts(folder, store=tmp_path / "store", watch=False) as prompts:
        saver = InMemorySaver()
        app = live_graph(reads, prompts=prompts).compile(checkpointer=saver)
        app.invoke(GIVEN, thread())
        (folder / "added.yaml").write_text(NEW)
        asked[0] = "added"
        assert prompts.publish().status == "published"
        later = live_graph(reads, prompts=prompts).compile(checkpointer=saver)
        with pytest.raises(PromptNotFound) as refused:
            later.invoke(ANSWER, thread())
        assert str(tmp_path) not in str(refused.value)
        assert refused.value.tried == (f"{folder}/added.yaml",)
        with pytest.raises(PromptNotFound, match=str(folder)):
            prompts["nowhere"]


def assert_discreet(scene: Scene, error: PromptsError) -> None:
    text = f"{error} {error.args}"
    for release in scene.prompts.releases():
        assert release.id[:6] not in text
    assert str(scene.folder) not in text
    assert "production" not in text
    assert text.isprintable()
