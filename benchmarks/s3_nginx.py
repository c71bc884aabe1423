"""An S3 server that costs almost nothing: nginx with files and canned list pages.

Needs nginx (`apt-get install nginx-light`). Signatures are not looked at; PUT is nginx's WebDAV,
which replaces a file at once and ignores `If-None-Match`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

BUCKET = "acme"
PREFIX = "prompts/"
PAGE = 1000
KEYS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}

_CONFIG = """\
worker_processes 2; daemon off; pid {home}/nginx.pid; error_log {home}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
  log_format asked escape=none '$status $request_method $request_uri';
  access_log {home}/access.log asked buffer=64k flush=100ms;
  sendfile on; tcp_nodelay on; keepalive_requests 1000000; etag on; client_max_body_size 100m;
  client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s; default_type application/octet-stream;
  map $args $page {{ default 0; ~continuation-token=(\\d+) $1; }}
  map $args $listing {{
    default ""; ~list-type=2 /lists/$page.xml; ~list-type=2.*(/|%2F)log(/|%2F) /lists/none.xml;
    ~(/|%2F)log(/|%2F).*list-type=2 /lists/none.xml;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024; root {www}; error_page 404 /lists/nothing.xml;
    location ~ ^/{bucket}/?$ {{ rewrite ^ $listing last; }}
    location /lists/ {{ internal; root {home}; default_type application/xml; etag off; }}
    location /{bucket}/ {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


class Nginx:
    """The server: its files, its URL, and what it was asked for."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.www = home / "www"
        self.bucket = self.www / BUCKET
        self.lists = home / "lists"
        for folder in (self.bucket / PREFIX, self.lists):
            folder.mkdir(parents=True)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.url = f"s3://{BUCKET}/{PREFIX}"
        self._log = home / "access.log"
        self._read = 0
        self.list_objects()
        _replace(self.lists / "nothing.xml", "<Error><Code>NoSuchKey</Code></Error>")

    def put_prompts(self, count: int, edition: str = "first") -> None:
        """`count` prompts of 2 KB."""
        for number in range(count):
            self.put_prompt(number, edition)
        self.list_objects()

    def put_prompt(self, number: int, edition: str) -> None:
        path = self.bucket / PREFIX / f"team{number % 20:02}/prompt{number:05}.yaml"
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(prompt_text(number, edition))
        os.replace(beside, path)

    def list_objects(self) -> None:
        """Make the list pages anew, as S3 would answer."""
        found = sorted(
            (str(path.relative_to(self.bucket)), path.stat())
            for path in self.bucket.rglob("*")
            if path.is_file()
        )
        pages = [found[at : at + PAGE] for at in range(0, len(found), PAGE)] or [[]]
        for number, page in enumerate(pages):
            more = number + 1 < len(pages)
            _replace(self.lists / f"{number}.xml", _page(page, number + 1 if more else None))
        _replace(self.lists / "none.xml", _page([], None))

    def asked(self) -> list[str]:
        """What was asked for since the last call, as ``GET /acme/key``; lists as ``LIST``."""
        time.sleep(0.25)
        lines = self._log.read_text().splitlines()
        new, self._read = lines[self._read :], len(lines)
        words = [line.split(" ") for line in new]
        return [
            "LIST" if "list-type=2" in uri else f"{status} {method} {uri}"
            for status, method, uri in words
        ]

    @contextmanager
    def away(self, delay_s: float) -> Iterator[None]:
        """The environment in which boto3 finds the server, `delay_s` away."""
        with ExitStack() as stack:
            endpoint = self.endpoint
            if delay_s:
                endpoint = stack.enter_context(_line(self.port, delay_s))
            before = {name: os.environ.get(name) for name in (*KEYS, "AWS_ENDPOINT_URL_S3")}
            os.environ.update(KEYS, AWS_ENDPOINT_URL_S3=endpoint)
            try:
                yield
            finally:
                for name, value in before.items():
                    os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def nginx(home: Path) -> Iterator[Nginx]:
    """nginx in `home`, until the block is left."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        # Whoever runs all benchmarks in a row gets the others.
        print("Left out: this benchmark needs nginx (apt-get install nginx-light).")
        sys.exit(0)
    home.mkdir(parents=True, exist_ok=True)
    server = Nginx(home)
    user = "user root;" if os.geteuid() == 0 else ""
    config = _CONFIG.format(home=home, www=server.www, port=server.port, bucket=BUCKET, user=user)
    (home / "nginx.conf").write_text(config)
    process = subprocess.Popen([program, "-c", str(home / "nginx.conf"), "-p", str(home)])
    try:
        _reachable(server.port)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def prompt_text(number: int, edition: str) -> str:
    filler = "\n".join(f"  Rule {line:02}: be brief, be kind, be right." for line in range(43))
    return f"system: |\n  Edition {edition} of {number}.\n{filler}\nuser: Hello {{name}}\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


@contextmanager
def _line(port: int, delay_s: float) -> Iterator[str]:
    listen = free_port()
    code = f"from benchmarks.s3_latency import serve; serve({listen}, {port}, {delay_s})"
    root = str(Path(__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{listen}"
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _reachable(port: int) -> None:
    ends = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)


def _page(found: list[tuple[str, os.stat_result]], token: int | None) -> str:
    lines = [
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        # The ETag that nginx gives a file.
        f"<ETag>&quot;{int(facts.st_mtime):x}-{facts.st_size:x}&quot;</ETag>"
        f"<Size>{facts.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, facts in found
    ]
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{PREFIX}</Prefix><KeyCount>{len(found)}</KeyCount>"
        f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(bool(token)).lower()}</IsTruncated>{more}"
        f"{''.join(lines)}</ListBucketResult>"
    )


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)
