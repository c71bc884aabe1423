"""A store that another version wrote is told apart from a damaged one, and its hold counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.files import codes, write
from yamlgraph_prompts import LivePrompts, UnsupportedStore
from yamlgraph_prompts._cli import main
from yamlgraph_prompts.registry.store import Store


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts", {"a.yaml": "user: one"})


def started(layer: Path) -> LivePrompts:
    return LivePrompts(layer, environment="x", watch=False)


def store_of(layer: Path) -> Path:
    with started(layer) as prompts:
        prompts.publish()
        assert prompts.store_folder is not None
        return prompts.store_folder


def later_pack(store: Path) -> None:
    for pack in store.glob("packs/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes().replace(b"pack 1\n", b"pack 2\n", 1))


def later_format(store: Path) -> None:
    (store / "format").write_text("2\n")


def later_history(store: Path) -> None:
    with (store / "log-x.jsonl").open("a") as file:
        file.write(json.dumps({"v": 2, "arms": {"ab": 1.0}, "held": True}) + "\n")


each_later = pytest.mark.parametrize("change", [later_pack, later_format, later_history])


@each_later
def test_a_process_does_not_start_past_the_hold_of_a_later_version(
    change: Callable[[Path], None], layer: Path
) -> None:
    with started(layer) as prompts:
        prompts.activate(prompts.release.id)
    change(store_of(layer))
    write(layer, {"a.yaml": "user: two"})
    for _ in range(2):
        with pytest.raises(UnsupportedStore, match="another version"), started(layer) as prompts:
            pytest.fail(f"started with {prompts['a'].user!r}")


@each_later
def test_a_process_that_runs_goes_on_with_what_it_serves(
    change: Callable[[Path], None], layer: Path
) -> None:
    with started(layer) as prompts:
        prompts.activate(prompts.release.id)
        change(store_of(layer))
        write(layer, {"a.yaml": "user: two"})
        for _ in range(2):
            outcome = prompts.publish()
            assert outcome.status in ("held", "rejected"), outcome
            assert (prompts["a"].user, prompts.held) == ("one", True)
        if change is later_format:
            assert codes(outcome) == ["store"]
            assert "store-trouble" in prompts.health.degraded


def test_a_hold_of_a_later_version_that_comes_while_it_runs_is_not_passed_over(
    layer: Path,
) -> None:
    with started(layer) as prompts:
        first = prompts.release.id
        write(layer, {"a.yaml": "user: two"})
        prompts.publish()
        with started(layer) as other:
            other.activate(first)
        later_pack(store_of(layer))
        write(layer, {"a.yaml": "user: three"})
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["store"])
        assert prompts["a"].user == "two"


def test_a_pack_of_a_later_version_that_is_not_held_keeps_nobody_from_starting(
    layer: Path,
) -> None:
    later_pack(store_of(layer))
    write(layer, {"a.yaml": "user: two"})
    with started(layer) as prompts:
        assert prompts["a"].user == "two"


@pytest.mark.parametrize("content", ["", "\0\0", "one", "1"])
def test_a_store_whose_number_is_damaged_or_missing_is_taken(content: str, layer: Path) -> None:
    store = store_of(layer)
    assert (store / "format").read_text() == "1\n"
    (store / "format").write_text(content)
    with started(layer) as prompts:
        assert prompts["a"].user == "one"
    (store / "format").unlink()
    assert store_of(layer) == store
    assert (store / "format").read_text() == "1\n"


# Old stores


def test_a_new_store_mentions_those_beside_it(
    layer: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store_of(layer)
    assert "store list" not in caplog.text
    moved = layer.rename(tmp_path / "moved")
    store_of(moved)
    assert "without a history or a hold. Beside it is" in caplog.text
    assert "other paths to them (1)" in caplog.text
    caplog.clear()
    store_of(moved)
    assert "store list" not in caplog.text


def test_stores_are_listed_with_what_they_hold(
    layer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LivePrompts(layer, environment="x") as prompts:
        prompts.activate(prompts.release.id)
        assert main(["store", "list", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["root"] == os.environ["YAMLGRAPH_PROMPTS_STORE"]
        (one,) = facts["stores"]
        assert (one["environment"], one["held"], one["processes"]) == ("x", True, 1)
        assert one["layers"] == [str(layer)]
        assert one["release"] == prompts.release.id
        assert 0 <= time.time() - one["used_s"] < 60
    later_pack(store_of_unstarted())
    assert main(["store", "list"]) == 0
    out = capsys.readouterr().out
    assert "another version" in out
    assert "held" in out


def store_of_unstarted() -> Path:
    (store,) = Path(os.environ["YAMLGRAPH_PROMPTS_STORE"]).iterdir()
    return store


def test_only_what_is_neither_held_nor_used_is_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [write(tmp_path / name, {"a.yaml": "user: one"}) for name in ("old", "held", "used")]
    stores = [store_of(layer) for layer in layers]
    with started(layers[1]) as prompts:
        prompts.activate(prompts.release.id)
    with LivePrompts(layers[2], environment="x") as used:
        assert used["a"]
        assert main(["store", "prune", "--days", "1"]) == 0
        assert "nothing to prune" in capsys.readouterr().err
        assert main(["store", "prune", "--days", "0"]) == 0
        assert stores[0].name in capsys.readouterr().out
        assert [store.is_dir() for store in stores] == [False, True, True]


def test_store_takes_list_or_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store"]) == 2
    assert main(["store", "list", "--store", str(tmp_path / "none")]) == 0
    assert "nothing to list" in capsys.readouterr().err
    with Store(None) as store:
        assert store.folder is None
