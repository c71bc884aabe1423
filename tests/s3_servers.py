"""Real S3 servers for the tests, started from pip alone; each lives as long as the session."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_server import ScriptedS3, Server
from yamlgraph_prompts.sources.s3.client import connection
from yamlgraph_prompts.sources.s3.location import Location

KEY = "AKIDTESTING000000001"
SECRET = "a-secret-that-no-message-may-hold"


@dataclass(frozen=True)
class Shop:
    """A fresh bucket on a server."""

    endpoint: str
    bucket: str
    client: Any
    folder: Path
    """Where an rclone keeps it."""

    def url(self, prefix: str = "prompts/") -> str:
        return f"s3://{self.bucket}/{prefix}?endpoint={self.endpoint}"

    def put(self, path: str, data: str | bytes, prefix: str = "prompts/") -> None:
        body = data.encode() if isinstance(data, str) else data
        self.client.put_object(Bucket=self.bucket, Key=prefix + path, Body=body)

    def remove(self, path: str, prefix: str = "prompts/") -> None:
        self.client.delete_object(Bucket=self.bucket, Key=prefix + path)

    def clear(self) -> None:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for one in page.get("Contents", ()):
                self.client.delete_object(Bucket=self.bucket, Key=one["Key"])


def credentials(monkeypatch: pytest.MonkeyPatch, key: str = KEY) -> None:
    """Those that the servers know, and none of the machine's own."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
    }.items():
        monkeypatch.setenv(name, value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def begun(command: list[str], env: Mapping[str, str]) -> Iterator[None]:
    """A server, until the end of the block."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**clean, **env})
    try:
        yield
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def running(command: list[str], port: int, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """As `begun`; gives its URL once it answers."""
    with begun(command, env or {}):
        yield wait_for(f"http://127.0.0.1:{port}")


def wait_for(url: str) -> str:
    deadline = time.monotonic() + 60
    while not _answers(url):
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.05)
    return url


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as problem:
        problem.close()
    except OSError:
        return False
    return True


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (it is in the dependency group `test`)")
    return found


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def s3(scripted_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedS3]:
    """A server of our own; see `tests.scripted_server`."""
    credentials(monkeypatch)
    with ScriptedS3(scripted_server) as script:
        # So that no deadline strikes while boto3 is imported.
        connection(Location.parse(script.url()))
        yield script


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    port = free_port()
    with running([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port) as url:
        yield url


@pytest.fixture(scope="session")
def rclone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rclone")


@pytest.fixture(scope="session")
def rclone_url(rclone_folder: Path) -> Iterator[str]:
    port, folder = free_port(), rclone_folder
    serve = [_program("rclone"), "serve", "s3", "--config", str(folder / "none.conf")]
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with running([*serve, *options, str(folder)], port) as url:
        yield url


@pytest.fixture
def moto(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shop:
    credentials(monkeypatch)
    return shop(moto_url, tmp_path)


@pytest.fixture
def rclone(rclone_url: str, rclone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    credentials(monkeypatch)
    return shop(rclone_url, rclone_folder)


SWIFT_PIPELINE = "catch_errors cache listing_formats s3api tempauth slo proxy-server"


@pytest.fixture(scope="session")
def swift_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """OpenStack Swift with s3api: its own four servers, objects kept in memory."""
    folder = tmp_path_factory.mktemp("swift")
    ports = {kind: free_port() for kind in ("account", "container", "object", "proxy")}
    kinds = ("account", "container", "object")
    proxy = _program("swift-proxy-server")
    given = [word for kind in kinds for word in (kind, str(ports[kind]))]
    subprocess.run([sys.executable, "-c", _RINGS, str(folder), *given], check=True)
    with ExitStack() as servers:
        for kind in kinds:
            (folder / kind / "d1").mkdir(parents=True)
            use = "mem_object" if kind == "object" else kind
            (folder / f"{kind}.conf").write_text(
                f"{_swift_defaults(folder, ports[kind])}"
                f"devices={folder / kind}\nmount_check=false\n"
                f"[pipeline:main]\npipeline={kind}-server\n[app:{kind}-server]\nuse=egg:swift#{use}\n"
            )
        filters = SWIFT_PIPELINE.replace("cache", "memcache").split()[:-1]
        (folder / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix=x\n[storage-policy:0]\nname=p\ndefault=yes\n"
        )
        (folder / "proxy.conf").write_text(
            f"{_swift_defaults(folder, ports['proxy'])}[pipeline:main]\npipeline={SWIFT_PIPELINE}\n"
            "[app:proxy-server]\nuse=egg:swift#proxy\naccount_autocreate=true\n"
            + "".join(
                f"[filter:{name.replace('memcache', 'cache')}]\nuse=egg:swift#{name}\n"
                + _SWIFT_SETTINGS.get(name, "")
                for name in filters
            )
        )
        # The proxy answers without the others, so these need not be waited for one by one.
        settings = {"SWIFT_DIR": str(folder)}
        for kind in kinds:
            command = [_program(f"swift-{kind}-server"), str(folder / f"{kind}.conf")]
            servers.enter_context(begun(command, settings))
        url = servers.enter_context(
            running([proxy, str(folder / "proxy.conf")], ports["proxy"], settings)
        )
        for kind in kinds:
            wait_for(f"http://127.0.0.1:{ports[kind]}")
        yield url


_SWIFT_SETTINGS = {
    "memcache": "memcache_servers=127.0.0.1:1\n",
    "tempauth": f"user_acme_reader={SECRET} .admin\n",
    "s3api": "location=us-east-1\n",
}


def _swift_defaults(folder: Path, port: int) -> str:
    return (
        f"[DEFAULT]\nbind_ip=127.0.0.1\nbind_port={port}\nworkers=0\nswift_dir={folder}\n"
        f"user={getpass.getuser()}\n"
    )


_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, *given = sys.argv[1:]
for kind, port in zip(given[::2], given[1::2]):
    ring = RingBuilder(4, 1, 0)
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port),
                  "device": "d1", "weight": 1, "replication_ip": "127.0.0.1",
                  "replication_port": int(port), "meta": ""})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{kind}.ring.gz")
"""


@pytest.fixture
def swift(swift_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shop:
    credentials(monkeypatch, key="acme:reader")
    return shop(swift_url, tmp_path)


def shop(endpoint: str, folder: Path) -> Shop:
    made = _client(endpoint)
    bucket = f"acme-{uuid.uuid4().hex[:12]}"
    made.create_bucket(Bucket=bucket)
    return Shop(endpoint, bucket, made, folder / bucket)


@cache
def _client(endpoint: str) -> Any:
    """With the credentials of the first test, which are those of all; one takes 0.2 s to make."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            request_checksum_calculation="when_required", s3={"addressing_style": "path"}
        ),
    )
