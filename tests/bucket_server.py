from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from tests.model_server import ModelServer  # noqa: F401


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    port = free_port()
    p = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait(url)
    yield url
    p.terminate()
    p.wait(10)


@pytest.fixture(scope="session")
def rclone_url(tmp_path_factory) -> Iterator[str]:
    from pathlib import Path
    port = free_port()
    exe = str(Path(sys.executable).parent / "rclone")
    folder = tmp_path_factory.mktemp("rclone")
    p = subprocess.Popen([exe, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "testing-key-1,testing-secret", str(folder)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait(url)
    yield url
    p.terminate()
    p.wait(10)


def wait(url):
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError


def _use(monkeypatch, url):
    for k, v in dict(AWS_ACCESS_KEY_ID="testing-key-1", AWS_SECRET_ACCESS_KEY="testing-secret", AWS_REGION="us-east-1",
                     AWS_DEFAULT_REGION="us-east-1", AWS_ENDPOINT_URL_S3=url, AWS_EC2_METADATA_DISABLED="true").items():
        monkeypatch.setenv(k, v)
    from yamlgraph_prompts.sources.s3_client import Place, client
    name = f"acme-{uuid.uuid4().hex[:10]}"
    client(Place(name, "")).create_bucket(Bucket=name)
    return f"s3://{name}/app"


@pytest.fixture
def moto(moto_url, monkeypatch):
    return _use(monkeypatch, moto_url)


@pytest.fixture
def rclone(rclone_url, monkeypatch):
    return _use(monkeypatch, rclone_url)
