"""An echo model for demos and tests: OpenAI's chat API on loopback that returns its input."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class EchoModel:
    """Answers each request with its messages, joined by `` | ``.

    Where a JSON schema or a tool call is asked for, the answer fits that: each text in it is the
    messages, each number 0, each list empty, each choice its first value.

    Example:
        >>> from urllib.request import Request, urlopen
        >>> with EchoModel() as model:
        ...     data = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
        ...     request = Request(f"{model.url}/chat/completions", json.dumps(data).encode())
        ...     answer = json.load(urlopen(request))
        >>> answer["choices"][0]["message"]["content"]
        'Hi'
    """

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL, with ``/v1``."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(_completion(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: the demo prints what happens."""


def _completion(request: Mapping[str, Any]) -> dict[str, Any]:
    text = " | ".join(str(message["content"]).strip() for message in request["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": text}
    wanted = (request.get("response_format") or {}).get("json_schema")
    if wanted:
        message["content"] = json.dumps(_fitting(wanted["schema"], text, wanted["schema"]))
    elif isinstance(request.get("tool_choice"), Mapping):
        name = request["tool_choice"]["function"]["name"]
        tools = (tool["function"] for tool in request["tools"])
        schema = next(tool["parameters"] for tool in tools if tool["name"] == name)
        call = {"name": name, "arguments": json.dumps(_fitting(schema, text, schema))}
        message["tool_calls"] = [{"id": "echo", "type": "function", "function": call}]
    return {
        "id": "echo",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _fitting(schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    """A value that a JSON schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _fitting((root.get("$defs") or root["definitions"])[name], text, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _fitting(schema[key][0], text, root)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    properties = schema.get("properties") or {}
    kind = schema.get("type", "object" if properties else "string")
    if kind == "object":
        return {name: _fitting(part, text, root) for name, part in properties.items()}
    plain = {"array": [], "boolean": False, "integer": 0, "null": None, "number": 0}
    return plain.get(kind, text)
