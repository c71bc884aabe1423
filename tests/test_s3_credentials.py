"""Whoever boto3 would be, this is too: profiles, web identities, roles, single sign-on."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider

from tests.s3_servers import KEY, SECRET, Shop, credentials
from tests.scripted_server import Asked, Handler, ScriptedS3
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts.sources import open_source
from yamlgraph_prompts.sources.s3 import S3Source

ROLE = "arn:aws:iam::123456789012:role/reads-prompts"
START_URL = "https://acme.awsapps.example/start"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder without any credentials. To be asked for behind a server, which has some."""
    cache = str(tmp_path / ".aws/sso/cache")
    for provider in (SSOProvider, SSOTokenProvider):
        # boto3 looked for it when it was imported.
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", cache)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture
def anonymous(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credentials in the environment either."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def web_identity(moto: Shop, home: Path, patch: pytest.MonkeyPatch) -> None:
    """What Kubernetes sets for a pod whose service account has a role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    (home / "token").write_text("a-token-of-the-cluster")
    patch.setenv("AWS_ROLE_ARN", ROLE)
    patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    patch.setenv("AWS_ENDPOINT_URL_STS", moto.endpoint)


def test_a_web_identity_is_exchanged_for_a_key_and_named_in_errors(
    moto: Shop, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.put("a.yaml", "user: x")
    web_identity(moto, nobody, monkeypatch)
    source = S3Source(moto.url())
    assert list(source.read().files) == ["a.yaml"]
    assert "from a web identity (IRSA)" in source.about
    assert "a-token-of-the-cluster" not in source.about


def test_a_web_identity_without_its_token_is_said(
    moto: Shop, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web_identity(moto, nobody, monkeypatch)
    (nobody / "token").unlink()
    with pytest.raises(LayerUnavailable, match=r"a file .* is not there") as caught:
        open_source(moto.url()).read()
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in (caught.value.hint or "")
    moto.put("a.yaml", "user: x")
    (nobody / "token").write_text("back")
    assert list(open_source(moto.url()).read().files) == ["a.yaml"]


def test_a_profile_may_assume_a_role(
    moto: Shop, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    moto.put("a.yaml", "user: x")
    anonymous.setenv("AWS_ENDPOINT_URL_STS", moto.endpoint)
    (nobody / "config").write_text(
        f"[profile base]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
        f"[profile reader]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-north-1\n"
    )
    source = S3Source(moto.url() + "&profile=reader")
    assert list(source.read().files) == ["a.yaml"]
    assert "from an assumed role, profile reader" in source.about


def signed_on(home: Path, s3: ScriptedS3, patch: pytest.MonkeyPatch, lasts_s: float) -> None:
    """What `aws configure sso` and `aws sso login` leave behind."""
    (home / "config").write_text(
        "[profile acme]\nsso_session = acme\nsso_account_id = 123456789012\n"
        "sso_role_name = reader\nregion = eu-north-1\n"
        f"[sso-session acme]\nsso_region = eu-north-1\nsso_start_url = {START_URL}\n"
    )
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    ends = datetime.now(UTC) + timedelta(seconds=lasts_s)
    token = {"startUrl": START_URL, "region": "eu-north-1", "accessToken": "signed-on"}
    token["expiresAt"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    (cache / f"{hashlib.sha1(b'acme').hexdigest()}.json").write_text(json.dumps(token))
    patch.setenv("AWS_ENDPOINT_URL_SSO", s3.endpoint)


def portal(handler: Handler, asked: Asked) -> bool:
    """The single sign-on's portal; everything else is the bucket."""
    if asked.key != "credentials":
        return False
    assert asked.headers["x-amz-sso_bearer_token"] == "signed-on"
    key = {
        "accessKeyId": "AKIDSSO0000000000009",
        "secretAccessKey": SECRET,
        "sessionToken": "a-session",
        "expiration": int((time.time() + 3600) * 1000),
    }
    body = json.dumps({"roleCredentials": key}).encode()
    handler.answer(200, body, {"Content-Type": "application/json"})
    return True


def test_a_single_sign_on_counts(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    s3.put(a="user: x")
    signed_on(nobody, s3, anonymous, 3600.0)
    s3.fault = portal
    source = S3Source(s3.url() + "&profile=acme")
    assert list(source.read().files) == ["a.yaml"]
    to_bucket = [asked for asked in s3.asked if asked.key != "credentials"]
    assert {asked.headers["X-Amz-Security-Token"] for asked in to_bucket} == {"a-session"}
    assert "ending in 0009 from single sign-on, profile acme" in source.about


def test_a_single_sign_on_that_has_ended_says_how_to_go_on(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    signed_on(nobody, s3, anonymous, -60.0)
    s3.fault = portal
    with pytest.raises(LayerUnavailable, match="single sign-on has ended") as caught:
        open_source(s3.url() + "&profile=acme").read()
    assert "aws sso login" in (caught.value.hint or "")


def test_a_credential_process_counts(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    s3.put(a="user: x")
    answer = {"Version": 1, "AccessKeyId": "AKIDPROCESS000000007", "SecretAccessKey": SECRET}
    (nobody / "answer.json").write_text(json.dumps(answer))
    (nobody / "config").write_text(
        f"[profile acme]\ncredential_process = cat {nobody / 'answer.json'}\n"
    )
    source = S3Source(s3.url() + "&profile=acme")
    assert list(source.read().files) == ["a.yaml"]
    assert "ending in 0007 from a credential process" in source.about


def test_a_credential_process_that_fails_tells_no_secret(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    command = nobody / "fails"
    command.write_text(f"#!/bin/sh\necho {SECRET} >&2\nexit 1\n")
    command.chmod(0o700)
    (nobody / "config").write_text(f"[profile acme]\ncredential_process = {command}\n")
    with pytest.raises(LayerUnavailable, match="credentials could not be had") as caught:
        open_source(s3.url() + "&profile=acme").read()
    assert SECRET not in str(caught.value)


def test_a_session_token_that_is_renewed_is_taken_for_the_next_request(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    s3.put(a="user: x")
    keys = iter(range(10_000))

    def soon_over(handler: Handler, asked: Asked) -> bool:
        if asked.key != "credentials":
            return False
        key = {
            "accessKeyId": f"AKIDSSO{next(keys):013}",
            "secretAccessKey": SECRET,
            "sessionToken": "a-session",
            # botocore renews what is over in less than ten minutes.
            "expiration": int((time.time() + 300) * 1000),
        }
        handler.answer(200, json.dumps({"roleCredentials": key}).encode(), {})
        return True

    signed_on(nobody, s3, anonymous, 3600.0)
    s3.fault = soon_over
    source = open_source(s3.url() + "&profile=acme")
    for _ in range(2):
        source.read()
    lists = [asked.headers["Authorization"] for asked in s3.asked if asked.lists]
    assert len(lists) == len(set(lists)) == 2


def test_a_role_that_may_not_be_assumed_is_said_and_tried_again(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    (nobody / "token").write_text("a-token-of-the-cluster")
    anonymous.setenv("AWS_ROLE_ARN", ROLE)
    anonymous.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(nobody / "token"))
    anonymous.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)

    def deny(handler: Handler, asked: Asked) -> bool:
        said = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        handler.answer(403, said.encode(), {"Content-Type": "text/xml"})
        return True

    s3.fault = deny
    source = open_source(s3.url())
    for _ in range(2):
        with pytest.raises(LayerUnavailable, match=r"role's credentials.*AccessDenied") as caught:
            source.read()
        assert "whom it trusts" in (caught.value.hint or "")
    assert not [asked for asked in s3.asked if "Authorization" in asked.headers]


def test_where_it_would_be_asked_is_named_though_no_client_can_be_made(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    with pytest.raises(LayerUnavailable, match=f"region's name.*endpoint {s3.endpoint},"):
        open_source("s3://acme/prompts/?region=not a region").read()


@pytest.mark.parametrize(
    ("key", "push"), [(f"{KEY}\n", False), (f"{KEY}\n", True), (f"{KEY}é€", False)]
)
def test_a_key_that_cannot_be_sent_is_said_in_one_line(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, key: str, push: bool
) -> None:
    credentials(monkeypatch, key)
    bucket = Channel(s3.url(), environment="production")
    ask = bucket.current if push else open_source(s3.url()).read
    with pytest.raises(LayerUnavailable, match=r"cannot be sent.*saved with a newline") as caught:
        ask()
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_push_with_a_secret_that_is_mended_succeeds_without_a_restart(
    rclone: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    bucket = Channel(rclone.url(), environment="production", single_writer=True)
    release = Release.of([Prompt("a", b"user: x")])

    def push(secret: str) -> bool:
        file.write_text(f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={secret}\n")
        return bucket.push(release, message="x", who="Ada").published

    for _ in range(2):
        with pytest.raises(LayerUnavailable, match=f"secret key.* ending in {KEY[-4:]} from"):
            push("wrong")
    assert push(SECRET)


def test_a_machine_without_a_role_has_no_credentials_though_its_service_answers(
    s3: ScriptedS3, nobody: Path, anonymous: pytest.MonkeyPatch
) -> None:
    def nothing(handler: Handler, asked: Asked) -> bool:
        handler.answer(404, b"", {})
        return True

    anonymous.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    anonymous.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", s3.endpoint)
    s3.fault = nothing
    with pytest.raises(LayerUnavailable, match="no credentials were found"):
        Channel(s3.url(), environment="x").current()
