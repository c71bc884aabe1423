"""botocore within the calling thread's bounds: sessions, and signed requests. Imports botocore.

Every answer is read as a whole, so a cut or endless one fails before any of it is used.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from botocore import awsrequest
from botocore.auth import S3SigV4Auth
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError
from botocore.session import Session
from urllib3 import exceptions as urllib3_errors

from yamlgraph_prompts.sources.s3 import bounds
from yamlgraph_prompts.sources.s3.listing import refuse_bomb

BLOCK_BYTES = 64 << 10
# Routers and balancers drop an idle connection after minutes, many of them silently.
IDLE_S = 60.0


class BoundedSession(Session):  # type: ignore[misc]
    """A session with bounds for all its clients, those that get credentials too."""

    def create_client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        client = super().create_client(service_name, *args, **kwargs)
        _bound(client._endpoint.http_session, is_s3=service_name == "s3")
        return client

    def get_credentials(self) -> Any:
        for provider in self.get_component("credential_provider").providers:
            for name in ("_role_fetcher", "_fetcher"):
                # Requests to a machine's or a container's metadata service need no client.
                http = getattr(getattr(provider, name, None), "_session", None)
                if hasattr(http, "_pool_classes_by_scheme"):
                    _bound(http, is_s3=False)
        return super().get_credentials()


class SignedBucket:
    """Signed GETs to a bucket, at a third of what calls of the client cost. Thread-safe.

    What is not answered plainly is for the client to send again: it knows about other regions,
    retries, and whatever else a server may want.
    """

    def __init__(
        self, client: Any, credentials: Any, base: str, headers: Mapping[str, str]
    ) -> None:
        self._credentials = credentials
        self._base = base
        self._headers = {**headers, "User-Agent": "yamlgraph-prompts"}
        region = client.meta.region_name
        self._region = "us-east-1" if region in (None, "aws-global") else region
        http = client._endpoint.http_session
        self._pool = http._manager.connection_from_url(base)
        http._setup_ssl_cert(self._pool, base, http._verify)

    @classmethod
    def of(
        cls, client: Any, credentials: Any, bucket: str, headers: Mapping[str, str]
    ) -> SignedBucket | None:
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
        return cls(client, credentials, example[:-1], headers)

    def get(self, key: str, headers: Mapping[str, str], *, once: bool) -> Any:
        """An object; None if boto3 should try again, also after a timeout unless `once`."""
        url = self._base + quote(key, safe="/-_.~")
        return self._send(url, headers, is_object=True, once=once)

    def list(self, parameters: Mapping[str, str]) -> Any:
        """A list page; None if boto3 should try again."""
        named = {"list-type": "2", "encoding-type": "url", **parameters}
        query = "&".join(f"{name}={quote(named[name], safe='-_.~')}" for name in sorted(named))
        # Only behind a bucket in the host's name the slash is all of the path.
        base = self._base if self._base.count("/") == 3 else self._base[:-1]
        return self._send(f"{base}?{query}", {}, is_object=False, once=False)

    def _send(self, url: str, headers: Mapping[str, str], *, is_object: bool, once: bool) -> Any:
        named = {**headers, **self._headers}
        request = awsrequest.AWSRequest("GET", url, headers=named, stream_output=is_object)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
        try:
            return _send_bounded(partial(_sent, self._pool), True, request)
        except ReadTimeoutError:
            # One of many servers may be slow.
            if once:
                raise
        except ConnectionClosedError:
            # The server has closed a kept connection meanwhile, or has cut its answer.
            pass
        return None


def _sent(pool: Any, request: Any) -> Any:
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
    return awsrequest.AWSResponse(request.url, raw.status, raw.headers, raw)


class CutShort(ConnectionClosedError):  # type: ignore[misc]
    """The connection ended in the middle of an answer."""


def _bound(http: Any, *, is_s3: bool) -> None:
    if getattr(http.send, "func", None) is _send_bounded:
        return  # a session without credentials looks for them again
    # Its pool managers, also those for proxies, share this table.
    http._pool_classes_by_scheme.update({"http": _HTTPPool, "https": _HTTPSPool})
    http.send = partial(_send_bounded, http.send, is_s3)


def _send_bounded(send: Callable[[Any], Any], is_s3: bool, request: Any) -> Any:
    """The answer to a request, with its whole body; `send` reads its head."""
    with bounds.Exchange(math.inf if is_s3 else bounds.LIMIT_ANSWER_BYTES) as exchange:
        is_parsed, request.stream_output = not request.stream_output, True
        data = b""
        try:
            response = send(request)
            is_error = response.status_code >= 300
            exchange.allow_body(is_error)
            data = _body(response.raw, exchange.limit_bytes)
            if response.raw.length_remaining or (is_s3 and _is_cut_in_its_head(request, response)):
                raise CutShort(endpoint_url=request.url)
        except urllib3_errors.ReadTimeoutError as problem:
            raise ReadTimeoutError(endpoint_url=request.url, error=problem) from problem
        except (urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError):
            raise
        except urllib3_errors.HTTPError as problem:
            raise CutShort(endpoint_url=request.url) from problem
        except HTTPClientError as problem:
            if isinstance(problem.__context__, bounds.BoundExceeded):
                raise problem.__context__ from None  # so that botocore does not try again
            raise
        finally:
            if is_s3:
                exchange.operation.count(len(data))
    if is_parsed or is_error:
        refuse_bomb(data)
    response.raw = _Whole(data)
    return response


class _Whole(io.BytesIO):
    def stream(self) -> list[bytes]:
        return [self.getvalue()]


def _body(raw: Any, limit_bytes: float) -> bytes:
    try:
        size = raw.length_remaining
        if size is not None and size > limit_bytes:
            raise bounds.TooMuch(
                f"an answer of {size:,} bytes is larger than it may be ({limit_bytes:,})"
            )
        parts: list[bytes] = []
        while part := raw.read(BLOCK_BYTES):
            parts.append(part)
        if sum(map(len, parts)) > limit_bytes:
            raise bounds.TooMuch(f"an answer is larger than it may be ({limit_bytes:,} bytes)")
        return b"".join(parts)
    except BaseException:
        raw.close()
        raise


def _is_cut_in_its_head(request: Any, response: Any) -> bool:
    """Whether the head ended without a length: then the end of the connection ends the body."""
    raw = response.raw
    has_length = raw.length_remaining is not None and "content-length" in response.headers
    return request.method == "GET" and response.status_code < 300 and not has_length | raw.chunked


class _Bounded:
    sock: Any

    # A proxy that opens a tunnel is a server, too.
    def _new_conn(self) -> Any:
        return bounds.BoundedSocket(super()._new_conn())  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if not isinstance(self.sock, bounds.BoundedSocket):
            self.sock = bounds.BoundedSocket(self.sock)

    @property
    def is_connected(self) -> bool:
        is_open: bool = super().is_connected  # type: ignore[misc]
        return is_open and time.monotonic() - self.sock.used_s < IDLE_S


class _HTTP(_Bounded, awsrequest.AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPS(_Bounded, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTP


class _HTTPSPool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPS
