"""Two questions to a bucket: what is listed below a prefix, and one object's bytes.

Asks without the weight of a boto3 call; boto3 itself asks again whatever is not answered plainly.
Takes no more time, bytes, requests and pages than its bounds say.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote, urlsplit

from yamlgraph_prompts.sources import Traffic
from yamlgraph_prompts.sources.bounds import (
    LIMIT_ANSWER_BYTES,
    LIMIT_ERROR_BYTES,
    LIMIT_PAGE_BYTES,
    Bounds,
    Operation,
    TooMuch,
    allowed,
    pages,
)
from yamlgraph_prompts.sources.s3_client import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Connection,
    Place,
    connection,
    forget,
    sent,
    words,
)
from yamlgraph_prompts.sources.s3_page import ListPage, page_of, read_page
from yamlgraph_prompts.sources.s3_signed import Connections, Unanswered, signature
from yamlgraph_prompts.sources.s3_words import is_about_credentials

PARALLEL = 48

Count = Callable[[int, int], None]
"""Told how many requests there were, and how many bytes came for them."""

_PLAIN = (200, 304, 404, 412)
_LOADED = (429, 500, 502, 503, 504)
_CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question: status 200, 304, 404 or 412, and for 200 the object."""

    status: int
    data: bytes = b""
    etag: str = ""


class CutOff(Exception):
    """A list says that it goes on, but not how."""


class CutShort(Exception):
    """The connection ended in the middle."""


class Bucket:
    """A bucket, asked with a place's credentials at its endpoint. Thread-safe after `open`.

    Args:
        place: Where.
        bounds: What each round of questions may take.
    """

    def __init__(self, place: Place, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        self.place = place
        self.bounds = bounds
        self.traffic = Traffic()
        self._operation = Operation(bounds)
        self._counting = threading.Lock()
        self._connection: Connection | None = None
        self._signed: _Signed | None = None

    def open(self) -> None:
        """Be ready, and begin a round of questions: what they take together is bounded.

        Raises:
            LayerUnavailable: No client can be made.
        """
        self._operation = Operation(self.bounds)
        try:
            with allowed(LIMIT_ANSWER_BYTES, self._operation):
                made = connection(self.place)
            if made is not self._connection:
                # The first one, or after a fork, or with other credentials.
                self._counting = threading.Lock()
                self._signed = _Signed.of(made, self.place, self._count)
                self._connection = made
        except Exception as problem:
            raise self._trouble(problem, None) from problem

    def get(
        self,
        key: str,
        *,
        limit_bytes: int,
        if_match: str | None = None,
        if_none_match: str | None = None,
        once: bool = False,
        may_be_denied: bool = False,
    ) -> Answer:
        """One object.

        Args:
            key: Its key.
            limit_bytes: The most bytes to take.
            if_match: Only if this is its ETag; else the status is 412.
            if_none_match: Only if this is not its ETag; else the status is 304.
            once: Do not ask again where the server is overloaded.
            may_be_denied: Give status 403 instead of an error: so S3 says that nothing is there
                to whom it does not let list.

        Raises:
            LayerUnavailable: It cannot be had.
        """
        conditions = {}
        if if_match:
            conditions["If-Match"] = f'"{if_match}"'
        if if_none_match:
            conditions["If-None-Match"] = f'"{if_none_match}"'
        try:
            with allowed(limit_bytes, self._operation):
                odd = None
                # Another thread may give it up at any moment.
                signed = self._signed
                if signed is not None:
                    try:
                        return signed.get(key, conditions, limit_bytes, once)
                    except _Odd as problem:
                        odd = problem
                answer = self._plainly(key, conditions, limit_bytes, may_be_denied)
                if odd is not None and not odd.passing and answer.status == 200:
                    # boto3 knows better how to ask this server.
                    self._signed = None
                return answer
        except Exception as problem:
            raise self._trouble(problem, self._connection, key) from problem

    def pages(self, delimiter: str | None = None) -> Iterator[ListPage]:
        """All that is below the prefix, page by page.

        Args:
            delimiter: What ends a folder's name, to list folders instead of what is in them.

        Raises:
            LayerUnavailable: It cannot be listed.
        """
        further = {"delimiter": delimiter} if delimiter else {}
        try:
            yield from pages(partial(self._page, further), self.bounds)
        except Exception as problem:
            raise self._trouble(problem, self._connection) from problem

    def stop(self) -> None:
        """End the round: what other threads still ask is given up."""
        self._operation.stop()

    def close(self) -> None:
        """Let go of the connections; `open` makes new ones."""
        if self._signed is not None:
            self._signed.close()
        self._signed = self._connection = None

    def _count(self, requests: int, received_bytes: int) -> None:
        with self._counting:
            self.traffic += Traffic(requests, received_bytes)

    def _trouble(
        self, problem: Exception, used: Connection | None, key: str | None = None
    ) -> Exception:
        """What to raise for it. The next round gets a new client where credentials failed."""
        error = words(problem, self.place, used, key)
        if is_about_credentials(problem):
            forget(self.place)
        return error

    # Through boto3

    def _through_boto3(self, operation: str, **given: Any) -> Any:
        assert self._connection is not None
        before = sent()
        try:
            return getattr(self._connection.client, operation)(Bucket=self.place.bucket, **given)
        finally:
            self._count(sent() - before, 0)

    def _plainly(
        self, key: str, conditions: Mapping[str, str], limit_bytes: int, may_be_denied: bool
    ) -> Answer:
        from botocore.exceptions import ClientError

        given = {name.replace("-", ""): value for name, value in conditions.items()}
        try:
            response = self._through_boto3("get_object", Key=key, **given)
        except ClientError as problem:
            status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = problem.response["Error"].get("Code")
            if status in _PLAIN and code != "NoSuchBucket":
                return Answer(status)
            if may_be_denied and code == "AccessDenied":
                return Answer(403)
            raise
        data = whole_body(response, limit_bytes)
        self._count(0, len(data))
        return Answer(200, data, response.get("ETag", "").strip('"'))

    def _page(self, further: Mapping[str, str], token: str | None) -> ListPage:
        asked = {**further, "prefix": self.place.prefix}
        if token:
            asked["continuation-token"] = token
        with allowed(LIMIT_PAGE_BYTES, self._operation):
            signed = self._signed
            if signed is not None:
                try:
                    return signed.page(asked)
                except _Odd:
                    pass
            answer = self._through_boto3(
                "list_objects_v2",
                **{name.title().replace("-", ""): value for name, value in asked.items()},
            )
        headers = refuse_cut(answer)
        self._count(0, int(headers.get("content-length", 0)))
        page = page_of(answer)
        if page is None:
            raise CutOff
        return page


def whole_body(answer: Mapping[str, Any], limit_bytes: int) -> bytes:
    """The object in a boto3 answer."""
    with answer["Body"] as body:
        refuse_cut(answer)
        # It waits for as much as it is asked for, so not much.
        return _taken(body.read, 1 << 10, answer.get("ContentLength"), limit_bytes)


def refuse_cut(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers of a boto3 answer that has a body.

    Raises:
        CutShort: They end before a length was said: boto3 takes that for an empty body.
    """
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    if "content-length" not in headers and "transfer-encoding" not in headers:
        raise CutShort
    return headers


class _Odd(Exception):
    """boto3 had better ask; `passing`: this time."""

    def __init__(self, *, passing: bool) -> None:
        super().__init__()
        self.passing = passing


class _Signed:
    """Signed GETs over kept connections. Raises `_Odd` where boto3 had better ask."""

    def __init__(self, base: str, made: Connection, region: str, count: Count) -> None:
        self._path = urlsplit(base).path
        self._count = count
        self._region = region
        self._credentials = made.credentials
        self._connections = Connections(
            base,
            connect_s=CONNECT_TIMEOUT_S,
            read_s=READ_TIMEOUT_S,
            context=_trust(made) if base.startswith("https:") else None,
        )

    @classmethod
    def of(cls, made: Connection, place: Place, count: Count) -> _Signed | None:
        from botocore.utils import get_environ_proxies

        config = made.client.meta.config
        odd = (
            made.credentials is None
            or config.signature_version != "s3v4"
            or config.client_cert
            or config.proxies
            or ":" in place.bucket
            or place.bucket.endswith("--x-s3")
        )
        if odd:
            return None
        # Every style of endpoint, and what the bucket's name does to it, is botocore's business.
        given = {"Bucket": place.bucket, "Key": "x"}
        example = made.client.generate_presigned_url("get_object", Params=given).partition("?")[0]
        if not example.endswith("/x") or get_environ_proxies(example):
            return None
        region = made.client.meta.region_name or "us-east-1"
        region = "us-east-1" if region == "aws-global" else region
        return cls(example[:-1], made, region, count)

    def close(self) -> None:
        self._connections.close()

    def get(self, key: str, conditions: Mapping[str, str], limit_bytes: int, once: bool) -> Answer:
        path = self._path + quote(key, safe="/-_.~")
        status, headers, data = self._ask(path, "", conditions, limit_bytes, once)
        if status == 404 and b"<Code>NoSuchBucket</Code>" in data:
            raise _Odd(passing=True)
        return Answer(status, data, headers.get("ETag", "").strip('"'))

    def page(self, given: Mapping[str, str]) -> ListPage:
        asked = {"list-type": "2", "encoding-type": "url", **given}
        query = "&".join(f"{k}={quote(v, safe='-_.~')}" for k, v in sorted(asked.items()))
        path = self._path.rstrip("/") or "/"
        status, _, data = self._ask(path, query, {}, LIMIT_PAGE_BYTES, once=False)
        page = read_page(data) if status == 200 else None
        if page is None:
            raise _Odd(passing=True)
        return page

    def _ask(
        self, path: str, query: str, conditions: Mapping[str, str], limit_bytes: int, once: bool
    ) -> tuple[int, Message, bytes]:
        credentials = self._credentials.get_frozen_credentials()
        headers = signature(
            self._connections.host,
            path,
            query,
            conditions,
            key=credentials.access_key,
            secret=credentials.secret_key,
            token=credentials.token,
            region=self._region,
            at_s=time.time(),
        )
        headers |= {"Host": self._connections.host, "User-Agent": "yamlgraph-prompts"}
        data = b""
        try:
            connection, response = self._connections.ask(f"{path}?{query}".rstrip("?"), headers)
            try:
                data = _whole(response, limit_bytes)
            except BaseException:
                connection.close()
                raise
        except (ConnectionResetError, BrokenPipeError, HTTPException, CutShort) as problem:
            raise _Odd(passing=True) from problem
        except Unanswered as problem:
            if once:
                raise
            # One of many may be slow; boto3 asks as often as is right.
            raise _Odd(passing=True) from problem
        finally:
            self._count(1, len(data))
        self._connections.keep(connection)
        status = response.status
        if status in _PLAIN:
            return status, response.headers, data
        if once and status in _LOADED:
            raise _refusal(status, response.headers, data)
        # Overloaded, in another region, signed otherwise, or a plain no: boto3 knows more about it.
        raise _Odd(passing=status in _LOADED)


def _trust(made: Connection) -> ssl.SSLContext:
    """What botocore's own clients take; see `botocore.session` and `botocore.args`."""
    from botocore.httpsession import get_cert_path

    said = made.session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    path = get_cert_path(said or True)
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _refusal(status: int, headers: Message, data: bytes) -> Exception:
    """What boto3 would raise."""
    from botocore.exceptions import ClientError

    code = _CODE.search(data)
    facts = {
        "Error": {"Code": code[1].decode("ascii", "replace") if code else str(status)},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {name.lower(): value for name, value in headers.items()},
        },
    }
    refusal: Exception = ClientError(facts, "GetObject")
    return refusal


def _whole(response: HTTPResponse, limit_bytes: int) -> bytes:
    with response:
        # Without a length the head has ended early: an end of the connection ends a head, too.
        if response.status == 200 and response.length is None and not response.chunked:
            raise CutShort
        # An error's words are no object.
        limit_bytes = limit_bytes if response.status == 200 else LIMIT_ERROR_BYTES
        return _taken(response.read1, 1 << 20, response.length, limit_bytes)


def _taken(read: Callable[[int], bytes], amount: int, size: int | None, limit_bytes: int) -> bytes:
    """All of a body."""
    if size is not None and size > limit_bytes:
        raise TooMuch(f"an answer of {size:,} bytes is larger than it may be ({limit_bytes:,})")
    parts: list[bytes] = []
    taken = 0
    while size is None or taken < size:
        part = read(amount)
        if not part:
            break
        parts.append(part)
        taken += len(part)
        if taken > limit_bytes:
            raise TooMuch(f"an answer is larger than it may be ({limit_bytes:,} bytes)")
    if size is not None and taken != size:
        raise CutShort
    return parts[0] if len(parts) == 1 else b"".join(parts)
