"""No name and no foreign message forges a line, a name or a terminal's output, wherever written."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client
from tests.files import write
from yamlgraph_prompts import Event, Finding, LivePrompts, PromptsError
from yamlgraph_prompts._cli.check import annotation
from yamlgraph_prompts._cli.terminal import finding_lines, note, paint, say, table, tell_problem
from yamlgraph_prompts._model.events import tell
from yamlgraph_prompts._model.health import LayerState
from yamlgraph_prompts._model.release import Outcome
from yamlgraph_prompts._publishing.report import Report
from yamlgraph_prompts._text.escaping import LIMIT_CHARS, Lines, printable
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.audit import Audit
from yamlgraph_prompts.admin.bodies import FindingBody
from yamlgraph_prompts.admin.problems import Refusal, of_core
from yamlgraph_prompts.admin.security.auth import Who
from yamlgraph_prompts.errors import LayerUnavailable, PromptsRejected
from yamlgraph_prompts.metrics import Metrics

CHARACTERS = {
    "line ends": ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"],
    "C0": ["\0", "\a", "\b", "\t", "\x1b[2J", "\x1b]0;x\a", "\x1b[8m", "\x7f"],
    "C1": ["\x80", "\x84", "\x8d", "\x90", "\x9b31m", "\x9d0;x\x9c", "\x9f"],
    "bidi": ["\u202a", "\u202b", "\u202d", "\u202e", "\u2066", "\u2069", "\u200e", "\u061c"],
    "no width": ["\u200b", "\u200d", "\u2060", "\ufeff", "\xad", "\u180e", "\U000e0041"],
    "others": ["\xa0", "\u3000", "\ud800", "\ue000", "\ufdd0", "\ufff9", "\U0010ffff"],
}
FORGED = "name{0}2026-01-01 ERROR forged{0}"
logger = logging.getLogger("yamlgraph_prompts")


def logged(*call: Any, exc_info: bool = False) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.error(*call, exc_info=exc_info)
    finally:
        logger.removeHandler(handler)
    return out.getvalue().removesuffix("\n")


def printed(write_it: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    write_it()
    return out.getvalue()


def refused(text: str) -> Outcome:
    finding = Finding("error", "code", text, prompt=text, file=text, hint=text, graph=text)
    return Outcome("rejected", None, (finding,), 0.0, "call")


def events_of(text: str) -> str:
    told: list[Event] = []
    teller = Report("x", [told.append])
    teller.layer_trouble(LayerUnavailable(text, layer="memory:"))
    teller.outcome(refused("x"))
    return told[0].message + told[1].message


def audited(text: str) -> str:
    audit = Audit(lambda: None)
    audit.add(Who("ada", "author"), text, "put", "published", prompt=text, message=text)
    line = audit.newest(1, prompt=text)[0]
    return f"{line.address}{line.prompt}{line.message}{audit._lines[0].decode()}"


def measured(text: str) -> str:
    metrics = Metrics()
    state = LayerState(url=text, seen_s=None, trouble=None, writable=False, requests=1)
    metrics.syncing("x", lambda: [state])
    metrics(Event("layer-unavailable", text, environment=text, layer=text))
    lines = [line for line in metrics.exposed().decode().splitlines() if "forged" in line]
    return "".join(lines)


def exception_logged(text: str) -> str:
    def fails(_: Event) -> None:
        raise RuntimeError(text)

    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger.addHandler(handler)
    try:
        tell([fails], Event("held", "x"))
    finally:
        logger.removeHandler(handler)
    # A traceback has several lines, each of them indented.
    first, *more = out.getvalue().splitlines()[:-1] + out.getvalue().splitlines()[-1:]
    assert all(line.startswith("  ") for line in more[1:]), out.getvalue()
    return first + "".join(more)


def finding(text: str) -> Finding:
    return Finding("error", "code", text, prompt=text, file=text, hint=text, graph=text)


SINKS: dict[str, Callable[[str], str]] = {
    "printable": printable,
    "a log line": lambda text: logged("It was %s, %d times", text, 3),
    "a log line by name": lambda text: logged("It was %(what)s", {"what": text}),
    "a log line without arguments": lambda text: logged(text),
    "a log line with a path": lambda text: logged("%s is gone", Path(text.replace("\0", "\x01"))),
    "a log line with an error": lambda text: logged("no: %s", OSError(text)),
    "a log line with one of ours": lambda text: logged("no: %s", PromptsError(text, hint=text)),
    "a log line with a finding": lambda text: logged("%s", finding(text)),
    "a traceback": exception_logged,
    "a finding": lambda text: str(finding(text)),
    "an error": lambda text: str(PromptsError(text, hint=text)),
    "an error of a layer": lambda text: str(LayerUnavailable(text, layer="s3://b", hint=text)),
    "an error's arguments": lambda text: "".join(PromptsError(text).args),
    "an event": events_of,
    "an event's message": lambda text: Event("held", text).message,
    "the audit log": audited,
    "metrics": measured,
    "an error body": lambda text: _json(Refusal(409, "x", text, hint=text).body),
    "an error body of one of ours": lambda text: _json(of_core(PromptsError(text, hint=text)).body),
    "an error body with findings": lambda text: _json(
        Refusal(422, "x", "x", findings=[finding(text)]).body
    ),
    "a finding over HTTP": lambda text: _json(FindingBody.of(finding(text))),
    "GitHub": lambda text: annotation(finding(text)),
}  # fmt: skip


def _json(body: Any) -> str:
    # As a client has it after parsing, not as it is on the wire.
    return "".join(_texts(body.model_dump(mode="json")))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("characters", CHARACTERS)
def test_what_comes_from_elsewhere_is_escaped_where_it_is_written(
    sink: str, characters: str
) -> None:
    for character in CHARACTERS[characters]:
        shown = SINKS[sink](FORGED.format(character))
        assert shown.isprintable(), (character, shown)
        assert "forged" in shown


TERMINAL: dict[str, Callable[[str], object]] = {
    "say": say,
    "note": note,
    "paint": lambda text: say(paint(text, "bold")),
    "a table": lambda text: [say(line) for line in table([[text, "x"], ["y", text]])],
    "findings": lambda text: [say(line) for line in finding_lines([finding(text)])],
    "findings on standard error": lambda text: [
        note(line) for line in finding_lines([finding(text)])
    ],
    "an error": lambda text: tell_problem(PromptsError(text, hint=text)),
    "an error with findings": lambda text: tell_problem(
        PromptsRejected(text, outcome=refused(text))
    ),
}  # fmt: skip


@pytest.mark.parametrize("sink", TERMINAL)
@pytest.mark.parametrize("characters", CHARACTERS)
@pytest.mark.parametrize("coloured", [True, False])
def test_nothing_moves_the_cursor_of_a_terminal(
    sink: str, characters: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1" if coloured else "0")
    for character in CHARACTERS[characters]:
        text = FORGED.format(character)
        shown = printed(lambda text=text: TERMINAL[sink](text), monkeypatch)  # type: ignore[misc]
        for colour in ("0", "1", "2", "31", "32", "33", "36", "1;31"):
            assert coloured or f"\x1b[{colour}m" not in shown
            shown = shown.replace(f"\x1b[{colour}m", "")
        assert shown.replace("\n", "").isprintable(), shown
        assert not [line for line in shown.splitlines() if line.startswith("2026")], shown
        assert "forged" in shown


def test_a_prompt_is_shown_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from yamlgraph_prompts._cli.terminal import say_lines

    shown = printed(lambda: say_lines("one\r\n\ttwo\x1b[2J", indent="  "), monkeypatch)
    assert shown == "  one\n          two\\x1b[2J\n"


def test_no_text_can_pass_for_one_of_our_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    forged = paint("x", "red").replace("31", "8").removesuffix("m")
    assert "\x1b[8m" not in printed(lambda: say(forged[:10] + "8m"), monkeypatch)


@pytest.mark.parametrize(
    "text", ["plain", "Grüße, 世界, العربية, עברית, ไทย", "a\\x1b", "😀", "", "a  b", "100 %"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert logged("%s", text) == f"ERROR {text}"


def test_it_is_bounded_in_length_and_changes_nothing_twice() -> None:
    for text in ("a" * 10**6, "\x1b" * 10**6, "\n" * LIMIT_CHARS):
        shown = printable(text)
        assert len(shown) <= LIMIT_CHARS
        assert printable(shown) == shown
    assert len(str(PromptsError("x" * 10**6, hint="y" * 10**6))) < 2 * LIMIT_CHARS + 10
    assert len(logged("%s", "x" * 10**6)) < LIMIT_CHARS + 10


def test_our_own_lines_stay_lines_and_are_one_in_the_log() -> None:
    lines = Lines.of("one:", "two\nthree", Lines.of("four", "five"))
    assert lines == "one:\n  two\\nthree\n  four\n  five"
    assert str(PromptsError(lines)) == lines
    assert logged("%s", lines) == "ERROR one: two\\nthree | four | five"


def test_names_in_a_folder_are_escaped_in_what_is_logged_and_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "a\x1b[31m\u202e\n2026 ERROR forged"
    folder = write(tmp_path, {"prompts/ok.yaml": "user: x\n"})
    caplog.set_level(logging.DEBUG)
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as prompts:
        client = Client(admin_app(prompts, TOKENS))
        (folder / "prompts" / f"{name}.yaml").write_text("user: 'x\n")
        assert client.post("/reload").status == 422
        for answer in (
            client.post("/reload"),
            client.put("/prompts/ok", "user: y\n"),
            client.get("/prompts/%1b%0a%e2%80%ae"),
            client.get("/releases/%1b%0a"),
            client.get("/health/ready"),
        ):
            assert all(text.isprintable() for text in _texts(json.loads(answer.body))), answer.text
            assert b"\x1b" not in answer.body
    for record in caplog.records:
        lines = record.getMessage().split("\n")
        assert all(line.startswith("  ") for line in lines[1:])
        assert all(line.isprintable() for line in lines)


def test_the_page_shows_what_cannot_be_seen_and_edits_it_as_it_is(tmp_path: Path) -> None:
    hidden = "a\u202egnp.x\u2066b\u200b"
    folder = write(tmp_path, {"prompts/p.yaml": "user: x\n", "prompts/q.yaml": f"user: {hidden}\n"})
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as prompts:
        client = Client(admin_app(prompts, TOKENS))
        before = prompts.release.id
        assert client.put("/prompts/p", f"user: {hidden}\n").status == 200
        diff = client.get(f"/page/releases/{before}/diff/live").text
        assert hidden not in diff
        words = diff.replace("<ins>", "").replace("</ins>", "")
        assert "a\\u202egnp.x\\u2066b\\u200b" in words
        assert f"user: {hidden}\n</textarea>" in client.get("/page/prompts/q").text
        assert client.get("/prompts/q").json["text"] == f"user: {hidden}\n"
        assert "\u202e" not in client.get(f"/page/prompts/{'%e2%80%ae'}").text


@pytest.mark.parametrize(
    "text",
    [
        "user: 'Dear {secret plan of Anna Smith} yes'\n",
        "user: 'Dear {Anna Smith lives in Berlin'\n",
        "user: '{{ \"the secret of Anna Smith\"|nothing }}'\n",
        "user: '{{ x|nothing(\"the secret of Anna Smith\") }}'\n",
        "user: the secret of Anna Smith: is here\n",
        "user: 'the secret of Anna Smith\n",
        "the secret of Anna Smith\n",
        "user: [the secret of Anna Smith]\n",
        "the secret of Anna Smith: 1\nuser: {x: \n",
    ],
)
def test_no_text_of_a_prompt_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = write(tmp_path, {"prompts/p.yaml": "user: x\n"})
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as prompts:
        (folder / "prompts/p.yaml").write_text(text)
        prompts.publish()
    for record in caplog.records:
        for part in ("Anna", "Smith", "Berlin", "secret"):
            assert part not in record.getMessage()
