"""The objects below a prefix: read, list, write. Raises `LayerUnavailable` for what fails.

Reads with signed requests that cost less than boto3's; boto3 sends again what is not answered
plainly.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from yamlgraph_prompts.errors import LayerError
from yamlgraph_prompts.sources import Traffic
from yamlgraph_prompts.sources.s3 import listing
from yamlgraph_prompts.sources.s3.bounds import (
    LIMIT_ANSWER_BYTES,
    LIMIT_ERROR_BYTES,
    Bounds,
    Operation,
    allowed,
    operation_here,
    unpacked,
)
from yamlgraph_prompts.sources.s3.client import Connection, connection, forget
from yamlgraph_prompts.sources.s3.errors import (
    denies_a_key,
    is_about_credentials,
    layer_error,
    status_of,
)
from yamlgraph_prompts.sources.s3.location import Location

CONFLICTS = 5

_NOT_FOUND, _CONFLICT, _FAILED_CONDITION, _NOT_IMPLEMENTED = 404, 409, 412, 501
_PLAIN = (200, 304, _NOT_FOUND, _FAILED_CONDITION)
_OVERLOADED = (429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a GET: status 200, 304, 404 or 412, and for 200 the object."""

    status: int
    data: bytes = b""
    etag: str = ""
    size: int = 0  # of the object, which may be compressed

    @classmethod
    def of(cls, status: int, data: bytes, etag: str, encoding: str, limit_bytes: int) -> Answer:
        """The answer with these headers; an object that was stored compressed is unpacked."""
        plain = unpacked(data, encoding, limit_bytes) if status == 200 else data
        return cls(status, plain, etag.strip('"'), len(data))


class Objects:
    """The objects below a location; a key is what follows its prefix. Thread-safe."""

    def __init__(
        self,
        location: Location,
        below: str = "",
        *,
        bounds: Bounds | None = None,  # from one `open` to the next
        is_patient: bool = False,
    ) -> None:
        self.location = location
        self.bounds = bounds
        self.traffic = Traffic()
        self._prefix = location.prefix + below
        self._is_patient = is_patient
        self._operation: Operation | None = None
        self._counting = threading.Lock()
        self._connection: Connection | None = None

    def open(self) -> None:
        """Connect, and begin an operation with the bounds."""
        before, self._connection = self._connection, None
        self._operation = Operation(self.bounds or Bounds(), self._count)
        with self._explained(), self._asking(LIMIT_ANSWER_BYTES) as conn:
            if conn is not before:
                # After a fork the lock may be held by a thread that is not there.
                self._counting = threading.Lock()
            self._connection = conn

    def stop(self) -> None:
        """End the operation: other threads give up what they still wait for."""
        if self._operation is not None:
            self._operation.stop()

    def close(self) -> None:
        """Let go of the client, which others may share; `open` finds it again."""
        self._connection = None

    def url(self, key: str) -> str:
        return f"s3://{self.location.bucket}/{self._prefix}{key}"

    def get(self, key: str, limit_bytes: int) -> bytes | None:
        answer = self.ask(key, limit_bytes=limit_bytes)
        return answer.data if answer.status == 200 else None

    def ask(
        self,
        key: str,
        *,
        limit_bytes: int,
        if_match: str | None = None,
        if_none_match: str | None = None,
        once: bool = False,  # do not try again if the server is overloaded
        # S3 answers 403 for a missing object if the credentials may not list.
        may_be_denied: bool = False,
    ) -> Answer:
        """One object. Conditions are ETags: unmet, the status is 412 or 304."""
        name = self._prefix + key
        conditions = {}
        if if_match:
            conditions["If-Match"] = f'"{if_match}"'
        if if_none_match:
            conditions["If-None-Match"] = f'"{if_none_match}"'
        with self._explained(key), self._asking(limit_bytes) as conn:
            signed = conn.signed(self.location.bucket)
            response = signed and signed.get(name, conditions, once=once)
            if response:
                status, data = response.status_code, response.content
                if status in _PLAIN and not (status == _NOT_FOUND and b">NoSuchBucket<" in data):
                    headers = response.headers
                    etag, encoding = headers.get("ETag", ""), headers.get("Content-Encoding", "")
                    return Answer.of(status, data, etag, encoding, limit_bytes)
                if once and status in _OVERLOADED:
                    raise _refusal(response)
            answer = self._through_boto3(conn, name, conditions, limit_bytes, may_be_denied)
            if response and status not in _PLAIN + _OVERLOADED and answer.status == 200:
                # In another region, or signed otherwise: boto3 knows better.
                conn.leave_to_boto3(self.location.bucket)
            return answer

    def pages(
        self, below: str = "", *, delimiter: str | None = None, after: str = ""
    ) -> Iterator[listing.ListPage]:
        """All keys that begin with `below`; not every server leaves out those up to `after`."""
        optional = {"delimiter": delimiter or "", "start-after": after and self._prefix + after}
        parameters = {name: value for name, value in optional.items() if value}
        parameters["prefix"] = self._prefix + below
        operation = self._operation or operation_here()
        with self._explained():
            yield from listing.all_pages(partial(self._page, parameters), operation.bounds.pages)

    def keys(self, below: str, after: str = "") -> Iterator[str]:
        """Every key that begins with `below` and comes after `after`, in order."""
        for page in self.pages(below, after=after):
            for one in page.listed:
                if one.key > after:
                    yield one.key

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whether or not there is one."""
        with self._explained(key, writes=True):
            self._put(key, data)

    # NotImplementedError: the server does not know the condition.
    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object if there is none; whether this call wrote it."""
        with self._explained(key, writes=True):
            for attempt in range(CONFLICTS):
                try:
                    self._put(key, data, IfNoneMatch="*")
                    return True
                except Exception as problem:
                    status = status_of(problem)
                    if status == _FAILED_CONDITION:
                        return False
                    if status == _NOT_IMPLEMENTED:
                        raise NotImplementedError(key) from problem
                    if status != _CONFLICT or attempt == CONFLICTS - 1:
                        raise
                    # Another client writes this object right now: soon one of the two has won.
                    time.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returned or raised")

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        # From a stream each block has the time that all of it would have from bytes.
        with self._asking(LIMIT_ERROR_BYTES) as conn:
            conn.client.put_object(
                Bucket=self.location.bucket,
                Key=self._prefix + key,
                Body=io.BytesIO(data),
                **condition,
            )

    def _count(self, received_bytes: int) -> None:
        with self._counting:
            self.traffic += Traffic(1, received_bytes)

    @contextmanager
    def _asking(self, limit_bytes: int) -> Iterator[Connection]:
        with allowed(limit_bytes, self._operation or operation_here()):
            yield self._connection or connection(self.location, is_patient=self._is_patient)

    @contextmanager
    def _explained(self, key: str | None = None, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except (LayerError, NotImplementedError):
            raise
        except Exception as problem:
            name = None if key is None else self._prefix + key
            error = layer_error(problem, self.location, self._connection, name, writes=writes)
            if is_about_credentials(problem):
                # They may be corrected while this process runs.
                forget(self.location)
            raise error from problem

    def _through_boto3(
        self,
        conn: Connection,
        name: str,
        conditions: Mapping[str, str],
        limit_bytes: int,
        may_be_denied: bool,
    ) -> Answer:
        from botocore.exceptions import ClientError

        arguments = {header.replace("-", ""): value for header, value in conditions.items()}
        try:
            answer = conn.client.get_object(Bucket=self.location.bucket, Key=name, **arguments)
        except ClientError as problem:
            status, code = status_of(problem), problem.response["Error"].get("Code")
            if status in _PLAIN and code != "NoSuchBucket":
                return Answer(status)
            if may_be_denied and code == "AccessDenied" and not denies_a_key(problem):
                return Answer(403)
            raise
        etag, encoding = answer.get("ETag", ""), answer.get("ContentEncoding", "")
        return Answer.of(200, answer["Body"].read(), etag, encoding, limit_bytes)

    def _page(self, parameters: Mapping[str, str], token: str | None) -> listing.ListPage:
        if token:
            parameters = {**parameters, "continuation-token": token}
        with self._asking(listing.LIMIT_PAGE_BYTES) as conn:
            signed = conn.signed(self.location.bucket)
            response = signed and signed.list(parameters)
            page = None
            if response and response.status_code == 200:
                page = listing.read_page(response.content, self._prefix)
            if page is None:
                arguments = {name.title().replace("-", ""): parameters[name] for name in parameters}
                answer = conn.client.list_objects_v2(Bucket=self.location.bucket, **arguments)
                page = listing.read_page(answer["Body"], self._prefix)
        if page is None:
            raise listing.CutOff
        return page


def _refusal(response: Any) -> Exception:
    """What boto3 would raise."""
    from botocore.exceptions import ClientError
    from botocore.parsers import create_parser

    answer = {
        "body": response.content,
        "headers": {name.lower(): value for name, value in response.headers.items()},
        "status_code": response.status_code,
    }
    refusal: Exception = ClientError(create_parser("rest-xml").parse(answer, None), "GetObject")
    return refusal
