"""An OpenAI-compatible model server on loopback for tests: records each request, answers by rule.

It needs no network and no key, and it never thinks: the same request always gets the same answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 30.0


@dataclass(frozen=True)
class Request:
    """One recorded chat completion request; `raw` is its body byte for byte."""

    raw: bytes
    body: Mapping[str, Any] = field(repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body["messages"])

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def tools(self) -> list[dict[str, Any]]:
        return list(self.body.get("tools") or ())

    @property
    def response_format(self) -> dict[str, Any] | None:
        return self.body.get("response_format")

    @property
    def temperature(self) -> float | None:
        return self.body.get("temperature")

    @property
    def text(self) -> str:
        """The texts of all messages, joined by newlines."""
        return "\n".join(_content(message) for message in self.messages)


@dataclass(frozen=True)
class Answer:
    """A scripted answer to each request whose text holds `when` (and whose model is `model`).

    Args:
        when: A part of the request's text.
        text: The answer; None leaves it to the default rule.
        fields: Values for the object that a JSON schema asks for.
        tools: The names of the tools to call, as long as no tool has answered yet.
        model: Only for this model.
        delay_s: How long to wait first, in seconds.
        together: Wait until this many requests that match `when` have come, so that every
            branch of a race is recorded before one of them wins.
        status: The HTTP status; anything but 200 is an error.
        times: How often it serves; None for always.
    """

    when: str = ""
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    model: str | None = None
    delay_s: float = 0.0
    together: int = 0
    status: int = 200
    times: int | None = None

    def fits(self, request: Request) -> bool:
        return self.when in request.text and self.model in (None, request.model)


class Gate:
    """Holds the requests that match until `open()`."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait_reached(self, timeout_s: float = WAIT_S) -> None:
        """Return when a request is being held."""
        if not self.reached.wait(timeout_s):
            raise TimeoutError(f"No request with {self.when!r} came within {timeout_s} s.")

    def open(self) -> None:
        self.opened.set()


class ModelServer:
    """The server: `with ModelServer() as server: server.url`.

    `requests` are the recorded requests in the order of their arrival, `texts()` their texts.
    `fields` steers the objects that JSON schemas ask for: ``server.fields["intent"] = "refund"``.
    """

    def __init__(self, port: int = 0) -> None:
        self.fields: dict[str, Any] = {}
        self.delay_s = 0.0
        self._answers: list[Answer] = []
        self._used: dict[int, int] = {}
        self._gates: list[Gate] = []
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._http = _Http(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        with self._changed:
            for gate in self._gates:
                gate.open()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL, with ``/v1``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[Request]:
        with self._changed:
            return list(self._requests)

    def texts(self) -> list[str]:
        return [request.text for request in self.requests]

    def answer(self, *answers: Answer) -> None:
        """Add scripted answers; the first that fits a request serves."""
        with self._changed:
            self._answers += answers

    def clear(self) -> None:
        """Forget the recorded requests, keep the script."""
        with self._changed:
            self._requests.clear()
            self._used.clear()

    def reset(self) -> None:
        """Forget every request, answer and setting. A gate lasts as long as its block."""
        with self._changed:
            self._requests.clear()
            self._answers.clear()
            self._used.clear()
            self.fields.clear()
            self.delay_s = 0.0
            self._changed.notify_all()

    @contextmanager
    def gate(self, when: str = "") -> Iterator[Gate]:
        """Hold the requests whose text has `when`, at the latest until the block ends."""
        gate = Gate(when)
        with self._changed:
            self._gates.append(gate)
        try:
            yield gate
        finally:
            gate.open()
            with self._changed, suppress(ValueError):
                self._gates.remove(gate)

    def wait_for(self, count: int, timeout_s: float = WAIT_S) -> list[Request]:
        """Return when at least `count` requests have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came.")
            return list(self._requests)

    def respond(self, raw: bytes) -> tuple[int, dict[str, Any]]:
        """Record one request body; the status and the message that answers it."""
        request = Request(raw, json.loads(raw))
        with self._changed:
            self._requests.append(request)
            answer = self._scripted(request)
            gates = [gate for gate in self._gates if gate.when in request.text]
            self._changed.notify_all()
        for gate in gates:
            gate.reached.set()
            gate.opened.wait(WAIT_S)
        if answer.together:
            self._wait_together(answer)
        if delay_s := answer.delay_s or self.delay_s:
            time.sleep(delay_s)
        if answer.status != 200:
            return answer.status, {"role": "assistant", "content": "scripted failure"}
        return 200, _message(request, answer, {**self.fields, **answer.fields})

    def _scripted(self, request: Request) -> Answer:
        for number, answer in enumerate(self._answers):
            used = self._used.get(number, 0)
            if answer.fits(request) and (answer.times is None or used < answer.times):
                self._used[number] = used + 1
                return answer
        return Answer()

    def _wait_together(self, answer: Answer) -> None:
        def arrived() -> bool:
            count = sum(answer.when in request.text for request in self._requests)
            return count >= answer.together or not self._answers

        with self._changed:
            self._changed.wait_for(arrived, WAIT_S)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _message(request: Request, answer: Answer, fields: Mapping[str, Any]) -> dict[str, Any]:
    if calls := _tool_calls(request, answer):
        return {"role": "assistant", "content": None, "tool_calls": calls}
    return {"role": "assistant", "content": _text(request, answer, fields)}


def _text(request: Request, answer: Answer, fields: Mapping[str, Any]) -> str:
    if answer.text is not None:
        return answer.text
    wanted = request.response_format or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(minimal(wanted["json_schema"]["schema"], fields))
    if wanted.get("type") == "json_object":
        return json.dumps(dict(fields))
    users = [_content(m) for m in request.messages if m["role"] == "user"]
    return f"echo: {users[-1] if users else ''}"


def _tool_calls(request: Request, answer: Answer) -> list[dict[str, Any]]:
    offered = {tool["function"]["name"]: tool["function"] for tool in request.tools}
    if not offered or any(message["role"] == "tool" for message in request.messages):
        return []
    choice = request.body.get("tool_choice")
    if isinstance(choice, dict):
        names: tuple[str, ...] = (choice["function"]["name"],)
    elif answer.text is not None:
        return []
    else:
        names = answer.tools or (next(iter(offered)),)
    return [
        {
            "id": f"call_{hashlib.sha256(request.raw).hexdigest()[:12]}_{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": json.dumps(
                    minimal(offered[name].get("parameters") or {}, answer.fields)
                ),
            },
        }
        for number, name in enumerate(names)
    ]


def minimal(schema: Mapping[str, Any], fields: Mapping[str, Any] | None = None) -> Any:
    """The smallest value that a JSON schema allows; `fields` gives properties by name."""
    return _minimal(schema, schema.get("$defs") or {}, fields or {}, "value")


def _minimal(
    schema: Mapping[str, Any], defs: Mapping[str, Any], fields: Mapping[str, Any], name: str
) -> Any:
    if "$ref" in schema:
        return _minimal(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, fields, name)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(key):
            real = [option for option in options if option.get("type") != "null"]
            return _minimal(real[0] if real else {"type": "null"}, defs, fields, name)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        properties: Mapping[str, Any] = schema.get("properties") or {}
        return {
            key: fields[key] if key in fields else _minimal(value, defs, fields, key)
            for key, value in properties.items()
        }
    if kind == "array":
        count = int(schema.get("minItems", 1))
        return [_minimal(schema.get("items") or {}, defs, fields, name)] * count
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    return name.ljust(int(schema.get("minLength", 0)), ".")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], model: ModelServer) -> None:
        self.model = model
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, such as the loser of a race, is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("/models"):
            return self._send(200, {"object": "list", "data": [{"id": "test", "object": "model"}]})
        return self._send(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.endswith("/chat/completions"):
            return self._send(404, {"error": {"message": "no such page"}})
        status, message = self.server.model.respond(raw)
        if status != 200:
            return self._send(status, {"error": {"message": message["content"]}})
        body = json.loads(raw)
        facts = _facts(raw, body)
        if body.get("stream"):
            return self._stream(facts, message, body)
        choice = {"index": 0, "message": message, "finish_reason": _finish(message)}
        return self._send(
            200, {**facts, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
        )

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _stream(
        self, facts: Mapping[str, Any], message: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in _chunks(message, body):
            event = {**facts, "object": "chat.completion.chunk", **chunk}
            self._chunk(f"data: {json.dumps(event)}\n\n".encode())
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def _facts(raw: bytes, body: Mapping[str, Any]) -> dict[str, Any]:
    number = hashlib.sha256(raw).hexdigest()[:12]
    return {"id": f"chatcmpl-{number}", "created": 1, "model": body["model"]}


def _finish(message: Mapping[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _chunks(message: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    def delta(part: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": part, "finish_reason": finish}]}

    yield delta({"role": "assistant", "content": ""})
    for word in re.findall(r"\S+\s*|\s+", message.get("content") or ""):
        yield delta({"content": word})
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield delta({"tool_calls": [{"index": index, **call}]})
    yield delta({}, _finish(message))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {"choices": [], "usage": _USAGE}


def main() -> None:
    """Serve until interrupted: ``python -m tests.model_server --port 8123``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with ModelServer(parser.parse_args().port) as server:
        print(server.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
