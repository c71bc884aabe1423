"""A botocore session all of whose connections are metered; see `bounds`. Imports botocore."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.session import Session

from yamlgraph_prompts.sources.bounds import LIMIT_ANSWER_BYTES, TooMuch
from yamlgraph_prompts.sources.metered import Metered, MeteredSocket
from yamlgraph_prompts.sources.s3_page import refuse_bomb

_LENGTH = re.compile(r"[0-9]{1,18}")


class MeteredSession(Session):  # type: ignore[misc]
    """A session whose clients keep to the calling thread's bounds, those for credentials too."""

    def create_client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        """As botocore's."""
        client = super().create_client(service_name, *args, **kwargs)
        _meter(client._endpoint.http_session, _OBJECTS if service_name == "s3" else _CREDENTIALS)
        return client

    def get_credentials(self) -> Any:
        """As botocore's."""
        for provider in self.get_component("credential_provider").providers:
            for name in ("_role_fetcher", "_fetcher"):
                # Those that ask a machine's or a container's metadata service make no client.
                http = getattr(getattr(provider, name, None), "_session", None)
                if hasattr(http, "_pool_classes_by_scheme"):
                    _meter(http, _CREDENTIALS)
        return super().get_credentials()


def _meter(http: Any, pools: dict[str, type]) -> None:
    # Its managers, also those for proxies, share this table.
    http._pool_classes_by_scheme.update(pools)
    http.send = partial(_send, http.send)


def _send(send: Callable[[Any], Any], request: Any) -> Any:
    # Before botocore's own handlers, some of which parse what comes.
    response = send(request)
    if not request.stream_output or response.status_code >= 300:
        refuse_bomb(response.content)
    elif not _LENGTH.fullmatch(response.headers.get("content-length", "0")):
        response.raw.close()
        raise TooMuch("its Content-Length is no length")
    return response


class _Tunnelled(Metered):
    # A proxy that opens a tunnel is a remote end, too.
    def _new_conn(self) -> Any:
        self.meter.connect()
        return MeteredSocket(super()._new_conn(), self.meter)  # type: ignore[misc]


def _pools(limit: int) -> dict[str, type]:
    class HTTP(_Tunnelled, AWSHTTPConnection):  # type: ignore[misc]
        limit_bytes = limit

    class HTTPS(_Tunnelled, AWSHTTPSConnection):  # type: ignore[misc]
        limit_bytes = limit

    class HTTPPool(AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = HTTP

    class HTTPSPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = HTTPS

    return {"http": HTTPPool, "https": HTTPSPool}


_OBJECTS = _pools(sys.maxsize)
_CREDENTIALS = _pools(LIMIT_ANSWER_BYTES)
