"""A layer in S3: loose files and published releases, and how many requests they take."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from tests.files import Heard
from tests.s3_servers import KEY, SECRET, Shop, credentials
from tests.scripted_server import Asked, Fault, Handler, ScriptedS3, Server, refused, silent
from yamlgraph_prompts import Layer, LiveGraph, live_graph
from yamlgraph_prompts._files.regular_file import LIMIT_FILE_BYTES
from yamlgraph_prompts._live import Pin
from yamlgraph_prompts._model.pack import encode_pack
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts.errors import LayerNotFound, LayerUnavailable, ReleaseNotFound
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.sources import (
    KeepsReleases,
    Source,
    layer_files,
    open_source,
)
from yamlgraph_prompts.sources.reader import LayerReader
from yamlgraph_prompts.sources.s3 import S3Source, loose, session
from yamlgraph_prompts.sources.s3.client import Connection, connection, forget
from yamlgraph_prompts.sources.s3.location import Location
from yamlgraph_prompts.sources.s3.objects import Objects
from yamlgraph_prompts.sources.s3.session import SignedBucket


def release(**prompts: str) -> Release:
    return Release.of(Prompt(name, text.encode()) for name, text in prompts.items())


def publish(s3: ScriptedS3, made: Release, channel: str = "production", number: int = 1) -> str:
    """What a push leaves behind."""
    s3.objects[f"prompts/.releases/packs/{made.id}.pack"] = encode_pack(made)
    pointer = json.dumps({"release": made.id, "number": number}).encode()
    s3.objects[f"prompts/.releases/{channel}/current"] = pointer
    return made.id


def published(s3: ScriptedS3, channel: str = "production") -> LayerReader:
    return LayerReader(Layer(s3.url()), channel, None)


def files(source: Source | LayerReader) -> dict[str, str]:
    return {path: data.decode() for path, data in source.read().files.items()}


# The URL


def test_region_endpoint_and_profile_may_stand_in_the_url() -> None:
    place = Location.parse(
        "s3://b/a/p?region=eu-north-1&endpoint=https://minio.example:9000&profile=x"
    )
    assert place == Location("b", "a/p/", "eu-north-1", "https://minio.example:9000", "x")


@pytest.mark.parametrize("url", ["s3://b/p", "s3://b/p/", "s3://b//p//"])
def test_a_prefix_is_the_same_with_and_without_its_slash(url: str) -> None:
    assert Location.parse(url).prefix == "p/"


@pytest.mark.parametrize("url", ["s3://b", "s3://b/"])
def test_a_whole_bucket_may_be_a_layer(url: str) -> None:
    assert Location.parse(url) == Location("b", "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:///prompts", "names no bucket"),
        ("s3://b/p?regoin=x", "regoin"),
        ("s3://b/p?endpoint=localhost:9000", "endpoint"),
        ("s3://b/p#1", "#"),
        (f"s3://{KEY}:{SECRET}@b/p", "credentials"),
        (f"s3://b/p?endpoint=https://{KEY}:{SECRET}@minio.example", "credentials"),
        (f"s3://b/p?endpoint=https://{SECRET}@minio.example", "credentials"),
        ("s3://b/p?region=a&region=b", "twice"),
        ("s3://b/p?addressing=odd", "addressing=odd"),
        ("s3://b/p?request_payer=me", "request_payer=me"),
        ("s3://arn:aws:s3:eu-north-1:123456789012:accesspoint/mine/p", "-s3alias"),
    ],
)
def test_an_url_that_is_none_says_what_is_wrong_with_it(url: str, words: str) -> None:
    with pytest.raises(LayerUnavailable, match=words) as caught:
        open_source(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in caught.value.layer


def test_the_layers_name_holds_no_parameters_and_two_servers_have_two_stores() -> None:
    one, other = (
        LayerReader(Layer(f"s3://b/p?endpoint=http://{host}:1"), "x", None) for host in ("a", "c")
    )
    assert one.url == other.url == "s3://b/p/"
    assert one.place != other.place


# The client


@pytest.mark.parametrize(
    ("style", "host"), [("virtual", "acme.s3.example"), ("path", "s3.example")]
)
def test_the_style_of_addresses_may_be_chosen(
    monkeypatch: pytest.MonkeyPatch, style: str, host: str
) -> None:
    credentials(monkeypatch)
    place = Location.parse(f"s3://acme/p?endpoint=http://s3.example&region=x&addressing={style}")
    client = connection(place).client
    address = client.generate_presigned_url("get_object", Params={"Bucket": "acme", "Key": "k"})
    assert urlsplit(address).netloc == host


@pytest.mark.parametrize("signed", [True, False])
def test_every_request_says_who_pays(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    if not signed:  # by boto3, as behind a proxy
        monkeypatch.setattr(SignedBucket, "of", lambda *_: None)
    s3.put(a="user: Hi")
    assert files(open_source(f"{s3.url()}&request_payer=requester")) == {"a.yaml": "user: Hi"}
    headers = [{name.lower(): value for name, value in one.headers.items()} for one in s3.asked]
    assert {one["x-amz-request-payer"] for one in headers} == {"requester"}
    assert all("x-amz-request-payer" in one["authorization"] for one in headers)


def encoded(encoding: str) -> Fault:
    """Objects that were uploaded with a Content-Encoding."""

    def fault(handler: Handler, asked: Asked) -> bool:
        data = handler.script.objects.get(asked.key)
        if data is not None:
            etag = hashlib.md5(data).hexdigest()
            handler.answer(200, data, {"ETag": f'"{etag}"', "Content-Encoding": encoding})
        return data is not None

    return fault


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "aws-chunked, gzip", "gzip, identity"])
def test_an_object_that_is_stored_compressed_is_unpacked(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, encoding: str, signed: bool
) -> None:
    if not signed:
        monkeypatch.setattr(SignedBucket, "of", lambda *_: None)
    s3.objects["prompts/a.yaml"] = gzip.compress(b"user: Hi")
    s3.fault = encoded(encoding)
    assert files(open_source(s3.url())) == {"a.yaml": "user: Hi"}


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (b"user: Hi", "gzip", "Content-Encoding is gzip and its data is not"),
        (gzip.compress(b"user: Hi", mtime=0)[:-9], "gzip", "cut off"),
        (b"user: Hi", "br", "Content-Encoding is 'br'"),
        (gzip.compress(b"x" * (2 << 20), mtime=0), "gzip", "unpacked it is larger"),
        (
            gzip.compress(gzip.compress(b"x" * (80 << 20), mtime=0), mtime=0),
            "gzip, gzip",
            "unpacked it is larger",
        ),
    ],
)
def test_what_cannot_be_unpacked_is_an_error_that_says_so(
    s3: ScriptedS3, data: bytes, encoding: str, words: str
) -> None:
    s3.objects["prompts/a.yaml"] = data
    s3.fault = encoded(encoding)
    with pytest.raises(LayerUnavailable, match=re.escape(words)) as caught:
        open_source(s3.url()).read()
    assert "a.yaml" in str(caught.value)


def test_a_real_servers_compressed_object_is_unpacked(moto: Shop) -> None:
    data = gzip.compress(b"user: Hi")
    moto.client.put_object(
        Bucket=moto.bucket, Key="zipped/a.yaml", Body=data, ContentEncoding="gzip"
    )
    assert files(open_source(moto.url("zipped/"))) == {"a.yaml": "user: Hi"}


@pytest.mark.parametrize("space", ["\u3000", "\u00a0", "\u202f"])
def test_a_name_with_an_odd_space_is_judged_as_in_a_folder(
    s3: ScriptedS3, tmp_path: Path, space: str
) -> None:
    name = f"a{space}b.yaml"
    (tmp_path / name).write_text("user: Hi")
    s3.objects[f"prompts/{name}"] = b"user: Hi"
    ours, theirs = (LayerReader(Layer(url), "x", None).read() for url in (s3.url(), tmp_path))
    assert ours.files == theirs.files
    assert [f.code for f in ours.findings] == [f.code for f in theirs.findings]


def test_equal_questions_have_one_client_and_other_credentials_another(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Location.parse(s3.url())
    first = connection(place)
    assert connection(Location.parse(s3.url("elsewhere/"))) is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER00000000002")
    second = connection(place)
    assert second is not first
    forget(place)
    assert connection(place) is not second


def test_the_endpoint_of_the_environment_counts(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(a="user: x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert files(open_source("s3://acme/prompts")) == {"a.yaml": "user: x"}


def test_a_profile_brings_its_credentials_and_its_endpoint(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3.put(a="user: x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(
        "[profile acme]\naws_access_key_id = AKIDPROFILE000000003\naws_secret_access_key = x\n"
        f"region = eu-west-1\nendpoint_url = {s3.endpoint}\n"
    )
    assert files(open_source("s3://acme/prompts?profile=acme")) == {"a.yaml": "user: x"}
    assert "AKIDPROFILE000000003/" in s3.asked[0].headers["Authorization"]
    assert "/eu-west-1/s3/" in s3.asked[0].headers["Authorization"]


def test_a_forked_process_makes_a_client_of_its_own(s3: ScriptedS3) -> None:
    s3.put(a="user: x")
    source = open_source(s3.url())
    before = connection(Location.parse(s3.url()))
    source.read()
    child = os.fork()
    if child == 0:
        s3.asked.clear()
        fresh = connection(Location.parse(s3.url())) is not before
        os._exit(0 if fresh and files(source) == {"a.yaml": "user: x"} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ScriptedS3, Path]]:
    """An https server, and the certificate that nobody knows yet."""
    credentials(monkeypatch)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    secret = key.private_bytes(pem, traditional, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(secret + made.public_bytes(pem))
    (tmp_path / "certificate.pem").write_bytes(made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server = Server()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with server, ScriptedS3(server) as script:
        script.put(a="user: x")
        yield script, tmp_path / "certificate.pem"


def test_a_server_is_trusted_with_the_bundle_that_boto3_takes_and_only_then(
    secure: tuple[ScriptedS3, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, certificate = secure
    url = f"s3://acme/prompts?endpoint=https://localhost:{script.server.server_address[1]}"
    with pytest.raises(LayerUnavailable, match="no secure connection"):
        open_source(url).read()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert files(open_source(url)) == {"a.yaml": "user: x"}
    assert {asked.headers["User-Agent"] for asked in script.asked} == {"yamlgraph-prompts"}


def test_a_kept_connection_that_was_reset_meanwhile_is_no_trouble(
    secure: tuple[ScriptedS3, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, certificate = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    publish(script, release(a="user: x"))
    url = f"s3://acme/prompts?endpoint=https://localhost:{script.server.server_address[1]}"
    reader = LayerReader(Layer(url), "production", None)
    reader.read()
    idle, gone = threading.Event(), threading.Event()

    def reset_when_idle(handler: Handler, asked: Asked) -> bool:
        handler.give(script, asked)
        idle.wait(10)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(handler.connection.detach())
        handler.close_connection = True
        gone.set()
        return True

    script.fault = reset_when_idle
    reader.read()
    idle.set()
    assert gone.wait(10)
    script.fault = None
    assert files(reader) == {"a.yaml": "user: x"}


def test_a_connection_that_was_idle_for_long_is_not_asked_again(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    def note(handler: Handler, asked: Asked) -> bool:
        ports.append(handler.client_address[1])
        return False

    s3.fault = note
    publish(s3, release(a="user: x"))
    reader = published(s3)
    for _ in range(2):
        reader.read()
    assert len(set(ports)) == 1
    # What stands between may have forgotten it by then, and say nothing.
    monkeypatch.setattr(session, "IDLE_S", 0.0)
    reader.read()
    assert len(set(ports)) == 2


# What it costs


def test_a_layers_state_counts_what_was_asked_and_what_came(s3: ScriptedS3) -> None:
    made = release(a="user: x")
    publish(s3, made)
    reader = published(s3)
    assert (reader.state.requests, reader.state.received_bytes) == (0, 0)
    reader.read()
    bodies = [data for key, data in s3.objects.items() if ".releases/" in key]
    assert (reader.state.requests, reader.state.received_bytes) == (2, sum(map(len, bodies)))
    reader.look()
    assert (reader.state.requests, reader.state.received_bytes) == (3, sum(map(len, bodies)))


def test_what_boto3_asks_is_counted_too_and_what_it_asks_again(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "signed", lambda *_: None)
    s3.put(a="user: x", b="user: x")
    source = S3Source(s3.url())
    source.read()
    assert source.traffic.requests == len(s3.fetched()) == 3
    assert source.traffic.received_bytes > 2 * len("user: x")
    s3.fault = refused(503, "SlowDown")
    with pytest.raises(LayerUnavailable):
        source.read()
    assert source.traffic.requests == 3 + len(s3.fetched()) == 5


def test_requests_that_fail_are_counted(s3: ScriptedS3) -> None:
    s3.put(a="user: x")
    s3.fault = refused(403, "AccessDenied")
    reader = LayerReader(Layer(s3.url()), "x", None)
    with pytest.raises(LayerUnavailable):
        reader.read()
    assert reader.state.requests == len(s3.fetched())


# A loose prefix


def test_every_signature_is_one_that_a_real_server_takes(rclone: Shop) -> None:
    rclone.put("a b/ü+&=%.yaml", "user: x")
    assert files(open_source(rclone.url())) == {"a b/ü+&=%.yaml": "user: x"}


def test_a_server_that_lists_other_etags_is_read_all_the_same(rclone: Shop) -> None:
    rclone.put("a.yaml", "user: x")
    source = open_source(rclone.url())
    assert files(source) == {"a.yaml": "user: x"}
    rclone.put("a.yaml", "user: longer")
    assert files(source) == {"a.yaml": "user: longer"}


def test_odd_etags_do_not_hide_a_change_under_way(s3: ScriptedS3) -> None:
    s3.odd_etags = s3.ignores_conditions = True
    s3.put(a="user: v1", b="user: v1")
    source = open_source(s3.url())
    assert files(source) == {"a.yaml": "user: v1", "b.yaml": "user: v1"}
    s3.put(a="user: v2", b="user: v2")
    changed = []

    def change(handler: Handler, asked: Asked) -> bool:
        if asked.key and not changed:
            changed.append(asked.key)
            s3.put(a="user: v3", b="user: v3")
        return False

    s3.fault = change
    assert set(files(source).values()) == {"user: v3"}


def test_objects_are_fetched_side_by_side_and_only_so_many(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loose, "PARALLEL", 4)
    s3.put(**{f"p{number:02}": "user: x" for number in range(20)})
    # Each four come together, or the fetch fails; a fifth would be seen.
    together, lock, under_way, most = threading.Barrier(4), threading.Lock(), [0], [0]

    def wait(handler: Handler, asked: Asked) -> bool:
        if asked.key.endswith(".yaml"):
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            together.wait(10)
            time.sleep(0.05)
            with lock:
                under_way[0] -= 1
        return False

    s3.fault = wait
    assert len(files(open_source(s3.url()))) == 20
    assert most == [4]


@pytest.mark.parametrize("slow", ["current", ".pack"])
def test_one_answer_that_does_not_come_is_asked_for_again_at_a_start(
    s3: ScriptedS3, slow: str
) -> None:
    publish(s3, release(a="user: x"))
    unanswered = [slow]

    def once_silent(handler: Handler, asked: Asked) -> bool:
        return bool(unanswered and asked.key.endswith(slow) and unanswered.pop()) and silent(
            handler, asked
        )

    s3.fault = once_silent
    assert files(published(s3)) == {"a.yaml": "user: x"}
    assert not unanswered


def test_objects_are_fetched_though_another_thread_leaves_the_bucket_to_boto3_meanwhile(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(a="user: x")
    objects = Objects(Location.parse(s3.url()))
    signed = Connection.signed

    def meanwhile(made: Connection, bucket: str) -> SignedBucket | None:
        found = signed(made, bucket)
        made.leave_to_boto3(bucket)
        return found

    monkeypatch.setattr(Connection, "signed", meanwhile)
    for agent in ("yamlgraph-prompts", "Boto3/"):
        assert objects.get("a.yaml", 100) == b"user: x"
        assert s3.asked[-1].headers["User-Agent"].startswith(agent)
    forget(objects.location)


def test_what_is_no_prompt_is_not_even_fetched(s3: ScriptedS3) -> None:
    keys = ["", "n/", "README.md", "n/x.json", ".hidden.yaml", ".git/a.yaml", "n/.x/a.yaml"]
    s3.objects |= {f"prompts/{key}": b"" for key in keys}
    s3.objects |= {"prompts/n/part.j2": b"x", "prompts-of-others/b.yaml": b"", "c.yaml": b""}
    assert files(open_source(s3.url())) == {"n/part.j2": "x"}
    assert s3.fetched() == ["", "prompts/n/part.j2"]


def test_a_directory_marker_is_an_empty_place(s3: ScriptedS3) -> None:
    s3.objects["prompts/"] = b""
    assert open_source(s3.url()).read().files == {}


def test_only_what_changed_is_fetched_and_nothing_when_nothing_has(s3: ScriptedS3) -> None:
    s3.put(a="user: v1", b="user: v1", c="user: v1")
    source = open_source(s3.url())
    source.read()
    s3.fetched()
    source.read()
    assert s3.fetched() == [""]
    s3.put(b="user: v2")
    assert files(source)["b.yaml"] == "user: v2"
    assert s3.fetched() == ["", "prompts/b.yaml"]


def test_deletions_are_applied(s3: ScriptedS3) -> None:
    s3.put(a="user: v1", b="user: v1")
    source = open_source(s3.url())
    source.read()
    del s3.objects["prompts/b.yaml"]
    assert files(source) == {"a.yaml": "user: v1"}


def test_going_back_to_earlier_content_is_a_change_too(s3: ScriptedS3) -> None:
    source = open_source(s3.url())
    versions = []
    for text in ("user: v1", "user: v2", "user: v1"):
        s3.put(a=text)
        versions.append(source.read().version)
    assert versions[0] == versions[2] != versions[1]


def test_a_list_of_many_pages_is_read_to_its_end(s3: ScriptedS3) -> None:
    s3.page_size = 7
    s3.put(**{f"p{number:03}": f"user: v{number}" for number in range(50)})
    assert len(files(open_source(s3.url()))) == 50


@pytest.mark.parametrize("token", ["", "<NextContinuationToken>x</NextContinuationToken>"])
def test_a_list_whose_rest_cannot_be_had_is_not_taken_for_all(s3: ScriptedS3, token: str) -> None:
    s3.put(a="user: x")

    def cut_off(handler: Handler, asked: Asked) -> bool:
        line = handler.line(s3, "prompts/a.yaml")
        page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}{line}</ListBucketResult>"
        handler.answer(200, page.encode(), {})
        return True

    s3.fault = lambda handler, asked: asked.lists and cut_off(handler, asked)
    with pytest.raises(LayerUnavailable, match="list is cut off"):
        open_source(s3.url()).read()
    assert len(s3.fetched()) < 10


def test_a_change_between_two_pages_is_noticed(s3: ScriptedS3) -> None:
    s3.page_size = 1
    s3.put(a="user: v1", b="user: v1")
    source = open_source(s3.url())

    def change(handler: Handler, asked: Asked) -> bool:
        if asked.lists and "continuation-token" in asked.query:
            s3.fault = None
            # Older pages know nothing of it, and nothing that is fetched says so.
            s3.objects["prompts/A.yaml"] = b"user: v2"
            s3.put(b="user: v2")
        return False

    s3.fault = change
    assert files(source) == {"A.yaml": "user: v2", "a.yaml": "user: v1", "b.yaml": "user: v2"}


def test_a_change_between_the_list_and_the_fetch_never_mixes_two_states(s3: ScriptedS3) -> None:
    s3.put(a="user: v1", b="user: v1")
    source = open_source(s3.url())

    def change(handler: Handler, asked: Asked) -> bool:
        if asked.key:
            s3.fault = None
            s3.put(a="user: v2", b="user: v2")
        return False

    s3.fault = change
    assert set(files(source).values()) == {"user: v2"}


def test_an_object_that_is_removed_under_the_reader_is_not_missed(s3: ScriptedS3) -> None:
    s3.put(a="user: v1", b="user: v1")

    def remove(handler: Handler, asked: Asked) -> bool:
        if asked.key:
            s3.fault = None
            del s3.objects["prompts/b.yaml"]
            s3.put(a="user: v2")
        return False

    s3.fault = remove
    assert files(open_source(s3.url())) == {"a.yaml": "user: v2"}


def test_a_prefix_that_never_stands_still_is_unavailable(s3: ScriptedS3) -> None:
    numbers = iter(range(10_000))

    def change(handler: Handler, asked: Asked) -> bool:
        s3.put(a=f"user: v{next(numbers)}")
        return False

    s3.fault = change
    with pytest.raises(LayerUnavailable, match="faster"):
        open_source(s3.url()).read()


@pytest.mark.parametrize(
    "path",
    ["../a.yaml", "n/../../a.yaml", "/a.yaml", "n//a.yaml", "n\\a.yaml", "a\n.yaml", "./a.j2"],
)
def test_a_key_that_would_lead_out_is_refused_by_name(s3: ScriptedS3, path: str) -> None:
    s3.put(good="user: x")
    s3.objects[f"prompts/{path}"] = b"user: x"
    content = open_source(s3.url()).read()
    assert list(content.files) == ["good.yaml"]
    (finding,) = content.findings
    assert (finding.severity, finding.code) == ("error", "escaping-name")
    assert str(finding).isprintable()


def test_an_object_that_is_too_large_is_told_and_not_fetched(s3: ScriptedS3) -> None:
    s3.objects["prompts/big.yaml"] = b"x" * (LIMIT_FILE_BYTES + 1)
    content = open_source(s3.url()).read()
    (finding,) = content.findings
    assert (finding.code, finding.prompt) == ("too-large", "big")
    assert str(LIMIT_FILE_BYTES + 1) in finding.message
    assert s3.fetched() == [""]


def test_more_than_a_release_can_hold_is_told(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_files, "LIMIT_BYTES", 10)
    s3.put(a="12345678", b="12345678")
    content = open_source(s3.url()).read()
    assert [finding.code for finding in content.findings] == ["too-large"]


def test_names_that_only_capitals_tell_apart_are_a_warning(s3: ScriptedS3) -> None:
    s3.put(a="user: x", A="user: x")
    with LivePrompts(s3.url(), environment="production", watch=False) as prompts:
        (finding,) = prompts.publish().findings
    assert (finding.severity, finding.code) == ("warning", "case-collision")


@pytest.mark.parametrize("reason", [trigger.value for trigger in Trigger])
def test_a_call_reads_a_remote_layer_whatever_reason_it_gives(s3: ScriptedS3, reason: str) -> None:
    s3.put(a="user: one")
    with LivePrompts(s3.url(), environment="production", watch=False) as prompts:
        s3.put(a="user: two")
        outcome = prompts.publish(reason)
        assert (outcome.status, outcome.reason) == ("published", reason)
        assert prompts["a"].user == "two"


def test_a_yml_object_is_a_warning(s3: ScriptedS3) -> None:
    s3.objects["prompts/a.yml"] = b""
    (finding,) = open_source(s3.url()).read().findings
    assert (finding.code, finding.hint) == ("ignored-file", "Rename it to a.yaml.")


def test_nothing_there_says_what_to_do(s3: ScriptedS3) -> None:
    with pytest.raises(LayerNotFound, match="Nothing is at s3://acme/prompts/") as caught:
        open_source(s3.url()).read()
    assert "push" in str(caught.value)


@pytest.mark.parametrize("left", ["production/probe", f"packs/{'0' * 64}.pack"])
def test_what_a_first_push_leaves_before_it_is_published_is_nothing_yet(
    s3: ScriptedS3, left: str
) -> None:
    s3.objects[f"prompts/.releases/{left}"] = b""
    with pytest.raises(LayerNotFound, match="Nothing is at"):
        published(s3).read()


def test_a_misspelt_environment_lists_those_that_exist(s3: ScriptedS3) -> None:
    s3.objects |= {"staging/a.yaml": b"", "production/a.yaml": b""}
    layer = Layer(s3.url("{environment}/"))
    with pytest.raises(LayerNotFound, match="production, staging") as caught:
        LayerReader(layer, "prodution", None).read()
    assert "Did you mean 'production'?" in str(caught.value)


def test_an_environment_may_stand_in_the_buckets_name(s3: ScriptedS3) -> None:
    url = s3.url().replace("acme", "ac{environment}")
    with pytest.raises(LayerNotFound, match="Nothing is at s3://acme/prompts/"):
        LayerReader(Layer(url), "me", None).read()
    s3.put(a="user: x")
    assert files(LayerReader(Layer(url), "me", None)) == {"a.yaml": "user: x"}
    with pytest.raises(LayerUnavailable, match="no such bucket"):
        LayerReader(Layer(url), "ne", None).read()


# Published releases


def test_a_start_takes_two_requests_and_a_poll_one(s3: ScriptedS3) -> None:
    made = release(**{f"p{number}": f"user: v{number}" for number in range(300)})
    publish(s3, made)
    reader = published(s3)
    assert len(reader.read().files) == 300
    assert s3.fetched() == [
        "prompts/.releases/production/current",
        f"prompts/.releases/packs/{made.id}.pack",
    ]
    assert not reader.look()
    (poll,) = s3.asked
    assert "If-None-Match" in poll.headers


def test_the_content_of_a_published_release_has_the_releases_digest(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: x"))
    with LivePrompts(s3.url(), environment="production", watch=False) as prompts:
        assert prompts.release.id == release(a="user: x").id
        assert prompts["a"].layer == "s3://acme/prompts/"
        assert prompts["a"].file == "s3://acme/prompts/a.yaml"


def test_a_pointer_that_moves_is_followed_and_back_again(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"))
    reader = published(s3)
    assert files(reader) == {"a.yaml": "user: v1"}
    publish(s3, release(a="user: v2"), number=2)
    assert reader.look()
    assert files(reader) == {"a.yaml": "user: v2"}
    publish(s3, release(a="user: v1"), number=3)
    assert files(reader) == {"a.yaml": "user: v1"}


def test_a_pointer_that_names_the_same_release_again_fetches_no_pack(s3: ScriptedS3) -> None:
    made = release(a="user: v1")
    publish(s3, made)
    reader = published(s3)
    reader.read()
    s3.fetched()
    publish(s3, made, number=2)
    assert not reader.look()
    assert s3.fetched() == ["prompts/.releases/production/current"]


def test_a_pointer_that_a_slow_pusher_moved_back_is_not_followed(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v2"), number=2)
    s3.objects[f"prompts/.releases/production/log/{2:020d}.json"] = b"{}"
    reader = published(s3)
    reader.read()
    publish(s3, release(a="user: v1"), number=1)
    assert not reader.look()
    assert files(reader) == {"a.yaml": "user: v2"}
    s3.fetched()
    reader.look()
    assert s3.fetched() == ["prompts/.releases/production/current"]
    publish(s3, release(a="user: v3"), number=3)
    assert files(reader) == {"a.yaml": "user: v3"}


def test_a_pointer_that_is_deleted_beside_its_history_leaves_what_is_live(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"), number=1)
    s3.objects[f"prompts/.releases/production/log/{1:020d}.json"] = b"{}"
    s3.put(loose="user: old")
    source = LayerReader(Layer(s3.url()), "production", None)
    source.read()
    pointer = s3.objects.pop("prompts/.releases/production/current")
    with pytest.raises(LayerUnavailable, match="current is gone"):
        source.look()
    s3.objects["prompts/.releases/production/current"] = pointer
    assert not source.look()
    assert list(files(source)) == ["a.yaml"]


def log(s3: ScriptedS3, made: Release, number: int) -> None:
    entry = json.dumps({"release": made.id, "number": number}).encode()
    s3.objects[f"prompts/.releases/production/log/{number:020d}.json"] = entry


def test_a_new_replica_serves_the_history_where_the_pointer_is_deleted(
    s3: ScriptedS3, tmp_path: Path
) -> None:
    for number in (9, 10):
        made = release(a=f"user: v{number}")
        publish(s3, made, number=number)
        log(s3, made, number)
    s3.put(a="user: loose and old", b="user: loose")
    del s3.objects["prompts/.releases/production/current"]
    with LivePrompts(s3.url(), environment="production", watch=False, store=tmp_path) as prompts:
        assert prompts.release.id == made.id
        assert [finding.code for finding in prompts.health.last.findings] == ["pointer-missing"]
        assert prompts.publish().status == "rejected"
        assert "stale-layer" in prompts.health.degraded
        publish(s3, made, number=10)
        assert prompts.publish().status == "unchanged"
        assert prompts.health.degraded == ()


def test_a_history_whose_last_release_is_gone_too_is_never_replaced_by_loose_files(
    s3: ScriptedS3,
) -> None:
    log(s3, release(a="user: v1"), 1)
    s3.put(a="user: loose")
    with pytest.raises(LayerUnavailable, match="and so is release"):
        published(s3).read()
    s3.objects[f"prompts/.releases/production/log/{1:020d}.json"] = b"garbage"
    with pytest.raises(LayerUnavailable, match="current is gone, and the last entry is damaged"):
        published(s3).read()


def test_a_history_that_was_begun_anew_is_followed(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v9"), number=9)
    reader = published(s3)
    reader.read()
    publish(s3, release(a="user: v1"), number=1)
    assert files(reader) == {"a.yaml": "user: v1"}


def test_a_published_release_counts_more_than_loose_files(s3: ScriptedS3) -> None:
    s3.put(a="user: loose")
    reader = published(s3)
    assert files(reader) == {"a.yaml": "user: loose"}
    publish(s3, release(a="user: published"))
    assert files(reader) == {"a.yaml": "user: published"}


def test_a_loose_prefix_is_polled_with_a_list_alone(s3: ScriptedS3) -> None:
    s3.put(a="user: loose")
    reader = published(s3)
    reader.read()
    s3.fetched()
    reader.look()
    assert s3.fetched() == [""]


@pytest.mark.parametrize("environment", ["prodution", "prod", "Production"])
def test_a_misspelt_environment_over_loose_files_is_an_error_as_in_a_folder(
    s3: ScriptedS3, environment: str
) -> None:
    publish(s3, release(a="user: v1"), "production")
    s3.put(a="user: loose")
    with pytest.raises(LayerNotFound, match="but for production") as caught:
        published(s3, environment).read()
    assert caught.value.available == ("production",)
    assert caught.value.hint == "Did you mean 'production'?"


def test_loose_files_beside_another_environments_release_are_a_warning(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"), "production")
    s3.put(a="user: loose")
    content = published(s3, "staging").read()
    (finding,) = content.findings
    assert (finding.severity, finding.code) == ("warning", "not-published")
    assert "production" in finding.message


def test_an_environment_that_nothing_is_published_for_lists_the_others(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"), "production")
    publish(s3, release(a="user: v1"), "staging")
    with pytest.raises(LayerNotFound, match="production, staging") as caught:
        published(s3, "prodution").read()
    assert caught.value.available == ("production", "staging")


def test_a_reader_that_may_not_list_needs_no_list(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"))
    s3.fault = lambda handler, asked: asked.lists and refused(403, "AccessDenied")(handler, asked)
    assert files(published(s3)) == {"a.yaml": "user: v1"}


def test_a_missing_pointer_may_look_denied(s3: ScriptedS3) -> None:
    s3.put(a="user: loose")

    def deny(handler: Handler, asked: Asked) -> bool:
        return asked.key.endswith("current") and refused(403, "AccessDenied")(handler, asked)

    s3.fault = deny
    assert files(published(s3)) == {"a.yaml": "user: loose"}
    publish(s3, release(a="user: v1"))
    with pytest.raises(LayerUnavailable, match="current: access is denied"):
        published(s3).read()


NO_KEY = (
    "User: arn:aws:sts::123456789012:assumed-role/app/i-1 is not authorized to perform: "
    "kms:Decrypt on resource: arn:aws:kms:eu-north-1:123456789012:key/ab because no "
    "identity-based policy allows the kms:Decrypt action"
)


@pytest.mark.parametrize(
    ("what", "lists"),
    [("current", True), ("current", False), (".pack", True), (".pack", False), (".yaml", True)],
)
def test_a_denial_of_a_key_is_told_in_the_words_of_the_server(
    s3: ScriptedS3, what: str, lists: bool
) -> None:
    s3.put(a="user: loose")
    if what != ".yaml":
        publish(s3, release(a="user: v1"))

    def deny(handler: Handler, asked: Asked) -> bool:
        if asked.lists and not lists:
            return refused(403, "AccessDenied")(handler, asked)
        no_key = refused(403, "AccessDenied", message=NO_KEY)
        return asked.key.endswith(what) and no_key(handler, asked)

    s3.fault = deny
    with pytest.raises(LayerUnavailable) as caught:
        published(s3).read()
    assert f"access is denied: {NO_KEY} (" in str(caught.value)
    assert caught.value.hint == "The credentials need kms:Decrypt there."


def test_a_pointer_to_a_missing_release_is_refused(s3: ScriptedS3) -> None:
    made = release(a="user: v1")
    publish(s3, made)
    del s3.objects[f"prompts/.releases/packs/{made.id}.pack"]
    with pytest.raises(LayerUnavailable, match="not there"):
        published(s3).read()


def test_a_pack_that_is_another_releases_is_refused(s3: ScriptedS3) -> None:
    made = release(a="user: v1")
    publish(s3, made)
    s3.objects[f"prompts/.releases/packs/{made.id}.pack"] = encode_pack(release(a="user: v2"))
    with pytest.raises(LayerUnavailable, match="another release's"):
        published(s3).read()


def test_every_cut_and_every_flipped_byte_of_a_pack_is_refused(s3: ScriptedS3) -> None:
    made = release(a="user: v1", b="system: s\nuser: v2")
    publish(s3, made)
    key = f"prompts/.releases/packs/{made.id}.pack"
    whole = s3.objects[key]
    for at in range(0, len(whole), 37):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            s3.objects[key] = damaged
            with pytest.raises(LayerUnavailable):
                published(s3).read()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"release": 7}', b'{"release": "../../x"}', b"\xff", b"[" * 9999],
)
def test_a_pointer_that_is_garbage_is_refused(s3: ScriptedS3, data: bytes) -> None:
    publish(s3, release(a="user: v1"))
    s3.objects["prompts/.releases/production/current"] = data
    with pytest.raises(LayerUnavailable, match="no pointer"):
        published(s3).read()


def test_a_pointer_that_is_huge_is_not_taken(s3: ScriptedS3) -> None:
    s3.objects["prompts/.releases/production/current"] = b" " * (1 << 20)
    with pytest.raises(LayerUnavailable, match="larger than it may be"):
        published(s3).read()


@pytest.mark.parametrize("names", [["../a"], ["a", "A"], ["n//a"], ["/a"], ["a\\b"]])
def test_a_release_whose_names_cannot_be_files_is_refused(s3: ScriptedS3, names: list[str]) -> None:
    publish(s3, release(**dict.fromkeys(names, "user: x")))
    with pytest.raises(LayerUnavailable, match="names"):
        published(s3).read()


def test_a_bad_pointer_leaves_what_is_live_untouched(s3: ScriptedS3) -> None:
    first = publish(s3, release(a="user: v1"))
    heard = Heard()
    with LivePrompts(s3.url(), environment="production", watch=False, hooks=[heard]) as prompts:
        s3.objects["prompts/.releases/production/current"] = b"{}"
        outcome = prompts.publish()
        assert outcome.status == "rejected"
        assert "no pointer" in str(outcome.findings[0])
        assert prompts.release.id == first
        second = publish(s3, release(a="user: v2"))
        assert prompts.publish().status == "published"
        assert prompts.release.id == second
    assert [event.kind for event in heard if event.layer] == [
        "layer-unavailable",
        "layer-recovered",
    ]


# Releases that are not live any more


def test_a_release_is_found_by_its_full_id_on_any_replica(s3: ScriptedS3, tmp_path: Path) -> None:
    first = publish(s3, release(a="user: v1"))
    publish(s3, release(a="user: v2"), number=2)
    with LivePrompts(s3.url(), environment="production", watch=False, store=tmp_path) as prompts:
        assert prompts["a"].user == "v2"
        assert prompts.find(first)["a"].user == "v1"
        s3.fetched()
        assert prompts.find(first[:12])["a"].user == "v1"
        assert s3.fetched() == []


class Greeting(TypedDict, total=False):
    answer: str


def greets(release: Release) -> StateGraph:
    """Asks whether it may greet, and greets."""

    def greet(state: Greeting) -> Greeting:
        return {"answer": f"{release['a'].user} {interrupt('May I?')}"}

    return StateGraph(Greeting).add_node("greet", greet).add_edge(START, "greet")


@pytest.mark.parametrize("pin", ["run", "thread"])
@pytest.mark.parametrize("key", ["one secret of all the replicas, long", None])
def test_a_thread_goes_on_with_its_release_on_a_replica_with_the_same_key(
    s3: ScriptedS3, tmp_path: Path, pin: Pin, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key is not None:
        monkeypatch.setenv("YAMLGRAPH_PROMPTS_KEY", key)
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}

    def replica(name: str) -> LivePrompts:
        store = tmp_path / name
        return LivePrompts(s3.url(), environment="production", watch=False, store=store)

    def app(prompts: LivePrompts) -> LiveGraph:
        return live_graph(greets, prompts=prompts, pin=pin).compile(checkpointer=saver)

    first = publish(s3, release(a="user: Hello"))
    with replica("first") as prompts:
        app(prompts).invoke({"answer": ""}, config)
    publish(s3, release(a="user: Good day"), number=2)
    with replica("second") as prompts:
        assert prompts["a"].user == "Good day"
        s3.fetched()
        if key is None:  # a client could have made that checkpoint up
            with pytest.raises(ReleaseNotFound, match="not found") as caught:
                app(prompts).invoke(Command(resume="Ada"), config)
            assert "YAMLGRAPH_PROMPTS_KEY" in str(caught.value.hint)
            return
        answer = app(prompts).invoke(Command(resume="Ada"), config)
        assert answer == {"answer": "Hello Ada"}
        assert s3.fetched() == [f"prompts/.releases/packs/{first}.pack"]


def test_a_release_that_nobody_has_is_not_found(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"))
    with LivePrompts(s3.url(), environment="production", watch=False) as prompts:
        for release_id in ("f" * 64, "fff"):
            with pytest.raises(LookupError, match="fff"):
                prompts.find(release_id)


def test_a_release_that_could_not_be_looked_for_is_not_said_to_be_nowhere(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: live"))
    with LivePrompts(s3.url(), environment="production", watch=False) as prompts:
        s3.fault = refused(403, "AccessDenied")
        with pytest.raises(LookupError, match=r"cannot give it: .*access is denied") as caught:
            prompts.find("f" * 64)
    assert "Try again" in str(caught.value)
    assert "nor in a layer" not in str(caught.value)


def test_a_release_that_is_not_what_its_id_says_is_not_found(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: v1"))
    s3.objects[f"prompts/.releases/packs/{'f' * 64}.pack"] = encode_pack(release(a="user: v2"))
    prompts = LivePrompts(s3.url(), environment="production", watch=False)
    with prompts, pytest.raises(LookupError):
        prompts.find("f" * 64)


def test_an_s3_source_keeps_releases_and_says_so() -> None:
    assert isinstance(S3Source("s3://b/p"), KeepsReleases)
    assert S3Source("s3://b/p").release("f" * 64) is None


# Beside other layers


def test_s3_lies_over_bundled_defaults(s3: ScriptedS3, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("user: bundled")
    (tmp_path / "b.yaml").write_text("user: bundled")
    s3.put(a="user: s3")
    with LivePrompts(s3.url(), str(tmp_path), environment="production", watch=False) as prompts:
        assert (prompts["a"].user, prompts["b"].user) == ("s3", "bundled")


def test_an_optional_prefix_may_be_empty_but_the_bucket_must_be_there(s3: ScriptedS3) -> None:
    assert LayerReader(Layer(s3.url(), optional=True), "x", None).read().files == {}
    url = s3.url().replace("acme", "gone")
    with pytest.raises(LayerUnavailable, match="no such bucket"):
        LayerReader(Layer(url, optional=True), "x", None).read()


def test_prompts_are_read_from_a_real_server_with_paging(rclone: Shop) -> None:
    folder = rclone.folder / "prompts"
    folder.mkdir()
    for number in range(1005):
        (folder / f"p{number:04}.yaml").write_text(f"user: v{number}")
    found = files(open_source(rclone.url()))
    assert len(found) == 1005
    assert found["p1004.yaml"] == "user: v1004"


def test_a_published_release_is_read_from_a_real_server_with_conditions(moto: Shop) -> None:
    for text in ("user: v1", "user: v2"):
        made = release(a=text)
        moto.put(f".releases/packs/{made.id}.pack", encode_pack(made))
        moto.put(".releases/x/current", json.dumps({"release": made.id}))
        reader = LayerReader(Layer(moto.url()), "x", None)
        assert files(reader) == {"a.yaml": text}
        assert not reader.look()
