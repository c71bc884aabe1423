"""The command and a bucket: push, promote, releases, diff, rollback, and what they refuse."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.files import write
from tests.s3_servers import Shop
from tests.test_bucket import registry_of
from yamlgraph_prompts._cli import main
from yamlgraph_prompts._cli.channels import person
from yamlgraph_prompts._cli.selection import one_selection
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.registry.channel import Channel, Pushed
from yamlgraph_prompts.registry.s3 import S3Registry

GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    stand_in(tmp_path)
    files = {"prompts/greeting.yaml": "user: Hi {name}\n", "prompts/bye.yaml": "user: Bye\n"}
    return write(tmp_path, files)


@pytest.fixture
def url(moto: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint)
    return f"s3://{moto.bucket}/app"


@pytest.fixture
def bucket(url: str) -> Channel:
    return Channel(url, environment="production")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("push", ...)` → (exit code, standard output, standard error)."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


PUSH = ("-e", "production", "-m", "Kinder", "--who", "Ada")


def live(bucket: Channel) -> Release:
    entry = bucket.current()
    assert entry is not None
    return bucket.get(entry.release)


def test_push_makes_the_checked_prompts_live(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    code, out, _ = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert sorted(live(bucket)) == ["bye", "greeting"]
    assert f"✓ {live(bucket).id[:12]} is live for production in {url}/ (number 1)." in out
    write(folder, {"prompts/greeting.yaml": "user: Hello {name}\n", "prompts/new.yaml": "user: N"})
    (folder / "prompts/bye.yaml").unlink()
    code, out, _ = run("push", "prompts", url, *PUSH)
    assert code == 0
    assert "number 2" in out
    for what, name in (("added", "new"), ("changed", "greeting"), ("removed", "bye")):
        assert f"  {what:<7}  {name}\n" in out


def test_pushing_the_same_again_says_that_it_is_live(folder: Path, run: Run, url: str) -> None:
    run("push", "prompts/", url, *PUSH)
    code, out, _ = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert "is live already for production" in out


def test_pushing_the_same_again_says_when_readers_could_not_see_it(
    folder: Path, run: Run, url: str, bucket: Channel, moto: Shop
) -> None:
    run("push", "prompts/", url, *PUSH)
    moto.remove(f".releases/packs/{live(bucket).id}.pack", prefix="app/")
    code, out, _ = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert "is live already for production" in out
    assert "Readers could not see it" in out


def test_layers_vars_and_the_environment_are_resolved_before_they_are_pushed(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    files = {
        "base/hello.yaml.j2": "user: Hello from {{ environment }}, {{ company }}\n",
        "base/vars.yaml": "company: Acme\n",
        "own/production/greeting.yaml": "user: Good day {name}\n",
    }
    write(folder, files)
    layers = ("-l", "own/{environment}", "-l", "base", "-l", "prompts")
    assert run("push", url, *layers, *PUSH)[0] == 0
    pushed = live(bucket)
    assert pushed["hello"].data == b"user: Hello from production, Acme\n"
    assert pushed["greeting"].data == b"user: Good day {name}\n"
    assert pushed["bye"].data == b"user: Bye\n"


def test_prompts_with_an_error_are_not_pushed(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    write(folder, {"prompts/greeting.yaml": 'user: "Hi {{ name }"\n'})
    code, _, err = run("push", "prompts/", url, *PUSH)
    assert code == 1
    assert "prompts/greeting.yaml" in err
    assert "template-syntax" in err
    assert "✗ Rejected: nothing was published." in err
    assert bucket.current() is None


def test_a_graph_named_beside_the_folder_is_checked_with_it(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    write(folder, {"graph.yaml": GRAPH, "prompts/greeting.yaml": "user: Hi {nmae}\n"})
    code, _, err = run("push", "prompts/", "graph.yaml", url, *PUSH, "--strict")
    assert code == 1
    assert "nmae" in err
    write(folder, {"prompts/greeting.yaml": "user: Hi {name}\n"})
    assert run("push", "prompts/", "graph.yaml", url, *PUSH)[0] == 0
    assert sorted(live(bucket)) == ["bye", "greeting"]


def test_a_change_of_provider_since_the_live_release_is_told(
    folder: Path, run: Run, url: str
) -> None:
    run("push", "prompts/", url, *PUSH)
    write(folder, {"prompts/bye.yaml": "user: Bye\nprovider: mistral\n"})
    code, _, err = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert "provider-changed" in err


def test_an_empty_folder_is_not_pushed(folder: Path, run: Run, url: str, bucket: Channel) -> None:
    (folder / "empty").mkdir()
    code, _, err = run("push", "empty", url, *PUSH)
    assert code == 2
    assert "There are no prompts in empty, so nothing was published." in err
    assert bucket.current() is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("push", "prompts/", "-m", "x"), "push needs the URL of one registry, and 0 were"),
        (("push", "s3://a/b", "s3://c/d", "-m", "x"), "needs the URL of one registry, and 2"),
        (("push", "s3://a/b", "-m", "x"), "push needs a graph or a layer"),
        (("push", "graph.yaml", "s3://a/b", "-m", "x"), "push needs prompts, and only a graph"),
        (("push", "prompts/", "s3://a/b"), "push needs a message"),
        (("promote", "--from", "a", "--to", "b", "-m", "x"), "promote needs the URL of one"),
        (("promote", "s3://a/b", "--from", "a", "--to", "b"), "promote needs a message"),
        (("promote", "s3://a", "1", "2", "--from", "a", "--to", "b"), "at most one release"),
        (("rollback", "-l", "prompts", "--to", "1"), "for the history of a registry"),
        (("rollback", "s3://a/b", "ab12"), "takes only graphs besides, not ab12"),
        (("activate", "a@1", "s3://a/b"), "keeps whole releases, and no versions of single"),
        (("versions", "a", "s3://a/b"), "keeps whole releases, and no versions of single"),
        (("show", "a@1", "s3://a/b"), "keeps whole releases, and no versions of single"),
        (("migrate", "s3://a/b"), "migrate needs a database, and s3://a/b is none."),
        (("follow", "s3://a/b"), "follow works on the store of one machine"),
        (("releases", "s3://a/b", "ab12"), "takes no further arguments, not ab12"),
        (("releases", "s3://a/b?colour=red"), "colour"),
        (("releases", "redis://a/b"), "No registry has such a URL: 'redis://a/b'."),
        (
            ("push", "prompts/", "gs://a/b", "-m", "x"),
            "Known: file://, postgresql://, s3://, sqlite://.",
        ),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    folder: Path, run: Run, words: tuple[str, ...], told: str
) -> None:
    write(folder, {"graph.yaml": GRAPH})
    code, out, err = run(*words)
    assert code == 2
    assert told in err
    assert not out


def test_the_message_is_asked_for_on_a_terminal(
    folder: Path, run: Run, url: str, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "because")
    assert run("push", "prompts/", url, "-e", "production")[0] == 0
    entry = bucket.current()
    assert entry is not None
    assert entry.message == "because"


def test_who_pushes_is_what_git_knows_else_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Said:
        who = None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("LOGNAME", "grace")
    assert person(Said) == "grace"
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "config", "user.name", "Ada Lovelace"], check=True)
    assert person(Said) == "Ada Lovelace"
    subprocess.run(["git", "config", "user.email", "ada@example.org"], check=True)
    assert person(Said) == "Ada Lovelace <ada@example.org>"


def overtake(monkeypatch: pytest.MonkeyPatch, url: str, rival: Release) -> None:
    """Let Grace push `rival` just before the next push."""
    real = Channel.push

    def overtaken(self: Channel, made: Release, **said: Any) -> Pushed:
        real(Channel(url, environment="production"), rival, message="hurry", who="Grace")
        return real(self, made, **said)

    monkeypatch.setattr(Channel, "push", overtaken)


def test_who_loses_a_race_is_told_and_the_command_fails(
    folder: Path, run: Run, url: str, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push", "prompts/", url, *PUSH)
    write(folder, {"prompts/greeting.yaml": "user: Mine {name}\n"})
    rival = Release.of([Prompt("greeting", b"user: Rival"), Prompt("bye", b"user: Bye\n")])
    overtake(monkeypatch, url, rival)
    code, out, err = run("push", "prompts/", url, *PUSH)
    assert code == 1
    assert "Grace was first" in err
    assert "It changed greeting." in err
    assert not out
    assert live(bucket).id == rival.id


def test_who_is_overtaken_while_the_prompts_are_being_read_is_told(
    folder: Path, run: Run, url: str, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = Release.of([Prompt("greeting", b"user: Rival")])

    def reading(*given: Any) -> Any:
        # It takes seconds where YAMLGraph has to be imported.
        bucket.push(rival, message="hurry", who="Grace")
        return one_selection(*given)

    monkeypatch.setattr("yamlgraph_prompts._cli.orders.one_selection", reading)
    code, _, err = run("push", "prompts/", url, *PUSH)
    assert code == 1
    assert "Grace was first" in err
    assert live(bucket).id == rival.id


def test_who_is_overtaken_before_there_was_any_release_is_told_too(
    folder: Path, run: Run, url: str, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = Release.of([Prompt("greeting", b"user: Rival")])
    overtake(monkeypatch, url, rival)
    code, _, err = run("push", "prompts/", url, *PUSH)
    assert code == 1
    assert "Grace was first" in err
    assert live(bucket).id == rival.id


def test_a_push_that_succeeded_is_no_failure_though_what_changed_cannot_be_said(
    folder: Path, run: Run, url: str, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push", "prompts/", url, *PUSH)
    write(folder, {"prompts/bye.yaml": "user: Farewell\n"})
    real = Channel.push

    def last_word(self: Channel, made: Release, **said: Any) -> Pushed:
        done = real(self, made, **said)
        away = LayerUnavailable("The connection was cut.", layer=url)
        monkeypatch.setattr(S3Registry, "get", lambda *_: (_ for _ in ()).throw(away))
        return done

    monkeypatch.setattr(Channel, "push", last_word)
    code, out, err = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert "is live for production" in out
    assert "The connection was cut. The changes since then are unknown." in err


def test_an_empty_id_is_not_taken_for_none(folder: Path, run: Run, url: str) -> None:
    for text in ("One", "Two"):
        write(folder, {"prompts/bye.yaml": f"user: {text}\n"})
        run("push", "prompts/", url, *PUSH)
    assert run("rollback", url, *PUSH, "--to", "")[0] == 2
    code, _, err = run("promote", url, "", "--from", "production", "--to", "staging", "-m", "x")
    assert code == 2
    assert "begins with ''" in err


def test_releases_shows_number_time_person_message_and_what_is_live(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    run("push", "prompts/", url, *PUSH)
    write(folder, {"prompts/bye.yaml": "user: Farewell\n"})
    run("push", "prompts/", url, "-e", "production", "-m", "Finer\nmore of it", "--who", "Grace")
    code, out, _ = run("releases", url, "-e", "production")
    assert code == 0
    head, newest, oldest = out.splitlines()
    assert head.split() == ["release", "since", "who", "prompts", "why", "message"]
    assert newest.split()[0] == "2"
    assert newest.split()[-2:] == ["Finer", "live"]
    assert live(bucket).id[:12] in newest
    assert oldest.split()[0] == "1"
    assert "Ada" in oldest
    assert oldest.endswith("Kinder")
    code, out, _ = run("releases", url, "-e", "production", "--json")
    told = json.loads(out)
    assert [line["live"] for line in told["releases"]] == [True, False]
    assert told["releases"][0]["message"] == "Finer\nmore of it"
    assert told["behind"] is False


def test_a_long_history_is_shown_whole_with_all(run: Run, url: str, bucket: Channel) -> None:
    for number in range(23):
        made = Release.of([Prompt("greeting", f"user: {number}".encode())])
        bucket.push(made, message=f"m{number}", who="Ada")
    code, out, err = run("releases", url, "-e", "production")
    assert (code, len(out.splitlines())) == (0, 21)
    assert "--all (3 more)" in err
    code, out, err = run("releases", url, "-e", "production", "--all")
    assert (code, len(out.splitlines()), err) == (0, 24, "")


def test_no_entry_of_the_history_is_shown_as_more_than_a_line(
    run: Run, url: str, bucket: Channel
) -> None:
    made = Entry.of("a" * 64, number=1, who="Eve\n9  forged", why="push\nx", prompts=1)
    registry_of(bucket)._log("production").append(made, conditional=True)
    code, out, _ = run("releases", url, "-e", "production")
    assert code == 0
    assert len(out.splitlines()) == 2


def test_older_entries_that_are_gone_are_not_promised(run: Run, url: str, bucket: Channel) -> None:
    made = Entry.of("a" * 64, number=9, who="Ada", message="first that is left", prompts=1)
    registry_of(bucket)._log("production").append(made, conditional=True)
    assert "--all" not in run("releases", url, "-e", "production")[2]


def test_releases_says_when_readers_do_not_see_the_last_one(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    run("push", "prompts/", url, *PUSH)
    registry_of(bucket)._objects.put("production/current", b"")
    assert "Readers do not see the last one yet" in run("releases", url, "-e", "production")[2]
    code, out, _ = run("push", "prompts/", url, *PUSH)
    assert code == 0
    assert "Readers could not see it, because its push was interrupted" in out
    assert run("releases", url, "-e", "production")[2] == ""


def test_a_second_rollback_of_a_bucket_says_what_it_undoes(
    run: Run, url: str, bucket: Channel
) -> None:
    for text in ("good", "bad"):
        release = Release.of([Prompt("greeting", f"user: {text}".encode())])
        bucket.push(release, message="m", who="Ada")
    words = ("rollback", url, "-e", "production", "-m", "bad")
    assert "Ada rolled back" not in run(*words, "--who", "Ada")[2]
    code, _, err = run(*words, "--who", "Grace")
    assert code == 0
    assert f"Ada rolled back from {release.id[:12]} 0 minutes ago: this makes it live" in err


def test_releases_of_an_empty_bucket_says_so(run: Run, url: str) -> None:
    code, out, err = run("releases", url, "-e", "production")
    assert (code, out) == (2, "")
    assert "Nothing is published for production in s3://" in err


def test_diff_compares_what_is_published_with_the_layers_and_with_each_other(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    run("push", "prompts/", url, *PUSH)
    first = live(bucket).id
    write(folder, {"prompts/bye.yaml": "user: Farewell\n"})
    code, out, _ = run("diff", "live", "layers", url, "-l", "prompts", "-e", "production")
    assert code == 1
    assert "-user: Bye\n+user: Farewell\n" in out
    run("push", "prompts/", url, *PUSH)
    code, out, _ = run("diff", first[:10], "live", url, "-e", "production", "--json")
    assert code == 1
    assert json.loads(out)["changed"] == ["bye"]
    assert run("diff", "live", "layers", url, "-l", "prompts", "-e", "production")[0] == 0
    assert run("diff", "live", "live", url, "-e", "staging")[0] == 2


def test_rollback_takes_the_one_before_or_the_one_that_is_named(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    ids = []
    for text in ("a", "b", "c"):
        write(folder, {"prompts/bye.yaml": f"user: {text}\n"})
        run("push", "prompts/", url, *PUSH)
        ids.append(live(bucket).id)
    code, out, _ = run("rollback", url, "-e", "production", "-m", "c is rude", "--who", "Ada")
    assert code == 0
    assert f"✓ {ids[1][:12]} is live for production" in out
    assert "changed  bye" in out
    assert live(bucket).id == ids[1]
    code, out, _ = run("rollback", url, "-e", "production", "-m", "b too", "--to", ids[0][:12])
    assert code == 0
    assert live(bucket).id == ids[0]
    assert [entry.why for entry in islice(bucket.history(), 2)] == ["rollback", "rollback"]
    assert run("rollback", url, "-e", "production", "-m", "x", "--to", "zz")[0] == 2
    code, out, _ = run("rollback", url, "-e", "production", "--to", "3")
    assert code == 0
    last = bucket.current()
    assert last is not None
    assert (last.release, last.number) == (ids[2], 6)
    assert last.message == f"From {ids[0][:12]} (number 5) back to {ids[2][:12]}"
    code, _, err = run("rollback", url, "-e", "production", "--to", "#41")
    assert code == 2
    assert "has no number #41" in err


def test_promote_makes_what_is_live_in_staging_live_in_production(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    run("push", "prompts/", url, "-e", "staging", "-m", "try", "--who", "Ada")
    said = ("--from", "staging", "--to", "production", "-m", "works", "--json")
    code, out, _ = run("promote", url, *said)
    assert code == 0
    told = json.loads(out)
    assert (told["status"], told["environment"]) == ("published", "production")
    assert told["entry"]["why"] == "promote from staging"
    assert live(bucket).id == told["entry"]["release"]
    assert json.loads(run("promote", url, *said)[1])["status"] == "unchanged"


def test_json_of_a_push_is_for_a_machine_whatever_becomes_of_it(
    folder: Path,
    run: Run,
    rclone: Shop,
) -> None:
    careless = rclone.url("app")
    code, out, err = run("push", "prompts/", careless, *PUSH, "--json")
    assert (code, json.loads(out)["status"]) == (1, "refused")
    assert "--single-writer" in json.loads(out)["why"]
    code, out, err = run("push", "prompts/", careless, *PUSH, "--json", "--single-writer")
    assert (code, json.loads(out)["status"]) == (0, "published")
    write(folder, {"prompts/bye.yaml": "user: '{{ bye }'\n"})
    code, out, err = run("push", "prompts/", careless, *PUSH, "--json")
    assert (code, json.loads(out)["status"]) == (1, "rejected")
    assert not err


def test_export_writes_what_is_live_in_a_bucket_as_ordinary_prompt_files(
    folder: Path, run: Run, url: str, bucket: Channel
) -> None:
    write(folder, {"prompts/router/classify.yaml": "user: Which\n"})
    run("push", "prompts/", url, *PUSH)
    first = live(bucket).id
    write(folder, {"prompts/bye.yaml": "user: Farewell\n"})
    run("push", "prompts/", url, *PUSH)
    code, out, _ = run("export", url, "-e", "production", "out/new")
    assert code == 0
    assert out == f"✓ 3 prompts of {live(bucket).id[:12]} in out/new\n"
    files = {p.relative_to("out/new").as_posix(): p.read_text() for p in Path("out").rglob("*.*")}
    assert files == {
        "bye.yaml": "user: Farewell\n",
        "greeting.yaml": "user: Hi {name}\n",
        "router/classify.yaml": "user: Which\n",
    }
    code, out, _ = run("export", url, "-e", "production", "--release", first[:9], "old", "--json")
    assert code == 0
    assert json.loads(out)["release"] == first
    assert Path("old/bye.yaml").read_text() == "user: Bye\n"
    code, _, err = run("export", url, "-e", "production", "old")
    assert code == 2
    assert "old is there already" in err
