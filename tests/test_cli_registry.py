"""The commands and a database of either kind: what a bucket can do, and versions of prompts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import test_cli_push
from tests.conftest import wait_until
from tests.files import write
from tests.model_server import ModelServer
from tests.test_cli_push import GRAPH, PUSH, Run
from yamlgraph_prompts import Layer, LivePrompts
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.sql import SqlRegistry
from yamlgraph_prompts.sources.sql.opening import open_database

folder, run = test_cli_push.folder, test_cli_push.run  # fixtures
HERE = ("-e", "production", "--who", "Ada")


@pytest.fixture
def registry(database_url: str) -> SqlRegistry:
    opened = open_registry(database_url)
    assert isinstance(opened, SqlRegistry)
    return opened


@pytest.fixture
def say(folder: Path, run: Run, database_url: str) -> Callable[[str], None]:
    """`say("Hello")` pushes another greeting."""

    def say(text: str) -> None:
        write(folder, {"prompts/greeting.yaml": f"user: {text} {{name}}\n"})
        assert run("push", "prompts/", database_url, *PUSH)[0] == 0

    return say


def test_push_releases_diff_promote_rollback_and_export_work_as_with_a_bucket(
    folder: Path, run: Run, database_url: str, say: Callable[[str], None]
) -> None:
    say("Hi")
    say("Hello")
    code, out, _ = run("releases", database_url, "-e", "production")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["2", "1"]
    code, out, _ = run("diff", "1", "live", database_url, "-e", "production", "--json")
    assert (code, json.loads(out)["changed"]) == (1, ["greeting"])
    said = ("promote", database_url, "--from", "production", "--to", "staging", "-m", "Works")
    assert run(*said)[0] == 0
    code, out, _ = run("rollback", database_url, *HERE, "--json")
    entry = json.loads(out)["entry"]
    assert (code, entry["number"], entry["why"]) == (0, 3, "rollback")
    assert "(number 2) back to" in entry["message"]
    code, out, _ = run("rollback", database_url, *HERE, "--to", "2", "--json")
    assert json.loads(out)["entry"]["number"] == 4
    assert run("rollback", database_url, *HERE, "--to", "41")[0] == 2
    assert run("export", database_url, "out", "-e", "staging")[0] == 0
    assert (folder / "out/greeting.yaml").read_text() == "user: Hello {name}\n"


def test_import_and_export_keep_every_byte_and_doing_it_again_changes_nothing(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry
) -> None:
    text = "# Why: 'é'\r\nuser:   |-\n  Hi {name}\t\n\n# end without a newline"
    files = {"a/b/deep.yaml": text, "greeting.yaml": "user: Hi {name}\n"}
    write(folder, {f"in/{path}": data for path, data in files.items()})
    for _ in range(2):
        assert run("import", "in", database_url, *HERE)[0] == 0
    (entry,) = registry.history("production")
    assert (entry.why, entry.message) == ("import", "Imported")
    assert run("export", database_url, "out", "-e", "production")[0] == 0
    for path, data in files.items():
        assert (folder / "out" / path).read_bytes() == data.encode()
    _, out, _ = run("import", "out", database_url, "-e", "staging", "--json")
    assert json.loads(out)["entry"]["release"] == entry.release
    assert [one.number for one in registry.versions("a/b/deep")] == [1]


def test_a_version_is_made_listed_shown_activated_and_taken_out(
    run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    say("Hi")
    registry.create("greeting", b"# new\nuser: Hello {name}\n", who="Grace", message="Finer")
    code, out, _ = run("versions", "greeting", database_url)
    assert code == 0
    head, second, first = out.splitlines()
    assert head.split() == ["version", "made", "who", "from", "message", "active", "in"]
    assert second.split()[0] == "greeting@2"
    assert "Grace" in second
    assert "greeting@1" in second
    assert first.split()[0] == "greeting@1"
    assert " Ada " in first
    assert first.endswith("Kinder   production")
    code, out, _ = run("show", "greeting@2", database_url, *HERE[:2])
    assert "  # new\n  user: Hello {name}\n" in out
    code, out, _ = run(
        "show", "greeting@2", database_url, *HERE[:2], "--rendered", "--var", "name=Eve"
    )
    assert "Hello Eve" in out
    code, out, _ = run("activate", "greeting@2", database_url, *HERE)
    assert code == 0
    assert "is live for production" in out
    assert "changed  greeting" in out
    entry = registry.current("production")
    assert entry is not None
    assert (entry.why, entry.message, entry.who) == ("activate", "greeting 1 → 2", "Ada")
    code, out, _ = run("activate", "greeting@2", database_url, *HERE, "--json")
    assert json.loads(out)["status"] == "unchanged"
    code, out, _ = run("show", "greeting", database_url, "-e", "production")
    assert "user: Hello {name}" in out
    assert run("activate", "greeting@none", database_url, *HERE)[0] == 0
    assert registry.active("production") == {"bye": 1}
    code, out, _ = run("versions", "greeting", database_url, "--json")
    assert [one["active"] for one in json.loads(out)["versions"]] == [[], []]


def test_what_is_not_from_the_registry_comes_from_the_next_layer(
    folder: Path, run: Run, database_url: str, say: Callable[[str], None]
) -> None:
    say("Hi")
    write(folder, {"base/greeting.yaml": "user: Base {name}\n", "base/bye.yaml": "user: Base\n"})
    layers = Layer(database_url, allow_empty=True), "base"
    with LivePrompts(*layers, environment="production") as prompts:
        assert prompts["greeting"].user == "Hi {name}"
        assert run("activate", "greeting@none", database_url, *HERE)[0] == 0
        wait_until(lambda: prompts["greeting"].user == "Base {name}")
        code, _, err = run("activate", "bye@none", database_url, *HERE)
        assert (code, "No prompt would be left" in err) == (2, True)
        assert run("activate", "bye@none", database_url, *HERE, "--allow-empty")[0] == 0
        wait_until(lambda: prompts["bye"].user == "Base")
        assert run("activate", "greeting@1", "bye@1", database_url, *HERE)[0] == 0
        wait_until(lambda: prompts["greeting"].user == "Hi {name}")


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_version_that_breaks_something_is_kept_and_not_activated(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry, flags: tuple[str, ...],
    say: Callable[[str], None],
) -> None:  # fmt: skip
    say("Hi")
    write(folder, {"graph.yaml": GRAPH})
    registry.create("greeting", b"user: '{{ oops'\n", who="Ada")
    registry.create("greeting", b"user: Hi {name} of {town}\n", who="Ada")
    code, out, err = run("activate", "greeting@2", database_url, *HERE, *flags)
    assert code == 1
    assert "jinja" in (out + err).lower() or "template" in (out + err).lower()
    # Only the graph knows that nobody gives it a town.
    write(folder, {"graph.yaml": GRAPH.replace("prompt: greeting", "prompt: hello")})
    code, out, err = run("activate", "greeting@3", database_url, "graph.yaml", *HERE, *flags)
    assert code == 1
    assert "hello" in out + err
    assert registry.active("production")["greeting"] == 1
    assert len(list(registry.history("production"))) == 1
    # The layer below has what the registry does not.
    write(folder, {"base/hello.yaml": "user: Hello {name}\n"})
    words = ("activate", "greeting@3", database_url, "graph.yaml", "-l", database_url, "-l", "base")
    assert run(*words, *HERE, *flags)[0] == 0


def test_rollback_and_promote_are_checked_with_graphs_that_are_named(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    say("Hi")
    say("Hello")
    write(folder, {"graph.yaml": GRAPH.replace("prompt: greeting", "prompt: hello")})
    assert run("rollback", database_url, "graph.yaml", *HERE)[0] == 1
    words = ("promote", database_url, "--from", "production", "--to", "staging", "-m", "x")
    assert run(*words, "graph.yaml")[0] == 1
    assert registry.current("staging") is None
    write(folder, {"graph.yaml": GRAPH})
    assert run("rollback", database_url, "graph.yaml", *HERE)[0] == 0
    assert run(*words, "graph.yaml")[0] == 0


def test_who_activates_meanwhile_is_named(
    run: Run, database_url: str, registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    say("Hi")
    for text in (b"user: b\n", b"user: c\n"):
        registry.create("greeting", text, who="Ada")
    real = SqlRegistry.activate

    def late(self: SqlRegistry, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        real(self, "production", {"greeting": 2}, who="Grace", message="hurry")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(SqlRegistry, "activate", late)
    code, out, _ = run("activate", "greeting@3", database_url, *HERE, "--json")
    told = json.loads(out)
    assert (code, told["status"], told["winner"]["who"]) == (1, "refused", "Grace")
    assert registry.active("production")["greeting"] == 2


def test_what_was_live_at_a_time_is_found(
    run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    say("Hi")
    say("Hello")
    monday, tuesday = 1_700_000_000.0, 1_700_090_000.0

    def date(session: Any) -> None:
        for number, at_s in ((1, monday), (2, tuesday)):
            (facts,) = session.row("SELECT facts FROM prompts_entry WHERE number = ?", number)
            facts = json.dumps({**json.loads(facts), "at_s": at_s})
            session.run("UPDATE prompts_entry SET facts = ? WHERE number = ?", facts, number)

    registry._database.write(date)
    words = ("releases", database_url, "-e", "production", "--json", "--at")
    code, out, _ = run(*words, "2023-11-15 12:00+00:00")
    assert [one["number"] for one in json.loads(out)["releases"]] == [1]
    code, _, err = run(*words[:-2], "--at", "2023-11-14 12:00+00:00")
    assert code == 2
    assert "Nothing was live for production" in err
    assert "is no time" in run(*words, "last Tuesday")[2]
    assert "for the history of a registry" in run("releases", "-l", "prompts", "--at", "2023")[2]


def test_a_renamed_prompt_keeps_its_history(
    folder: Path, run: Run, database_url: str, say: Callable[[str], None]
) -> None:
    say("Hi")
    say("Hello")
    (folder / "prompts/greeting.yaml").rename(folder / "prompts/hello.yaml")
    assert run("push", "prompts", database_url, *PUSH)[0] == 0
    _, out, _ = run("versions", "hello", database_url, "--json")
    spelled = [(one["name"], one["number"]) for one in json.loads(out)["versions"]]
    assert spelled == [("hello", 1), ("greeting", 2), ("greeting", 1)]


def test_a_version_is_tried_in_a_run_before_anybody_gets_it(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None],
    model_server: ModelServer,
) -> None:  # fmt: skip
    say("Hi")
    write(folder, {"graph.yaml": GRAPH})
    registry.create("greeting", b"user: Hello {name}\n", who="Ada")
    registry.create("greeting", b"user: '{{ oops'\n", who="Ada")
    words = ("run", "graph.yaml", "--environment", "production", "--var", "name=Eve", "--prompt")
    code, out, err = run(*words, "greeting@2", "-l", database_url)
    assert code == 0, out + err
    assert model_server.texts() == ["Hello Eve"]
    code, _, err = run(*words, "greeting@3", "-l", database_url)
    assert code == 2
    assert "The prompts were rejected." in err
    assert "No layer has numbered versions" in run(*words, "greeting@2", "-l", "prompts")[2]
    assert registry.active("production")["greeting"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("versions", "URL"), "the name of one prompt, not none"),
        (("versions", "none", "URL"), "There is no prompt 'none'"),
        (("versions", "a"), "versions needs the URL of one registry"),
        (("show", "greeting@9", "URL"), "There is no version 9 of prompt 'greeting'"),
        (("show", "greeting@1", "bye", "URL"), "'bye' is no version of a prompt."),
        (("activate", "URL"), "activate needs versions, and none was named."),
        (("activate", "ab12", "URL"), "'ab12' is no version of a prompt."),
        (("activate", "greeting@9", "URL"), "There is no version 9 of prompt 'greeting'"),
        (("activate", "greeting@1", "greeting@2", "URL"), "Two versions of 'greeting'"),
        (("activate", "../up@1", "URL"), "There is no version 1"),
        (("migrate", "URL", "x"), "migrate takes only a URL, not x."),
        (("migrate", "sqlite:///{environment}.db"), "migrate needs a database"),
        (("backup", "URL"), "backup needs one file, not none."),
        (("restore", "none.db", "URL"), "There is no file none.db."),
        (("restore", "prompts/bye.yaml", "URL"), "the file is damaged"),
        (("purge", "URL", "--older-than", "soon"), "an age such as 180d"),
        (("purge", "URL", "--older-than", "1d", "--keep", "0"), "--keep of at least 1"),
        (("releases", "URL", "-e", "staging"), "Nothing is published for staging"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    run: Run, database_url: str, say: Callable[[str], None], words: tuple[str, ...], told: str
) -> None:
    say("Hi")
    given = [database_url if word == "URL" else word for word in words]
    takes_one = words[0] in ("show", "activate") and "-e" not in words
    environment = ("-e", "production") if takes_one else ()
    code, out, err = run(*given, *environment)
    assert code == 2
    assert told in err
    assert not out


# Upkeep


def test_migrate_makes_the_tables_and_says_from_what_to_what(run: Run, database_url: str) -> None:
    code, out, _ = run("migrate", database_url)
    assert code == 0
    assert out.strip().endswith("is 0 → 1.")
    assert "1, as it was" in run("migrate", database_url)[1]


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_is_a_database_and_goes_into_an_empty_one_of_either_kind(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry, target: str,
    say: Callable[[str], None], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    say("Hi")
    registry.create("greeting", b"user: \xff\0\n", who="Ada", metadata={"ticket": 7})
    say("Hello")
    code, out, _ = run("backup", database_url, "copy.db", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == {
        "version": 4, "release": 2, "entry": 2, "change": 3, "active": 2,
    }  # fmt: skip
    assert [path.name for path in folder.glob("*copy.db*")] == ["copy.db"]
    assert "is there already" in run("backup", database_url, "copy.db")[2]
    again = "sqlite:///again.db"
    if target == "postgresql":
        server = request.getfixturevalue("postgres_server")
        server.ask("DROP SCHEMA IF EXISTS again CASCADE; CREATE SCHEMA again")
        again = server.url("again")
    assert run("restore", "copy.db", again)[0] == 0
    for url in ("sqlite:///copy.db", again):
        other = open_registry(url)
        assert isinstance(other, SqlRegistry)
        assert list(other.history("production")) == list(registry.history("production"))
        assert other.versions("greeting") == registry.versions("greeting")
        assert other.version("greeting", 2).data == b"user: \xff\0\n"
        entry = other.current("production")
        assert entry is not None
        assert other.get(entry.release)["greeting"].data == b"user: Hello {name}\n"
    # Its numbers go on.
    assert other.create("greeting", b"user: x\n", who="Ada").number == 4
    assert other.activate("production", {"greeting": 4}, who="Ada").number == 3
    code, _, err = run("restore", "copy.db", again)
    assert code == 2
    assert "is not empty, so nothing was restored" in err


def test_a_backup_is_of_one_moment_though_others_write(
    folder: Path, run: Run, database_url: str, registry: SqlRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("yamlgraph_prompts.registry.sql_upkeep.BATCH", 3)
    for number in range(10):
        registry.create(f"p{number}", b"user: x\n", who="Ada")
    registry.activate("production", {"p0": 1}, who="Ada")
    stop = threading.Event()

    def write_on() -> None:
        number = 2
        while not stop.is_set():
            made = registry.create("p0", f"user: {number}\n".encode(), who="Ada")
            registry.activate("production", {"p0": made.number}, who="Ada")
            number += 1

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for number in range(3):
            time.sleep(0.05)
            assert run("backup", database_url, f"{number}.db")[0] == 0
            copy = open_registry(f"sqlite:///{number}.db")
            assert isinstance(copy, SqlRegistry)
            entry = copy.current("production")
            assert entry is not None
            live = copy.active("production")["p0"]
            assert copy.get(entry.release)["p0"].data == copy.version("p0", live).data
            assert len(copy.versions("p0")) in (live, live + 1)
            assert len(list(copy.history("production"))) == entry.number
    finally:
        stop.set()
        thread.join()


def test_a_backup_that_fails_leaves_no_file(
    folder: Path, run: Run, database_url: str, say: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    say("Hi")
    before = {path.name for path in folder.iterdir()}
    copy = "yamlgraph_prompts.registry.sql_upkeep._copy"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(copy, interrupted)
        assert run("backup", database_url, "copy.db")[0] == 130
    assert {path.name for path in folder.iterdir()} == before
    assert "There is no folder none." in run("backup", database_url, "none/copy.db")[2]
    assert "is not there" in run("backup", "sqlite:///other.db", "copy.db")[2]


def aged(registry: SqlRegistry, days: float) -> None:
    """Make everything that is there older."""
    by_s = days * 86400

    def age(session: Any) -> None:
        session.run("UPDATE prompts_version SET at_s = at_s - ?", by_s)
        session.run("UPDATE prompts_release SET at_s = at_s - ?, used_s = used_s - ?", by_s, by_s)
        session.run("UPDATE prompts_entry SET at_s = at_s - ?", by_s)

    registry._database.write(age)


def test_purge_removes_what_nobody_needs_and_only_with_yes(
    run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    for text in ("1", "2", "3", "4"):
        say(text)
    registry.create("greeting", b"user: never live\n", who="Ada")
    old = [entry.release for entry in registry.history("production")]
    aged(registry, 100)
    say("5")
    words = ("purge", database_url, "--older-than", "90d", "--keep", "2", "--json")
    found = json.loads(run(*words)[1])
    assert (found["done"], found["releases"], found["versions"]) == (False, 3, 4)
    assert registry.version("greeting", 1).data is not None
    # Used lately, for a thread that was pinned to it.
    sql = "UPDATE prompts_release SET used_s = ? WHERE id = ?"
    registry._database.write(lambda session: session.run(sql, time.time(), old[2]))
    found = json.loads(run(*words, "--yes")[1])
    assert (found["done"], found["releases"], found["versions"]) == (True, 2, 3)
    kept = {one.number: one.data for one in map(_whole(registry), registry.versions("greeting"))}
    assert [number for number, data in kept.items() if data is None] == [5, 3, 1]
    assert len(list(registry.history("production"))) == 5
    code, _, err = run("rollback", database_url, *HERE, "--to", "1")
    assert code == 2
    assert f"Release {old[-1][:12]} was purged" in err
    code, _, err = run("activate", "greeting@1", database_url, *HERE)
    assert "Version 1 of prompt 'greeting' was purged" in err
    assert "was purged" in run("show", "greeting@1", database_url, "-e", "production")[2]
    # The same content is the same version.
    say("1")
    assert registry.active("production")["greeting"] == 1
    entry = registry.current("production")
    assert entry is not None
    assert registry.get(entry.release).id == entry.release == old[-1]


def test_purge_spares_what_was_live_within_the_time(
    run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    say("1")
    aged(registry, 400)
    say("2")
    aged(registry, 50)
    say("3")
    # The first was live until 50 days ago.
    for age, gone in (("90d", 0), ("30d", 1)):
        words = ("purge", database_url, "--older-than", age, "--keep", "1", "--json")
        assert json.loads(run(*words)[1])["releases"] == gone


def _whole(registry: SqlRegistry) -> Callable[[Any], Any]:
    return lambda one: registry.version(one.name, one.number)


def test_a_schema_of_another_version_is_not_copied(
    run: Run, database_url: str, registry: SqlRegistry, say: Callable[[str], None]
) -> None:
    say("Hi")
    registry._database.write(lambda session: session.run("UPDATE prompts_schema SET version = 99"))
    code, _, err = run("backup", database_url, "copy.db")
    assert code == 2
    assert "is 99, and 1 is expected" in err
    assert "ahead" in run("migrate", database_url)[2]
    assert open_database(database_url).schema() == 99
