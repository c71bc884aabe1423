"""A layer on a web server: the contract, and what is special about it."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.files import Heard, write
from yamlgraph_prompts import Layer, LayerNotFound, LayerUnavailable, LivePrompts
from yamlgraph_prompts.sources import http, http_index
from yamlgraph_prompts.sources.http import HttpSource
from yamlgraph_prompts.sources.http_index import index_of, write_index
from yamlgraph_prompts.testing import Fault, RemoteSourceContract, WebServer

SECRET = "a-secret-that-no-message-may-hold"


class HttpContract(RemoteSourceContract):
    """As an author of a source would write it."""

    def open(self, origin: str) -> HttpSource:
        return HttpSource(f"{origin}/prompts", deadline_s=self.deadline_s)

    def answers(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        return served(files)


class TestHttp(HttpContract):
    """The contract holds."""


def served(files: Mapping[str, bytes], at: str = "/prompts") -> dict[str, bytes]:
    below = {f"{at}/{path}": data for path, data in files.items()}
    return {f"{at}/index.json": index_of(files), **below}


@pytest.fixture
def server() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


def listed(server: WebServer, **files: object) -> None:
    """An index of whatever form."""
    document = {"version": 1, "files": files}
    server.answers = {"/prompts/index.json": json.dumps(document).encode(), **server.answers}


def facts(data: bytes, **more: object) -> dict[str, object]:
    return {"sha256": sha256(data).hexdigest(), "size": len(data), **more}


# Reading


def test_a_layer_on_a_web_server_is_followed(server: WebServer, tmp_path: Path) -> None:
    server.answers = served({"a.yaml": b"user: one"}, "/staging")
    layer = f"{server.origin}/{{environment}}"
    heard = Heard()
    with LivePrompts(
        layer, environment="staging", store=tmp_path, refresh_s=0.05, hooks=[heard]
    ) as prompts:
        assert prompts["a"].user == "one"
        assert prompts["a"].file == f"{server.origin}/staging/a.yaml"
        server.answers = served({"a.yaml": b"user: two"}, "/staging")
        wait_until(lambda: prompts["a"].user == "two")
        server.faults["*"] = Fault("status", 503)
        wait_until(lambda: heard.of("layer-unavailable"))
        assert prompts["a"].user == "two"
        server.faults.clear()
        wait_until(lambda: heard.of("layer-recovered"))
        assert prompts.health.layers[0].requests > 3


def test_news_is_fetched_once_and_not_again_by_the_publication(
    server: WebServer, tmp_path: Path
) -> None:
    server.answers = served({"a.yaml": b"user: one"})
    with LivePrompts(
        f"{server.origin}/prompts", environment="x", store=tmp_path, refresh_s=0.2
    ) as prompts:
        assert prompts["a"].user == "one"
        server.asked.clear()
        server.answers = served({"a.yaml": b"user: two"})
        wait_until(lambda: prompts["a"].user == "two")
        assert [status for _, status, _ in server.asked].count(200) == 2


def test_only_files_with_a_new_digest_are_fetched(server: WebServer) -> None:
    source = HttpSource(f"{server.origin}/prompts")
    files = {f"{number}.yaml": b"user: %d" % number for number in range(20)}
    server.answers = served(files)
    source.read()
    files |= {"3.yaml": b"user: new", "copy.yaml": b"user: 4"}
    server.answers = served(files)
    server.asked.clear()
    assert dict(source.read().files) == files
    assert [path for path, _, _ in server.asked] == ["/prompts/index.json", "/prompts/3.yaml"]


def test_files_may_lie_below_the_layer_by_other_names(server: WebServer) -> None:
    data = b"user: x"
    server.answers = {"/prompts/by digest/1": data}
    listed(server, **{"a.yaml": facts(data, url="by%20digest/1")})
    assert dict(HttpSource(f"{server.origin}/prompts/").read().files) == {"a.yaml": data}


@pytest.mark.parametrize(
    "url", ["../a.yaml", "/a.yaml", "//other.test/a", "a/../../b", "%2e%2e/a", "a?b", "a#b", 7, ""]
)
def test_a_file_elsewhere_is_refused(server: WebServer, url: object) -> None:
    listed(server, **{"a.yaml": facts(b"x", url=url)})
    with pytest.raises(LayerUnavailable, match="no index of prompts"):
        HttpSource(f"{server.origin}/prompts").read()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "index",
    [
        *(b"", b"[]", b"7", b"<html>Log in</html>", b"{", b"[" * 100_000, b'{"version": 2}'),
        *(b'{"version": 1}', b'{"version": 1, "files": [1]}', b'{"version": 1, "files": 7}'),
        b'{"version": 1, "files": {"a.yaml": {"size": 1}}}',
        b'{"version": 1, "files": {"a.yaml": {"size": true, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"version": 1, "files": {"a.yaml": {"size": -1, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"version": 1, "files": {"a.yaml": {"size": 1, "sha256": 7}}}',
        b'{"version": 1, "files": {"a.yaml": 7}}',
        b'{"version": ' + b"9" * 5000 + b"}",
    ],
    ids=range(16),
)
def test_what_is_no_index_is_refused(server: WebServer, index: bytes) -> None:
    server.answers = {"/prompts/index.json": index}
    with pytest.raises(LayerUnavailable, match=r"index\.json is no index of prompts") as caught:
        HttpSource(f"{server.origin}/prompts").read()
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


def test_an_index_of_too_many_files_is_refused(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_index, "LIMIT_ENTRIES", 2)
    server.answers = served(dict.fromkeys(["a.yaml", "b.yaml", "c.yaml"], b""))
    with pytest.raises(LayerUnavailable, match="more than 2 files"):
        HttpSource(f"{server.origin}/prompts").read()


def test_files_that_no_layer_has_are_told_and_not_fetched(server: WebServer) -> None:
    big = {"sha256": "0" * 64, "size": (1 << 20) + 1}
    listed(
        server,
        **{"../a.yaml": facts(b""), "n//b.yaml": facts(b""), "big.yaml": big, "c.yml": facts(b"")},
        **{".git/d.yaml": facts(b""), "README.md": facts(b""), "a\nb.yaml": facts(b"")},
    )
    snapshot = HttpSource(f"{server.origin}/prompts").read()
    assert dict(snapshot.files) == {}
    codes = sorted(finding.code for finding in snapshot.findings)
    assert codes == [*["escaping-name"] * 3, "ignored-file", "too-large"]
    assert all(str(finding).isprintable() for finding in snapshot.findings)
    assert len(server.asked) == 1


def test_a_layer_that_is_too_large_is_told(server: WebServer) -> None:
    huge = {"sha256": "0" * 64, "size": 1 << 20}
    listed(server, **{f"{number}.yaml": huge for number in range(65)})
    server.faults = {f"/prompts/{number}.yaml": Fault("status", 500) for number in range(65)}
    wanted, findings = http_index.entries_of(server.answers["/prompts/index.json"], "http://x/")
    assert len(wanted) == 64
    assert [finding.code for finding in findings] == ["too-large"]


def test_an_index_that_changes_while_it_is_read_is_read_again(server: WebServer) -> None:
    old, new = served({"a.yaml": b"user: old"}), served({"a.yaml": b"user: new"})
    source = HttpSource(f"{server.origin}/prompts")
    server.answers = {**old, "/prompts/a.yaml": new["/prompts/a.yaml"]}
    with pytest.raises(LayerUnavailable, match=r"a\.yaml is not what the index says"):
        source.read()
    assert [path for path, _, _ in server.asked].count("/prompts/index.json") == http.ATTEMPTS

    class Swapping(dict[str, bytes]):
        def get(self, path: str, default: object = None) -> object:  # type: ignore[override]
            if path == "/prompts/a.yaml":
                server.answers = new
                return new[path]
            return old[path]

    server.answers = Swapping(old)
    assert dict(source.read().files) == {"a.yaml": b"user: new"}


def test_retry_after_is_kept_to(server: WebServer) -> None:
    server.faults["*"] = Fault("status", 503, retry_after="7")
    with pytest.raises(LayerUnavailable) as caught:
        HttpSource(f"{server.origin}/prompts").read()
    assert caught.value.retry_after_s == 7.0
    server.faults["*"] = Fault("status", 503, retry_after="9" * 400)
    with pytest.raises(LayerUnavailable) as caught:
        HttpSource(f"{server.origin}/prompts").read()
    assert caught.value.retry_after_s is None


def test_a_redirect_on_the_same_host_is_followed(server: WebServer) -> None:
    server.answers = served({"a.yaml": b"user: x"})
    server.answers["/else where/index.json"] = server.answers["/prompts/index.json"]
    server.faults["/prompts/index.json"] = Fault("status", 307, "/else%20where/index.json")
    source = HttpSource(f"{server.origin}/prompts")
    assert dict(source.read().files) == {"a.yaml": b"user: x"}
    server.faults["/prompts/index.json"] = Fault("status", 302, "index.json")
    with pytest.raises(LayerUnavailable, match="redirects without end"):
        source.read()


def test_an_environment_that_is_not_there_names_the_layer(server: WebServer) -> None:
    prompts = LivePrompts(f"{server.origin}/{{environment}}", environment="prod", watch=False)
    with pytest.raises(LayerNotFound, match=r"There is no .*/prod/index\.json"):
        prompts.publish()


def test_an_optional_layer_may_be_missing(server: WebServer, tmp_path: Path) -> None:
    write(tmp_path, {"base/a.yaml": "user: base"})
    layers = (Layer(f"{server.origin}/over", optional=True), str(tmp_path / "base"))
    with LivePrompts(*layers, environment="x", store=tmp_path / "s", watch=False) as prompts:
        assert prompts["a"].user == "base"
        server.answers = served({"a.yaml": b"user: over"}, "/over")
        prompts.publish()
        assert prompts["a"].user == "over"


def test_no_thread_and_no_connection_is_left_after_a_reading(server: WebServer) -> None:
    server.answers = served({f"{number}.yaml": b"user: x%d" % number for number in range(50)})
    HttpSource(f"{server.origin}/prompts").read()
    wait_until(lambda: "yamlgraph-prompts-http" not in {t.name for t in threading.enumerate()})


# Where it may read, and secrets


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://prompts.acme.test/p", "https"),
        ("http://127.0.0.1.acme.test/p", "https"),
        ("https:///p", "no host"),
        ("https://acme.test:port/p", "port"),
        (f"https://ada:{SECRET}@acme.test/p", "user or a password"),
        (f"https://{SECRET}@acme.test/p", "user or a password"),
        (f"https://acme.test/p?token={SECRET}", "no part after"),
        (f"https://acme.test/p#{SECRET}", "no part after"),
        ("http://prompts.acme.test/p?insecure=1", "no part after"),
    ],
)
def test_a_url_that_is_not_safe_is_refused_and_shown_without_secrets(url: str, why: str) -> None:
    with pytest.raises(LayerUnavailable, match=why) as caught:
        LivePrompts(url, environment="x")
    assert SECRET not in str(caught.value)
    assert SECRET not in caught.value.layer


def test_credentials_go_to_their_own_host_only_and_are_never_shown(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    other = WebServer()
    other.answers = server.answers = served({"a.yaml": b"user: x"})
    said = f"other.test=Basic x; {server.origin[7:]}=Bearer {SECRET}"
    monkeypatch.setenv(http.AUTHORIZATION, said)
    for one in (server, other):
        HttpSource(f"{one.origin}/prompts").read()
    other.close()
    assert {headers.get("Authorization") for _, _, headers in server.asked} == {f"Bearer {SECRET}"}
    assert not any("Authorization" in headers for _, _, headers in other.asked)
    server.faults["*"] = Fault("status", 401)
    with pytest.raises(LayerUnavailable, match=http.AUTHORIZATION) as caught:
        HttpSource(f"{server.origin}/prompts").read()
    assert SECRET not in str(caught.value) + caplog.text
    for wrong in (f"Bearer {SECRET}", f"{server.origin[7:]}=a\n{SECRET}"):
        monkeypatch.setenv(http.AUTHORIZATION, wrong)
        with pytest.raises(LayerUnavailable, match="host=value") as caught:
            HttpSource(f"{server.origin}/prompts").read()
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_certificate_that_nobody_signed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = self_signed(tmp_path)
    server = WebServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    server.answers = served({"a.yaml": b"user: x"})
    url = f"https://localhost:{server._server.server_port}/prompts"
    try:
        with pytest.raises(LayerUnavailable, match="self-signed"):
            HttpSource(url).read()
        assert not server.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert dict(HttpSource(url).read().files) == {"a.yaml": b"user: x"}
    finally:
        server.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    key_file, file = folder / "key.pem", folder / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_file, file


# Writing an index


def test_an_index_is_written_for_a_folder(server: WebServer, tmp_path: Path) -> None:
    files = {"a.yaml": "user: x", "n/b ü.yaml.j2": "user: y", "README.md": "no prompt"}
    write(tmp_path, files)
    path = write_index(tmp_path)
    assert path == tmp_path / "index.json"
    assert path.stat().st_mode & 0o044 == 0o044
    document = json.loads(path.read_bytes())
    assert document["files"]["a.yaml"] == facts(b"user: x")
    server.answers = {
        f"/{one.relative_to(tmp_path).as_posix()}": one.read_bytes()
        for one in tmp_path.rglob("*")
        if one.is_file()
    }
    assert sorted(HttpSource(server.origin).read().files) == ["a.yaml", "n/b ü.yaml.j2"]
    assert path.read_bytes() == write_index(tmp_path).read_bytes()


def test_no_index_is_written_for_a_folder_that_no_layer_could_be(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "x" * ((1 << 20) + 1)})
    with pytest.raises(LayerUnavailable, match="1 MiB"):
        write_index(tmp_path)
    assert not (tmp_path / "index.json").exists()
