"""What publishing asks of a bucket: get, put, put if new, list. Knows no releases."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources.bounds import (
    LIMIT_ERROR_BYTES,
    LIMIT_PAGE_BYTES,
    allowed,
    pages,
)
from yamlgraph_prompts.sources.s3_bucket import CutOff, refuse_cut, whole_body
from yamlgraph_prompts.sources.s3_client import Connection, Place, connection, forget, words
from yamlgraph_prompts.sources.s3_page import ListPage, page_of
from yamlgraph_prompts.sources.s3_words import error_code, is_about_credentials

# A push may wait longer than a start: nobody serves from it, and a pack may be large.
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
CONFLICTS = 5

_NOT_FOUND, _CONFLICT, _FAILED_CONDITION, _NOT_IMPLEMENTED = 404, 409, 412, 501

# A botocore session makes one client at a time, and several pushers may share it.
_making = threading.Lock()


class Objects:
    """The objects below one prefix; a key is what stands behind it.

    Args:
        place: The bucket and what its keys begin with.
        below: What comes next in every key, such as ``".releases/"``.
    """

    def __init__(self, place: Place, below: str) -> None:
        self.place = place
        self._prefix = place.prefix + below

    def url(self, key: str) -> str:
        """The object as a person would name it."""
        return f"s3://{self.place.bucket}/{self._prefix}{key}"

    def get(self, key: str, limit_bytes: int) -> bytes | None:
        """An object's bytes; None where there is none.

        Raises:
            LayerUnavailable: It cannot be read, or is larger than `limit_bytes`.
        """
        try:
            with self._told("read", key), allowed(limit_bytes):
                answer = self._client.get_object(Bucket=self.place.bucket, Key=self._prefix + key)
                return whole_body(answer, limit_bytes)
        except LayerNotFound:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whatever was there.

        Raises:
            LayerUnavailable: It cannot be written.
        """
        with self._told("written", key):
            self._put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object where there is none; whether it was this call that wrote it.

        Raises:
            LayerUnavailable: It cannot be written; whether it was, need not be known.
            NotImplementedError: The server knows no such condition.
        """
        with self._told("written", key):
            for attempt in range(CONFLICTS):
                try:
                    self._put(key, data, IfNoneMatch="*")
                    return True
                except Exception as problem:
                    status = _status(problem)
                    if status == _FAILED_CONDITION:
                        return False
                    if status == _NOT_IMPLEMENTED:
                        raise NotImplementedError(key) from problem
                    if status != _CONFLICT or attempt == CONFLICTS - 1:
                        raise
                    # Another writer of this name is under way: soon one of the two has won.
                    time.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returned or raised")

    def keys(self, below: str, after: str = "") -> Iterator[str]:
        """Every key that begins with `below`, in their order, from behind `after` on.

        Raises:
            LayerUnavailable: They cannot be listed, or are too many.
        """
        asked = {"Bucket": self.place.bucket, "Prefix": self._prefix + below}
        if after:
            asked["StartAfter"] = self._prefix + after

        def ask(token: str | None) -> ListPage:
            further = {"ContinuationToken": token} if token else {}
            with allowed(LIMIT_PAGE_BYTES):
                answer = self._client.list_objects_v2(**asked, **further)
            refuse_cut(answer)
            page = page_of(answer)
            if page is None:
                raise CutOff
            return page

        with self._told("read"):
            for page in pages(ask):
                for found in page.listed:
                    key = found.key.removeprefix(self._prefix)
                    # Not every server knows StartAfter.
                    if key > after:
                        yield key

    @property
    def _client(self) -> Any:
        with _making:
            return _patient(connection(self.place), self.place.region, self.place.endpoint)

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        # From a stream each block has the time that the whole would have from bytes.
        with allowed(LIMIT_ERROR_BYTES):
            self._client.put_object(
                Bucket=self.place.bucket, Key=self._prefix + key, Body=io.BytesIO(data), **condition
            )

    @contextmanager
    def _told(self, done: str, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except (NotImplementedError, LayerError):
            raise
        except Exception as problem:
            raise self._refusal(problem, done, key) from problem

    def _refusal(self, problem: Exception, done: str, key: str | None) -> LayerError:
        told = words(problem, self.place, key=self._prefix + key if key else None)
        if is_about_credentials(problem):
            # They may be mended while this process lives.
            forget(self.place)
        if done == "read" or error_code(problem) != "AccessDenied":
            return told
        hint = "Pushing needs s3:PutObject, s3:GetObject and s3:ListBucket there."
        return LayerUnavailable(told.message, layer=told.layer, hint=hint)


@lru_cache(maxsize=8)
def _patient(known: Connection, region: str | None, endpoint: str | None) -> Any:
    from botocore.config import Config

    patient = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)
    return known.session.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        config=known.client.meta.config.merge(patient),
    )


def _status(problem: Exception) -> int | None:
    answer = getattr(problem, "response", None)
    if not isinstance(answer, dict):
        return None
    status: int | None = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status
