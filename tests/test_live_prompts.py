"""The one road: what becomes of a publication, of holds, restarts, hooks, and what is dropped."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, wait_until
from tests.files import Heard, codes, says, write
from yamlgraph_prompts import (
    Finding,
    LayerNotFound,
    LayerUnavailable,
    LivePrompts,
    PromptsError,
    PromptsRejected,
    Release,
    ReleaseNotFound,
    live_graph,
)
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing import attempt
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts.sources.directory import DirectorySource
from yamlgraph_prompts.sources.reader import LayerReader


def folder_of(tmp_path: Path, text: str = "one") -> Path:
    return write(tmp_path / "prompts", {"a.yaml": f"user: {text}"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path)


def put(folder: Path, text: str) -> None:
    write(folder, {"a.yaml": f"user: {text}"})


BAD = "{{ unclosed"


def quiet(*layers: Any, **options: Any) -> LivePrompts:
    return LivePrompts(*layers, watch=False, **options)


# What becomes of a publication


def test_news_is_published_and_the_same_again_is_unchanged(folder: Path) -> None:
    with quiet(folder) as prompts:
        assert prompts.publish().status == "unchanged"
        put(folder, "two")
        outcome = prompts.publish()
        assert outcome.status == "published"
        assert outcome.release is prompts.release
        assert outcome.candidate == prompts.release.id
        assert outcome.findings == ()
        assert 0 < outcome.elapsed_s < 60
        assert prompts.publish().status == "unchanged"
        assert prompts["a"].user == "two"


def test_a_bad_prompt_is_rejected_and_what_was_live_still_is(folder: Path) -> None:
    with quiet(folder) as prompts:
        before = prompts.release
        put(folder, BAD)
        outcome = prompts.publish()
        assert outcome.status == "rejected"
        assert outcome.release is prompts.release is before
        assert outcome.candidate not in (None, before.id)
        (error,) = outcome.errors
        assert error.prompt == "a"
        assert error.file == str(folder / "a.yaml")
        assert error.line == 1


def test_going_back_to_the_good_content_after_a_bad_one_counts(folder: Path) -> None:
    with quiet(folder) as prompts:
        put(folder, BAD)
        assert prompts.publish().status == "rejected"
        put(folder, "one")
        assert prompts.publish().status == "unchanged"
        put(folder, BAD)
        assert prompts.publish().status == "rejected"
        put(folder, "two")
        assert prompts.publish().status == "published"


def test_going_back_to_the_content_before_publishes(folder: Path) -> None:
    with quiet(folder) as prompts:
        first = prompts.release.id
        put(folder, "two")
        prompts.publish()
        put(folder, "one")
        assert prompts.publish().status == "published"
        assert prompts.release.id == first


def test_a_prompt_that_did_not_change_stays_the_same_object(folder: Path) -> None:
    write(folder, {"b.yaml": "user: b"})
    with quiet(folder) as prompts:
        before = prompts["b"]
        put(folder, "two")
        prompts.publish()
        assert prompts["b"] is before


def test_every_outcome_is_told_with_its_reason(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "yamlgraph_prompts")
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        prompts.publish("deploy")
        put(folder, BAD)
        prompts.publish()
        put(folder, "two")
        prompts.publish("poll")
    told = [(o.status, o.reason) for o in heard.outcomes()]
    expected = [("published", "start"), ("unchanged", "deploy"), ("rejected", "call")]
    assert told == [*expected, ("published", "poll")]
    events = heard.of("publication")
    assert {event.environment for event in events} == {"development"}
    assert events[-1].release == events[-1].outcome.release.id  # type: ignore[union-attr]
    assert abs(events[-1].at_s - time.time()) < 60
    assert f"Release {events[-1].release[:12]} of 1 prompt is live in" in caplog.text


def test_a_hook_that_fails_stops_nothing_and_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    def broken(event: object) -> None:
        raise RuntimeError("observer down")

    with quiet(folder, hooks=[broken, heard]) as prompts:
        put(folder, "two")
        assert prompts.publish().status == "published"
    assert len(heard.outcomes("published")) == 2
    assert "observer down" in caplog.text


def test_a_hook_may_publish_itself(folder: Path) -> None:
    again: list[str] = []

    def hook(event: Any) -> None:
        if event.outcome is not None and len(again) < 2:
            again.append(event.outcome.status)
            prompts.publish("again")

    prompts = quiet(folder, hooks=[hook])
    with prompts:
        assert again == ["published", "unchanged"]


def test_a_users_check_may_warn_reject_and_fail(folder: Path) -> None:
    def forbids(release: Release, graphs: Any) -> Iterable[Finding]:
        text = release["a"].user
        if text == "boom":
            raise ZeroDivisionError("check broke")
        if text != "fine":
            severity: Any = "error" if text == "bad" else "warning"
            yield Finding(severity, "house-style", f"not {text}", prompt="a")

    with quiet(folder, checks=[forbids]) as prompts:
        put(folder, "odd")
        outcome = prompts.publish()
        assert outcome.status == "published"
        assert [finding.code for finding in outcome.warnings] == ["house-style"]
        put(folder, "bad")
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["house-style"])
        put(folder, "boom")
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["custom"])
        assert "check broke" in outcome.errors[0].message
        put(folder, "fine")
        assert prompts.publish().findings == ()


def test_a_layer_that_cannot_be_read_is_told_once_and_its_recovery_too(
    folder: Path, tmp_path: Path
) -> None:
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        folder.rename(tmp_path / "away")
        for _ in range(3):
            outcome = prompts.publish()
            assert (outcome.status, codes(outcome)) == ("rejected", ["layer"])
        assert prompts["a"].user == "one"
        (tmp_path / "away").rename(folder)
        prompts.publish()
    kinds = [event.kind for event in heard if event.kind != "publication"]
    assert kinds == ["layer-unavailable", "layer-recovered"]
    assert {event.layer for event in heard if event.kind != "publication"} == {str(folder)}


def test_check_says_what_a_publication_would_and_makes_nothing_live(folder: Path) -> None:
    with quiet(folder) as prompts:
        put(folder, BAD)
        release, findings = prompts.check()
        assert release.id != prompts.release.id
        assert [finding.severity for finding in findings] == ["error"]
        assert prompts["a"].user == "one"
        write(folder, {"a.yaml": "user: x\nuser: y"})
        assert [f.severity for f in prompts.check()[1]] == ["warning"]
        assert [f.severity for f in prompts.check(strict=True)[1]] == ["error"]


# The first load


def test_a_first_load_that_is_rejected_raises_with_the_outcome(folder: Path) -> None:
    put(folder, BAD)
    prompts = quiet(folder)
    with pytest.raises(PromptsRejected) as caught:
        prompts.release  # noqa: B018
    assert isinstance(caught.value, ValueError)
    assert caught.value.outcome.status == "rejected"
    assert caught.value.outcome.release is None
    assert str(caught.value.outcome.errors[0]) in str(caught.value)


def test_after_a_rejected_first_load_the_next_try_may_succeed(folder: Path) -> None:
    put(folder, BAD)
    prompts = quiet(folder)
    with pytest.raises(PromptsRejected):
        prompts.publish()
    put(folder, "two")
    assert prompts.publish().status == "published"
    assert prompts["a"].user == "two"


def test_a_layer_that_is_not_there_at_the_start_raises(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(LayerNotFound), quiet(tmp_path / "none", hooks=[heard]):
        pass
    assert [outcome.status for outcome in heard.outcomes()] == ["rejected"]


def test_after_a_restart_with_bad_prompts_the_last_good_release_is_served_loudly(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with quiet(folder) as prompts:
        good = prompts.release.id
    put(folder, BAD)
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        assert prompts.release.id == good
        assert prompts["a"].user == "one"
        assert prompts.publish().status == "rejected"
        put(folder, "two")
        assert prompts.publish().status == "published"
    assert "last good" in caplog.text
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    assert [event.release for event in heard.of("layer-unavailable")] == [good]
    assert heard.outcomes()[0].status == "rejected"


def test_the_first_publish_says_that_the_news_was_rejected_when_the_last_good_is_served(
    folder: Path,
) -> None:
    with quiet(folder) as prompts:
        good = prompts.release.id
    put(folder, BAD)
    outcome = quiet(folder).publish()
    assert outcome.status == "rejected"
    assert outcome.release is not None
    assert outcome.release.id == good
    assert codes(outcome)


def test_after_a_restart_without_the_layer_the_last_good_release_is_served(
    folder: Path, tmp_path: Path
) -> None:
    with quiet(folder) as prompts:
        good = prompts.release.id
    folder.rename(tmp_path / "away")
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        assert prompts.release.id == good
        (tmp_path / "away").rename(folder)
        assert prompts.publish().status == "unchanged"
    assert heard.of("layer-recovered")


def test_a_last_good_release_that_the_check_refuses_today_is_not_served(folder: Path) -> None:
    def never(release: Release, graphs: Any) -> list[Finding]:
        return [Finding("error", "custom", f"never {release['a'].user}")]

    with quiet(folder):
        pass
    put(folder, "two")
    with pytest.raises(PromptsRejected) as caught:
        quiet(folder, checks=[never]).publish()
    assert [error.message for error in caught.value.outcome.errors] == ["never two"]


# Holding


def test_activate_makes_a_kept_release_live_and_holds_it(folder: Path) -> None:
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        first = prompts.release.id
        put(folder, "two")
        prompts.publish()
        assert not prompts.held
        outcome = prompts.activate(first[:8])
        assert (outcome.status, outcome.reason) == ("published", "activate")
        assert prompts.held
        assert prompts["a"].user == "one"
        put(folder, "three")
        outcome = prompts.publish()
        assert outcome.status == "held"
        assert outcome.release is not None
        assert outcome.release.id == first
        assert prompts["a"].user == "one"
        assert outcome.candidate in {kept.id for kept in prompts.releases()}
        put(folder, BAD)
        assert prompts.publish().status == "rejected"
        put(folder, "three")
        assert prompts.follow().status == "published"
        assert not prompts.held
        assert prompts["a"].user == "three"
        put(folder, "four")
        assert prompts.publish().status == "published"
    assert [event.release for event in heard.of("held")] == [first]
    assert len(heard.of("following")) == 1


def test_activating_what_is_live_holds_it(folder: Path) -> None:
    with quiet(folder) as prompts:
        prompts.activate(prompts.release.id)
        assert prompts.held
        put(folder, "two")
        assert prompts.publish().status == "held"
        assert prompts["a"].user == "one"


def test_a_release_that_nobody_knows_cannot_be_activated(folder: Path) -> None:
    with quiet(folder) as prompts:
        for name in ("feedbeef", "", "../../etc", "A" * 64):
            with pytest.raises(ReleaseNotFound):
                prompts.activate(name)
        assert not prompts.held


def test_a_prefix_of_several_releases_is_refused(folder: Path) -> None:
    with quiet(folder) as prompts:
        ids = {prompts.release.id}
        for number in range(40):
            put(folder, f"text {number}")
            prompts.publish()
            ids.add(prompts.release.id)
        letters = [release_id[0] for release_id in ids]
        twice = next(letter for letter in letters if letters.count(letter) > 1)
        with pytest.raises(ReleaseNotFound, match=r"\d+ "):
            prompts.activate(twice)


def test_going_back_to_a_release_that_just_ran_builds_nothing_anew(folder: Path) -> None:
    built: list[str] = []
    build = says("a")

    def counted(release: Any) -> Any:
        built.append(release["a"].user)
        return build(release)

    with quiet(folder) as prompts:
        app = live_graph(counted, prompts=prompts).compile()
        put(folder, "two")
        prompts.publish()
        assert built == ["one", "two"]
        prompts.rollback()
        assert app.invoke({})["said"] == ["one"]
        prompts.rollback()
        assert app.invoke({})["said"] == ["two"]
        assert built == ["one", "two"]


def test_rollback_goes_to_the_release_before_and_back_again(folder: Path) -> None:
    with quiet(folder) as prompts:
        with pytest.raises(ReleaseNotFound, match="no earlier"):
            prompts.rollback()
        put(folder, "two")
        prompts.publish()
        outcome = prompts.rollback()
        assert (outcome.status, outcome.reason) == ("published", "rollback")
        assert prompts.held
        assert prompts["a"].user == "one"
        prompts.rollback()
        assert prompts["a"].user == "two"


def test_a_release_that_fails_todays_check_cannot_be_activated(folder: Path) -> None:
    refused: set[str] = set()

    def check(release: Release, graphs: Any) -> list[Finding]:
        bad = release.id in refused
        return [Finding("error", "custom", "not any more")] if bad else []

    with quiet(folder, checks=[check]) as prompts:
        first = prompts.release.id
        put(folder, "two")
        prompts.publish()
        refused.add(first)
        assert prompts.activate(first).status == "rejected"
        assert not prompts.held
        assert prompts["a"].user == "two"


def test_the_history_is_newest_first_and_says_which_one_is_live(folder: Path) -> None:
    with quiet(folder) as prompts:
        first = prompts.release.id
        put(folder, "two")
        prompts.publish("deploy 7")
        second = prompts.release.id
        kept = prompts.releases()
        assert [(r.id, r.live, r.reason) for r in kept] == [
            (second, True, "deploy 7"),
            (first, False, "start"),
        ]
        assert {r.environment for r in kept} == {"development"}
        assert {r.prompts for r in kept} == {1}
        prompts.activate(first)
        assert [(r.id, r.live) for r in prompts.releases()] == [(first, True), (second, False)]


def test_a_hold_survives_a_restart(folder: Path) -> None:
    with quiet(folder) as prompts:
        first = prompts.release.id
        put(folder, "two")
        prompts.publish()
        prompts.activate(first)
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        assert prompts.held
        assert prompts["a"].user == "one"
        put(folder, "three")
        assert prompts.publish().status == "held"
        assert prompts.follow().status == "published"
    with quiet(folder) as prompts:
        assert not prompts.held
        assert prompts["a"].user == "three"


def test_a_hold_survives_a_restart_without_the_layer(folder: Path, tmp_path: Path) -> None:
    with quiet(folder) as prompts:
        prompts.activate(prompts.release.id)
    folder.rename(tmp_path / "away")
    with quiet(folder) as prompts:
        assert prompts.held
        assert prompts["a"].user == "one"


def test_follow_ends_a_hold_though_the_layers_are_bad(folder: Path) -> None:
    with quiet(folder) as prompts:
        prompts.activate(prompts.release.id)
        put(folder, BAD)
        assert prompts.follow().status == "rejected"
        assert not prompts.held
        assert prompts["a"].user == "one"
        put(folder, "two")
        assert prompts.publish().status == "published"


def test_a_hold_that_is_lost_from_the_store_still_holds_here(folder: Path) -> None:
    with quiet(folder) as prompts:
        prompts.activate(prompts.release.id)
        for path in prompts._store.changed_paths():
            path.unlink()
        put(folder, "two")
        assert prompts.publish().status == "held"
        assert prompts.held
        assert prompts.follow().status == "published"


def test_another_live_prompts_on_the_store_obeys_a_hold_and_its_end(folder: Path) -> None:
    heard = Heard()
    with quiet(folder) as here, quiet(folder, hooks=[heard]) as there:
        first = here.release.id
        put(folder, "two")
        here.publish()
        there.publish()
        here.activate(first)
        there.publish()
        assert there.held
        assert there.release.id == first
        assert heard.outcomes("published")[-1].release is there.release
        here.follow()
        there.publish()
        assert not there.held
        assert there["a"].user == "two"


@pytest.mark.parametrize("act", ["publish", "change", "follow"])
def test_a_hold_that_comes_during_a_publication_is_ended_by_a_follow_only(
    folder: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet(folder) as here, quiet(folder) as there:
        first = here.release.id
        put(folder, "two")
        assert here.publish().status == there.publish().status == "published"
        keep = there._store.put

        def meanwhile(*args: Any, **options: Any) -> None:
            keep(*args, **options)
            monkeypatch.undo()
            here.activate(first)

        monkeypatch.setattr(there._store, "put", meanwhile)
        if act == "change":
            with there.change(Draft("a", b"user: three")) as change:
                change.commit()
        else:
            put(folder, "three")
            getattr(there, act)()
        assert (folder / "a.yaml").read_text() == "user: three"
        here.publish()
        if act == "follow":
            assert (there.held, here.held, here["a"].user) == (False, False, "three")
        else:
            assert (there.held, here.held) == (True, True)
            assert there.release.id == here.release.id == first


def test_a_hold_is_not_ended_by_whoever_cannot_serve_what_is_held(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def check(release: Release, graphs: Any) -> list[Finding]:
        return [] if "b" in release.prompts else [Finding("error", "custom", "no b")]

    with quiet(folder) as here:
        held = here.release.id
        write(folder, {"a.yaml": "user: bad", "b.yaml": "user: b"})
        here.publish()
        here.activate(held)
        heard = Heard()
        with quiet(folder, checks=[check], hooks=[heard]) as there:
            assert (there["a"].user, there.held) == ("bad", False)
            here.publish()
            assert (here["a"].user, here.held) == ("one", True)
            assert "held, but cannot be served: 1 error" in caplog.text
            put(folder, "worse")
            assert there.publish().status == "rejected"
            assert there["a"].user == "bad"
            assert here.publish().status == "held"
            assert here.follow().status == "published"
            assert there.publish().status == "published"
            assert (there["a"].user, there.held) == ("worse", False)
        assert len(heard.of("store-trouble")) == 1


OTHER_PROCESS = """
import sys
from yamlgraph_prompts import LivePrompts
prompts = LivePrompts(sys.argv[1], watch=False)
prompts.release
for line in sys.stdin:
    act, _, what = line.strip().partition(" ")
    print(getattr(prompts, act)(*([what] if what else [])).status, flush=True)
"""


@pytest.mark.slow
def test_another_process_sees_a_hold_and_its_end_within_a_second(folder: Path) -> None:
    with LivePrompts(folder) as prompts:
        first = prompts.release.id
        put(folder, "two")
        wait_until(lambda: prompts["a"].user == "two")
        wait_until(lambda: _watching(prompts))
        with subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            for command, text, held in (
                (f"activate {first}", "one", True),
                ("follow", "two", False),
            ):
                other.stdin.write(command + "\n")
                other.stdin.flush()
                assert other.stdout.readline() == "published\n"
                wait_until(lambda: (prompts["a"].user, prompts.held) == (text, held), 1.0)  # noqa: B023
            other.stdin.close()


def _watching(prompts: LivePrompts) -> bool:
    watches = prompts._following._watches or ()
    return bool(watches) and all(watch.mode == "events" for watch in watches)


# Graphs that share one LivePrompts


def test_several_graphs_swap_together(folder: Path) -> None:
    write(folder, {"a.yaml": "user: '0'", "b.yaml": "user: '0'"})
    with quiet(folder) as prompts:
        apps = [live_graph(says("a", "b"), prompts=prompts).compile() for _ in range(3)]
        mixed: list[Any] = []
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                before = prompts.release
                answers = [tuple(app.invoke({})["said"]) for app in apps]
                if any(one != two for one, two in answers):
                    mixed.append(answers)
                if before is prompts.release and len(set(answers)) > 1:
                    mixed.append(answers)

        threads = [threading.Thread(target=hammer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(1, 20):
            files = {"a.yaml": f"user: '{number}'", "b.yaml": f"user: '{number}'"}
            # Together: what is half written is another test's.
            write(folder, files)
            assert prompts.publish().status == "published"
        stop.set()
        for thread in threads:
            thread.join()
        assert not mixed
        assert apps[0].invoke({})["said"] == ["19", "19"]


def test_a_graph_that_does_not_build_rejects_the_release_for_all(folder: Path) -> None:
    def picky(release: Release) -> Any:
        if release["a"].user == "two":
            raise KeyError("no node for two")
        return says("a")(release)

    with quiet(folder) as prompts:
        plain = live_graph(says("a"), prompts=prompts).compile()
        odd = live_graph(picky, prompts=prompts).compile()
        put(folder, "two")
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["compile"])
        assert "no node for two" in outcome.errors[0].message
        assert plain.invoke({}) == odd.invoke({}) == {"said": ["one"]}
        put(folder, "three")
        assert prompts.publish().status == "published"
        assert plain.invoke({}) == odd.invoke({}) == {"said": ["three"]}


def test_a_graph_that_does_not_go_with_the_live_release_is_not_attached(folder: Path) -> None:
    def broken(release: Release) -> Any:
        raise KeyError("never")

    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        with pytest.raises(PromptsRejected, match="never"):
            live_graph(broken, prompts=prompts)
        put(folder, "two")
        assert prompts.publish().status == "published"
        assert app.invoke({}) == {"said": ["two"]}


def test_of_a_graph_that_is_loaded_again_and_again_only_what_is_used_is_built(folder: Path) -> None:
    built: list[str] = []

    def build(release: Release) -> Any:
        built.append(release.id)
        return says("a")(release)

    with quiet(folder) as prompts:
        for _ in range(20):
            app = live_graph(build, prompts=prompts).compile()
            assert app.invoke({}) == {"said": ["one"]}
        gc.collect()
        built.clear()
        put(folder, "two")
        prompts.publish()
        assert len(built) <= 2
        assert app.invoke({}) == {"said": ["two"]}
        assert len(prompts._engine.live.builds) == 1  # type: ignore[union-attr]


# Life


def test_after_close_nothing_is_published_and_what_runs_goes_on(folder: Path) -> None:
    prompts = quiet(folder)
    app = live_graph(says("a"), prompts=prompts).compile()
    prompts.close()
    prompts.close()
    assert prompts.closed
    assert app.invoke({}) == {"said": ["one"]}
    assert prompts["a"].user == "one"
    for act in (prompts.publish, prompts.follow, prompts.check, prompts.rollback):
        with pytest.raises(PromptsError):
            act()


def test_a_release_that_was_never_asked_for_costs_nothing(tmp_path: Path) -> None:
    prompts = quiet(tmp_path / "not there")
    assert "not started" in repr(prompts)
    prompts.close()


def test_the_arguments_are_checked_at_once(folder: Path) -> None:
    with pytest.raises(ValueError, match="missing_release"):
        quiet(folder, missing_release="ignore")
    with pytest.raises(ValueError, match="pin"), quiet(folder) as prompts:
        live_graph(says("a"), prompts=prompts, pin="sometimes")  # type: ignore[arg-type]


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("yamlgraph-prompts")]


def test_prompts_in_memory_need_no_disk_and_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_STORE", str(tmp_path / "store"))
    before = ours()
    with LivePrompts({"a": "user: Hi {name}"}) as prompts:
        assert prompts["a"].messages(name="Ada")[0].content == "Hi Ada"
        assert live_graph(says("a"), prompts=prompts).compile().invoke({}) == {
            "said": ["Hi {name}"]
        }
        assert ours() == before
    assert not (tmp_path / "store").exists()


def test_a_mapping_that_was_changed_is_published_by_a_call() -> None:
    files: dict[str, Any] = {"a": "user: one"}
    with LivePrompts(files) as prompts:
        files["a"] = {"user": "two"}
        assert prompts.publish().status == "published"
        assert prompts["a"].user == "two"
        assert prompts.rollback().status == "published"
        assert prompts["a"].user == "one"
        assert prompts.follow().status == "published"


def test_prompts_that_nobody_uses_any_more_go_away_with_their_threads(folder: Path) -> None:
    before = set(threading.enumerate())
    prompts = LivePrompts(folder)
    app = live_graph(says("a"), prompts=prompts).compile()
    app.invoke({})
    wait_until(partial(_watching, prompts))
    ours = [t for t in set(threading.enumerate()) - before if t.name.startswith("yamlgraph-")]
    assert ours
    gone = weakref.ref(prompts)
    del app, prompts
    gc.collect()
    wait_until(lambda: gone() is None and not any(t.is_alive() for t in ours), 5.0)


def test_two_threads_that_start_at_once_publish_once(folder: Path) -> None:
    heard = Heard()
    prompts = quiet(folder, hooks=[heard])
    found: list[Release] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        found.append(prompts.release)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard.outcomes()) == 1
    assert len({id(release) for release in found}) == 1


def test_many_publications_leave_nothing_behind(folder: Path) -> None:
    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        for number in range(200):
            put(folder, f"text {number}")
            assert prompts.publish().status == "published"
            if number == 50:
                descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        assert app.invoke({}) == {"said": ["text 199"]}
        assert len(prompts._builds._recent) <= 8
        assert len(next(iter(prompts._builds._facts.values()))) <= 32
        assert len(prompts.releases()) <= 65
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        assert threading.active_count() <= threads


def test_a_source_is_never_asked_by_two_threads_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, twice = threading.Lock(), []
    real = DirectorySource.read

    def alone(self: DirectorySource) -> Any:
        if not busy.acquire(blocking=False):
            twice.append(threading.current_thread().name)
            return real(self)
        try:
            time.sleep(0.001)
            return real(self)
        finally:
            busy.release()

    monkeypatch.setattr(DirectorySource, "read", alone)
    with LivePrompts(folder, refresh_s=0.002) as prompts:
        prompts["a"]
        wait_until(lambda: _watching(prompts))
        for number in range(60):
            put(folder, f"text {number}")
            assert prompts.publish().status in ("published", "unchanged")
    assert twice == []


def test_a_layer_that_is_slow_at_the_start_does_not_hold_the_start_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    folder = folder_of(tmp_path)
    with quiet(folder) as prompts:
        good = prompts.release.id
        prompts.activate(good)

    def hangs(self: DirectorySource) -> Any:
        release.wait(30)
        raise LayerUnavailable("gone", layer="x")

    monkeypatch.setattr(LayerReader, "remote", True)
    monkeypatch.setattr(DirectorySource, "read", hangs)
    started = time.monotonic()
    try:
        # With a hold and without one.
        for _ in range(2):
            with quiet(folder, startup_deadline_s=0.2) as prompts:
                assert prompts.release.id == good
                prompts._store.make_live(good, reason="test", held=False)
        assert time.monotonic() - started < 5
        with pytest.raises(LayerUnavailable, match="in time"):
            quiet(tmp_path / "other", startup_deadline_s=0.1).publish()
    finally:
        release.set()


def test_a_builder_that_was_mended_is_taken_with_the_same_prompts(folder: Path) -> None:
    good, bad = says("a"), {"now": False}

    def build(release: Release) -> Any:
        graph = good(release)
        return graph.add_edge("n0", "nowhere") if bad["now"] else graph

    with quiet(folder) as prompts:
        app = live_graph(build, prompts=prompts).compile()
        bad["now"] = True
        put(folder, "two")
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["compile"])
        assert app.invoke({})["said"] == ["one"]
        bad["now"] = False
        assert prompts.publish().status == "published"
        assert app.invoke({})["said"] == ["two"]


def test_a_builder_that_gives_no_graph_is_told_what_to_give(folder: Path) -> None:
    with quiet(folder) as prompts, pytest.raises(PromptsRejected, match="must return a StateGraph"):
        live_graph(lambda release: None, prompts=prompts).compile()


def test_a_builder_that_raises_is_named_with_its_line(folder: Path) -> None:
    def build(release: Release) -> Any:
        raise ZeroDivisionError("by nothing")

    with quiet(folder) as prompts, pytest.raises(PromptsRejected) as caught:
        live_graph(build, prompts=prompts).compile()
    (finding,) = caught.value.outcome.errors
    assert finding.file == __file__
    assert "ZeroDivisionError: by nothing" in finding.message


def test_code_of_the_users_that_wants_to_exit_ends_neither_the_process_nor_the_following(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = ""

    def leave(from_where: str) -> None:
        if leaving == from_where:
            sys.exit("no configuration")

    def check(release: Release, graphs: Any) -> Iterable[Finding]:
        leave("check")
        return ()

    def build(release: Release) -> Any:
        leave("build")
        return says("a")(release)

    with LivePrompts(folder, checks=[check], hooks=[lambda event: leave("hook")]) as prompts:
        app = live_graph(build, prompts=prompts).compile()
        app.invoke({})
        for leaving, code in (("check", "custom"), ("build", "compile")):
            put(folder, leaving)
            outcome = prompts.publish()
            assert (outcome.status, codes(outcome)) == ("rejected", [code])
            assert "no configuration" in outcome.errors[0].message
        leaving = "hook"
        put(folder, "hooked")
        prompts.publish()
        assert prompts["a"].user == "hooked"
        leaving = ""
        put(folder, "followed")
        wait_until(lambda: app.invoke({}) == {"said": ["followed"]})
    assert "A hook failed" in caplog.text


def test_a_check_that_gives_something_else_rejects_with_its_name(folder: Path) -> None:
    def odd(release: Release, graphs: Any) -> Any:
        return ["not good"]

    with quiet(folder) as prompts:
        assert prompts.release
    with pytest.raises(PromptsRejected, match="odd"), quiet(folder, checks=[odd]) as prompts:
        assert prompts.release


def test_a_warning_is_logged_when_it_is_new_and_not_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> int:
        return sum("nothing reads" in r.getMessage() for r in caplog.records)

    write(folder, {"misspelt.yaml": "user: never"})
    caplog.set_level(logging.WARNING, "yamlgraph_prompts")

    def check(release: Release, graphs: Any) -> list[Finding]:
        spare = [name for name in release.prompts if name == "misspelt"]
        return [Finding("warning", "custom", "nothing reads it", prompt=name) for name in spare]

    with quiet(folder, checks=[check]) as prompts:
        assert prompts.release
        assert told() == 1
        put(folder, "two")
        prompts.publish()
        assert told() == 1


def test_whoever_is_dropped_without_close_does_not_count_as_a_process_that_is_behind(
    folder: Path, tmp_path: Path
) -> None:
    def using() -> LivePrompts:
        prompts = LivePrompts(folder, store=tmp_path / "store")
        assert prompts.release
        return prompts

    def reach() -> tuple[int, int]:
        gc.collect()
        return stays.reach()

    with using() as stays:
        using()
        wait_until(lambda: reach() == (1, 1))
        assert stays.store_folder is not None
        assert len(os.listdir(stays.store_folder / "workers")) == 1


def test_files_of_processes_that_are_gone_are_removed_at_the_next_start(
    folder: Path, tmp_path: Path
) -> None:
    with LivePrompts(folder, store=tmp_path / "store") as prompts:
        workers = prompts.store_folder / "workers"  # type: ignore[operator]
    workers.mkdir(exist_ok=True)
    old, young = workers / ".new-2", workers / ".new-3"
    for path in (workers / "1-aa", old, young):
        path.write_text("{}")
    os.utime(old, (0, 0))
    with LivePrompts(folder, store=tmp_path / "store") as prompts:
        assert prompts.release
        left = sorted(path.name.partition("-")[0] for path in workers.iterdir())
        assert left == [".new", str(os.getpid())]
        assert young.exists()


def test_a_change_through_one_process_is_no_file_change_in_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "CHANGED_WITHIN_S", 10.0)  # of a busy machine
    heard = Heard()
    store = tmp_path / "store"
    with LivePrompts(folder, store=store, hooks=[heard]) as other, quiet(folder, store=store) as me:
        assert other["a"].user == "one"
        time.sleep(0.2)
        for number in range(10):
            draft = Draft("a", f"user: n{number}\n".encode())
            order = {"reason": "put by ada", "who": "ada", "message": "because"}
            with me.change(draft, **order) as change:
                assert change.commit(before_write=slow).status == "published"
            wait_until(lambda: other["a"].user == f"n{number}")  # noqa: B023
        entries = list(me._store.history())
        other.rollback(who="Grace")
        me.publish()
    assert {outcome.reason for outcome in heard.outcomes("published")[1:-1]} == {
        "put by ada in another process"
    }
    assert [(one.why, one.who, one.message) for one in entries[:-1]] == [
        ("put by ada", "ada", "because")
    ] * 10


def test_the_history_names_who_made_a_change_even_where_another_process_saw_it_first(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with quiet(folder, store=store) as other, quiet(folder, store=store) as me:
        assert other["a"].user == me["a"].user == "one"
        draft = Draft("a", b"user: two")

        def write(old: object, new: Mapping[str, bytes]) -> None:
            put(folder, "two")
            other._publish(Trigger.FILE_CHANGE)

        with me.change(draft, reason="put by ada", who="ada") as change:
            change.commit(write=write)
        entries = [(entry.why, entry.release) for entry in me._store.history()]
    assert [why for why, _ in entries] == ["put by ada", "file change", "start"]
    assert entries[0][1] == entries[1][1]


def slow() -> None:
    """What the audit log may take."""
    time.sleep(0.02)


def test_a_record_is_one_line_and_names_the_layer_in_trouble(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with quiet(folder) as prompts:
        assert prompts.release
        write(folder, {"a.yaml": f"user: {BAD}", "b.yaml": f"user: {BAD}"})
        prompts.publish()
        folder.rename(folder.with_name("gone"))
        prompts.publish()
    refused, gone = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "\n" not in refused.getMessage()
    assert "2 errors: " in refused.getMessage()
    assert " | " in refused.getMessage()
    assert vars(refused)["outcome"] == "rejected"
    assert vars(gone)["layer"] == str(folder)


def test_the_log_says_once_what_several_looks_refuse(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [r.getMessage().split(":")[0] for r in caplog.records if r.levelname == "WARNING"]

    with quiet(folder) as prompts:
        assert prompts.release
    put(folder, BAD)
    with quiet(folder) as prompts:
        assert prompts["a"].user == "one"
        assert said() == ["Not published in development (start)"]
        for trigger in (t for t in Trigger if t.is_automatic):
            assert prompts._publish(trigger).status == "rejected"
        assert len(said()) == 1
        assert prompts.publish("deploy").status == "rejected"
        assert said()[1:] == ["Not published in development (deploy)"]
        put(folder, BAD + BAD)
        prompts._publish(Trigger.FILE_CHANGE)
        assert len(said()) == 3
        put(folder, "two")
        assert prompts._publish(Trigger.FILE_CHANGE).status == "published"
        put(folder, BAD + BAD)
        prompts._publish(Trigger.FILE_CHANGE)
        assert len(said()) == 4


@pytest.mark.parametrize("wrong", [0, -1.0, "30", float("nan")])
def test_a_time_between_looks_that_is_none_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="refresh_s must be a number of seconds above 0"):
        LivePrompts({"a": "user: x"}, refresh_s=wrong)


@pytest.mark.slow
def test_a_system_without_forks_needs_none() -> None:
    program = (
        "import os; del os.register_at_fork, os.fork\n"
        "from yamlgraph_prompts import LivePrompts\n"
        "with LivePrompts({'a': 'user: x'}) as prompts: print(prompts['a'].user)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")
