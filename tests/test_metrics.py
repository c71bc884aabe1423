"""The metrics: what an observer counts, and how Prometheus would read it."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import run_in
from tests.files import says, write
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts._model.health import LayerState
from yamlgraph_prompts.metrics import Metrics


def values(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Name of a sample → its labels' values → its value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.exposed().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return {name.removeprefix("yamlgraph_prompts_"): told for name, told in found.items()}


def made(folder: Path, metrics: Metrics) -> LivePrompts:
    return LivePrompts(
        folder / "over",
        folder / "base",
        environment="test",
        store=folder / "store",
        watch=False,
        hooks=[metrics],
    )


def test_publications_are_counted_by_outcome_and_layer(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    over, base = str(tmp_path / "over"), str(tmp_path / "base")
    metrics = Metrics()
    with made(tmp_path, metrics) as prompts:
        assert prompts.release
        write(tmp_path, {"base/b.yaml": "user: news"})
        prompts.publish()
        prompts.publish()
        write(tmp_path, {"over/a.yaml": "user: {{ x"})
        prompts.publish()
        told = values(metrics)["publications_total"]
    assert told == {
        ("test", over, "published"): 1,
        ("test", base, "published"): 1,
        ("test", "", "unchanged"): 1,
        ("test", over, "rejected"): 1,
    }


def test_the_last_success_is_told_as_prometheus_tells_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics, before = Metrics(), time.time()
    with made(tmp_path, metrics) as prompts:
        assert prompts.release
        told = values(metrics)
        assert told["last_reload_successful"] == {("test",): 1}
        first = told["last_reload_success_timestamp_seconds"]["test",]
        assert before <= first <= time.time()
        write(tmp_path, {"over/a.yaml": "user: {{ x"})
        prompts.publish()
        told = values(metrics)
        assert told["last_reload_successful"] == {("test",): 0}
        assert told["last_reload_success_timestamp_seconds"] == {("test",): first}


def test_the_live_release_and_its_age_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics = Metrics()
    with made(tmp_path, metrics) as prompts:
        first = prompts.release.id
        assert values(metrics)["release_info"] == {("test", first): 1}
        write(tmp_path, {"over/a.yaml": "user: aa"})
        prompts.publish()
        told = values(metrics)
        assert told["release_info"] == {("test", prompts.release.id): 1}
        assert 0 <= told["release_age_seconds"]["test",] < 60
        prompts.rollback()
        assert values(metrics)["held"] == {("test",): 1}
        prompts.follow()
        assert values(metrics)["held"] == {("test",): 0}


def test_a_hold_is_told_whoever_began_or_ended_it_and_since_when(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics, late = Metrics(), Metrics()

    def told(metrics: Metrics) -> tuple[float, float]:
        found = values(metrics)
        return found["held"]["test",], found["held_since_timestamp_seconds"]["test",]

    with made(tmp_path, metrics) as prompts, made(tmp_path, Metrics()) as other:
        first = prompts.release.id
        assert told(metrics) == (0, 0)
        write(tmp_path, {"over/a.yaml": "user: {{ x"})
        other.activate(first)
        since_s = other.health.held_since_s
        prompts.publish()  # what a process does that follows changes
        assert told(metrics) == (1, since_s)
        with made(tmp_path, late) as restarted:
            assert restarted.health.held_since_s == since_s
            assert told(late) == (1, since_s)
        other.follow()
        prompts.publish()
        assert told(metrics) == (0, 0)


def test_a_refused_edit_and_a_layer_in_trouble_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics, after = Metrics(), Metrics()
    over, base = str(tmp_path / "over"), str(tmp_path / "base")
    with made(tmp_path, metrics) as prompts:
        metrics.syncing("test", lambda: prompts.health.layers)
        assert prompts.release
        read_s = values(metrics)["layer_read_timestamp_seconds"]
        assert set(read_s) == {("test", over), ("test", base)}
        write(tmp_path, {"over/a.yaml": "user: {{ x"})
        prompts.publish()
        assert values(metrics)["edit_refused"] == {("test",): 1}
        (tmp_path / "base").rename(tmp_path / "gone")
        prompts.publish()
        told = values(metrics)
        assert told["edit_refused"] == {("test",): 1}  # still, as far as can be seen
        assert told["publications_total"]["test", base, "layer-unavailable"] == 1
        assert told["publications_total"]["test", over, "rejected"] == 1
        assert told["layer_read_timestamp_seconds"]["test", base] < time.time()
        (tmp_path / "gone").rename(tmp_path / "base")
        # After a restart on the last good release it is still refused.
        with made(tmp_path, after) as restarted:
            assert restarted.health.degraded == ("rejected-candidate",)
            told = values(after)
            assert told["edit_refused"] == {("test",): 1}
            assert told["last_reload_successful"] == {("test",): 0}
        write(tmp_path, {"over/a.yaml": "user: a"})
        prompts.publish()
        assert values(metrics)["edit_refused"] == {("test",): 0}


SEVERAL = """
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts.metrics import Metrics
from tests.files import says
metrics = Metrics()
layer = {"a": "user: first"}
with LivePrompts(layer, environment="x", hooks=[metrics]) as prompts:
    app = live_graph(says("a"), prompts=prompts).compile()
    for number in range(NUMBER):
        layer["a"] = f"user: n{number}"
        prompts.publish()
        app.invoke({})
    if HOLD:
        prompts.rollback()
    print(prompts.release.id)
    print(metrics.exposed().decode())
"""


def test_several_processes_tell_only_living_ones_and_the_newest_releases(tmp_path: Path) -> None:
    several = tmp_path / "several"
    several.mkdir()
    env = {"PROMETHEUS_MULTIPROC_DIR": str(several)}
    for number, hold in ((25, True), (3, False), (30, False)):
        script = SEVERAL.replace("NUMBER", str(number)).replace("HOLD", str(hold))
        live, *lines = run_in(tmp_path, script, env=env).splitlines()
        # As a server's hook does for a worker that has ended.
        (pid,) = {file.stem.rpartition("_")[2] for file in several.glob("gauge_live*.db")}
        multiprocess.mark_process_dead(int(pid), str(several))
        lines = [line.removeprefix("yamlgraph_prompts_") for line in lines]
        (info,) = (line for line in lines if line.startswith("release_info{"))
        assert f'release="{live}"' in info
        assert info.endswith(" 1.0")
        # The process that held is gone.
        assert f'held{{environment="x"}} {float(hold)}' in lines
        counted = [line for line in lines if line.startswith("runs_total{")]
        assert len(counted) <= 21
        assert sum(f'release="{live}"' in line for line in counted) == 1


def test_durations_are_a_histogram(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics = Metrics()
    with made(tmp_path, metrics) as prompts:
        assert prompts.release
        told = values(metrics)
    assert told["publication_duration_seconds_count"] == {("test", "published"): 1}
    assert told["publication_duration_seconds_sum"]["test", "published"] > 0


def test_runs_are_counted_by_release_and_old_releases_are_forgotten(tmp_path: Path) -> None:
    metrics = Metrics()
    layer = {"a": "user: first"}
    with LivePrompts(layer, environment="test", hooks=[metrics]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        for number in range(25):
            layer["a"] = f"user: n{number}"
            prompts.publish()
            app.invoke({})
            app.invoke({})
        told = values(metrics)["runs_total"]
        assert told["test", prompts.release.id] == 2
        assert len(told) == 20


def test_trouble_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"over/a.yaml": "user: a", "base/b.yaml": "user: b"})
    metrics = Metrics()
    with made(tmp_path, metrics) as prompts:
        assert prompts.release
        (tmp_path / "base").rename(tmp_path / "gone")
        prompts.publish()
        told = values(metrics)["trouble_total"]
    assert told == {("test", "layer-unavailable", str(tmp_path / "base")): 1}


def test_requests_and_bytes_of_remote_layers_are_counted_once() -> None:
    asked = {"s3://a/": 2, "s3://b/": 1, "/folder": 0}

    def layers() -> list[LayerState]:
        return [LayerState(url, 1.0, None, False, n, n * 100) for url, n in asked.items()]

    metrics = Metrics()
    metrics.syncing("test", layers)
    metrics.syncing("test", layers)  # the same again
    metrics.syncing("other", lambda: [LayerState("s3://a/", 1.0, None, False, 7, 70)])
    asked["s3://a/"] = 5
    assert values(metrics)["sync_requests_total"] == {
        ("test", "s3://a/"): 5,
        ("test", "s3://b/"): 1,
        ("other", "s3://a/"): 7,
    }
    assert values(metrics)["sync_received_bytes_total"]["test", "s3://a/"] == 500


def test_a_forked_process_does_not_tell_its_parents_requests_again(tmp_path: Path) -> None:
    script = """
import os
from yamlgraph_prompts._model.health import LayerState
from yamlgraph_prompts.metrics import Metrics
asked = [5]
metrics = Metrics()
metrics.syncing("x", lambda: [LayerState("s3://a/", 1.0, None, False, asked[0], 0)])
def told():
    lines = metrics.exposed().decode().splitlines()
    return [l.split()[-1] for l in lines if l.startswith("yamlgraph_prompts_sync_requests_total{")]
asked[0] = 9
if os.fork() == 0:
    first = told()
    asked[0] = 10
    print("child", first, told(), flush=True)
    os._exit(0)
os.wait()
print("parent", told())
"""
    said = run_in(tmp_path, script)
    assert "child ['5.0'] ['6.0']" in said
    assert "parent ['9.0']" in said


def test_a_registry_of_the_apps_own_can_be_used() -> None:
    registry = CollectorRegistry()
    with LivePrompts({"a": "user: a"}, environment="x", hooks=[Metrics(registry)]) as prompts:
        assert prompts.release
        sample = registry.get_sample_value(
            "yamlgraph_prompts_last_reload_successful", {"environment": "x"}
        )
    assert sample == 1


def test_several_processes_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "several").mkdir()
    script = """
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.metrics import Metrics
metrics = Metrics()
with LivePrompts({"a": "user: a"}, environment="x", hooks=[metrics]) as prompts:
    prompts.release
    print(metrics.exposed().decode())
"""
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "several")}
    run_in(tmp_path, script, env=env)
    told = run_in(tmp_path, script, env=env)
    line = next(
        one for one in told.splitlines() if one.startswith("yamlgraph_prompts_publications_total{")
    )
    assert line.endswith(" 2.0")


def test_without_the_extra_the_package_needs_no_prometheus(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["prometheus_client"] = None
from yamlgraph_prompts import LivePrompts
with LivePrompts({"a": "user: a"}, environment="x") as prompts:
    prompts.release
try:
    import yamlgraph_prompts.metrics
except ImportError as problem:
    print(problem)
"""
    assert "pip install 'yamlgraph-prompts[admin]'" in run_in(tmp_path, script)
