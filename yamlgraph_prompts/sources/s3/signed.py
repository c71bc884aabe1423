"""Signed GETs to one bucket, at a third of what a call of boto3 costs. Imports botocore.

They go through the connections of a boto3 client. What is not answered plainly is for boto3 to
send again: it knows about other regions, retries and whatever else a server may want.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from urllib3 import exceptions as urllib3_errors

from yamlgraph_prompts.sources.s3.session import send_bounded


@dataclass
class Response:
    """An answer with its whole body."""

    status_code: int
    headers: Mapping[str, str]
    raw: Any

    @property
    def content(self) -> bytes:
        """The body."""
        body: bytes = self.raw.getvalue()
        return body


class SignedBucket:
    """Sends signed GETs to a bucket. Thread-safe.

    Args:
        client: The boto3 client whose connections it uses.
        credentials: The client's credentials.
        base: The URL before the key of each object.
    """

    def __init__(self, client: Any, credentials: Any, base: str) -> None:
        self._credentials = credentials
        self._base = base
        region = client.meta.region_name
        self._region = "us-east-1" if region in (None, "aws-global") else region
        http = client._endpoint.http_session
        self._pool = http._manager.connection_from_url(base)
        http._setup_ssl_cert(self._pool, base, http._verify)

    @classmethod
    def of(cls, client: Any, credentials: Any, bucket: str) -> SignedBucket | None:
        """As the client would send them; None if only boto3 knows how."""
        if (
            credentials is None
            or client.meta.config.signature_version != "s3v4"
            or ":" in bucket
            or bucket.endswith("--x-s3")
        ):
            return None
        # botocore knows all styles of endpoints, and how the bucket's name changes them.
        example = client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "x"}
        ).partition("?")[0]
        is_proxied = client._endpoint.http_session._proxy_config.proxy_url_for(example)
        if is_proxied or not example.endswith("/x"):
            return None
        return cls(client, credentials, example[:-1])

    def get(self, key: str, headers: Mapping[str, str], *, once: bool) -> Response | None:
        """The answer to a GET of one object; None if boto3 should try again.

        Args:
            key: Its full key.
            headers: Further headers.
            once: Raise if the server does not answer, instead of returning None.
        """
        url = self._base + quote(key, safe="/-_.~")
        return self._send(url, headers, is_object=True, once=once)

    def list(self, parameters: Mapping[str, str]) -> Response | None:
        """The answer to a request for a list page; None if boto3 should try again."""
        named = {"list-type": "2", "encoding-type": "url", **parameters}
        query = "&".join(f"{name}={quote(named[name], safe='-_.~')}" for name in sorted(named))
        # Only behind a bucket in the host's name the slash is all of the path.
        base = self._base if self._base.count("/") == 3 else self._base[:-1]
        return self._send(f"{base}?{query}", {}, is_object=False, once=False)

    def _send(
        self, url: str, headers: Mapping[str, str], *, is_object: bool, once: bool
    ) -> Response | None:
        named = {**headers, "User-Agent": "yamlgraph-prompts"}
        request = AWSRequest("GET", url, headers=named, stream_output=is_object)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
        try:
            response: Response = send_bounded(partial(_sent, self._pool), True, request)
            return response
        except ReadTimeoutError:
            # One of many servers may be slow.
            if once:
                raise
        except ConnectionClosedError:
            # The server has closed a kept connection meanwhile, or has cut its answer.
            pass
        return None


def _sent(pool: Any, request: Any) -> Response:
    try:
        raw = pool.urlopen(
            "GET",
            "/" + request.url.split("/", 3)[3],
            headers=dict(request.headers),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,
        )
    except urllib3_errors.NewConnectionError as problem:
        raise EndpointConnectionError(endpoint_url=request.url, error=problem) from problem
    except urllib3_errors.ConnectTimeoutError as problem:
        raise ConnectTimeoutError(endpoint_url=request.url, error=problem) from problem
    return Response(raw.status, raw.headers, raw)
