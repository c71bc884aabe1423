"""Two questions to a bucket: what is listed below a prefix, and one object's bytes.

botocore signs and sends them without the weight of a boto3 call; boto3 itself asks again whatever
is not answered plainly. Never takes more bytes than it was told to, nor waits for a trickle.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

from yamlgraph_prompts.sources.s3_client import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Connection,
    Place,
    connection,
    forget,
    words,
)
from yamlgraph_prompts.sources.s3_words import is_about_credentials

PARALLEL = 32
PATIENCE_S = 10.0  # a body may take this long, however slowly it comes
SLOWEST_BYTES_S = 16 << 10
LIMIT_PAGE_BYTES = 16 << 20
LIMIT_ERROR_BYTES = 64 << 10

_PLAIN = (200, 304, 404, 412)
_LOADED = (429, 500, 502, 503, 504)
_CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing. The ETag has no quotes."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question: status 200, 304, 404 or 412, and for 200 the object."""

    status: int
    data: bytes = b""
    etag: str = ""


class CutShort(Exception):
    """The connection ended in the middle."""


class TooSlow(Exception):
    """It trickles."""


class TooMuch(Exception):
    """More came than was to be taken."""


class Bucket:
    """A bucket, asked with a place's credentials at its endpoint. Thread-safe after `open`.

    Args:
        place: Where.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._connection: Connection | None = None
        self._signed: _Signed | None = None

    def open(self) -> None:
        """Be ready; to be called before each round of questions.

        Raises:
            LayerUnavailable: No client can be made.
        """
        try:
            made = connection(self.place)
            if made is not self._connection:
                # The first one, or after a fork, or with other credentials.
                self._signed = _Signed.of(made, self.place)
                self._connection = made
        except Exception as problem:
            raise self.trouble(problem) from problem

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
            odd = None
            if self._signed is not None:
                try:
                    return self._signed.get(key, conditions, limit_bytes, once)
                except _Odd as problem:
                    odd = problem
            answer = self._plainly(key, conditions, limit_bytes, may_be_denied)
            if odd is not None and not odd.passing and answer.status == 200:
                # boto3 knows better how to ask this server.
                self._signed = None
            return answer
        except Exception as problem:
            raise self.trouble(problem) from problem

    def pages(self) -> Iterator[list[Listed]]:
        """All that is below the prefix, page by page.

        Raises:
            LayerUnavailable: It cannot be listed.
        """
        token: str | None = None
        try:
            while True:
                listed, token = self._page(token)
                yield listed
                if token is None:
                    return
        except Exception as problem:
            raise self.trouble(problem) from problem

    def close(self) -> None:
        """Let go of the connections; `open` makes new ones."""
        if self._signed is not None:
            self._signed.close()
        self._signed = self._connection = None

    def trouble(self, problem: Exception) -> Exception:
        """What to raise for it. The next round gets a new client where credentials failed."""
        error = words(problem, self.place)
        if is_about_credentials(problem):
            forget(self.place)
        return error

    # Through boto3

    @property
    def _client(self) -> Any:
        assert self._connection is not None
        return self._connection.client

    def _plainly(
        self, key: str, conditions: Mapping[str, str], limit_bytes: int, may_be_denied: bool
    ) -> Answer:
        from botocore.exceptions import ClientError

        given = {name.replace("-", ""): value for name, value in conditions.items()}
        try:
            response = self._client.get_object(Bucket=self.place.bucket, Key=key, **given)
        except ClientError as problem:
            status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = problem.response["Error"].get("Code")
            if status in _PLAIN and code != "NoSuchBucket":
                return Answer(status)
            if may_be_denied and code == "AccessDenied":
                return Answer(403)
            raise
        body = response["Body"]
        try:
            data = _taken(body, response.get("ContentLength"), limit_bytes)
        finally:
            body.close()
        return Answer(200, data, response.get("ETag", "").strip('"'))

    def _page(self, token: str | None) -> tuple[list[Listed], str | None]:
        if self._signed is not None:
            try:
                return self._signed.page(self.place, token)
            except _Odd:
                pass
        given = {"ContinuationToken": token} if token else {}
        page = self._client.list_objects_v2(
            Bucket=self.place.bucket, Prefix=self.place.prefix, **given
        )
        listed = [
            Listed(o["Key"], o.get("ETag", "").strip('"'), o["Size"])
            for o in page.get("Contents", ())
        ]
        return listed, page.get("NextContinuationToken") if page.get("IsTruncated") else None


class _Odd(Exception):
    """boto3 had better ask; `passing`: this time."""

    def __init__(self, *, passing: bool) -> None:
        super().__init__()
        self.passing = passing


class _Signed:
    """Signed GETs over a pool of connections. Raises `_Odd` where boto3 had better ask."""

    def __init__(self, base: str, made: Connection, region: str) -> None:
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        # What botocore's own clients take; see botocore.session and botocore.args.
        verify = made.session.get_config_variable("ca_bundle")
        self._base = base
        self._region = region
        self._credentials = made.credentials
        self._http = URLLib3Session(
            verify=True if verify is None else verify,
            proxies=get_environ_proxies(base),
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            max_pool_connections=PARALLEL,
        )
        self._agent = {"User-Agent": "yamlgraph-prompts"}

    @classmethod
    def of(cls, made: Connection, place: Place) -> _Signed | None:
        config = made.client.meta.config
        odd = (
            made.credentials is None
            or config.signature_version != "s3v4"
            or config.client_cert
            or ":" in place.bucket
            or place.bucket.endswith("--x-s3")
        )
        if odd:
            return None
        # Every style of endpoint, and what the bucket's name does to it, is botocore's business.
        given = {"Bucket": place.bucket, "Key": "x"}
        example = made.client.generate_presigned_url("get_object", Params=given).partition("?")[0]
        region = made.client.meta.region_name or "us-east-1"
        if not example.endswith("/x"):
            return None
        return cls(example[:-1], made, "us-east-1" if region == "aws-global" else region)

    def close(self) -> None:
        self._http.close()

    def get(self, key: str, conditions: Mapping[str, str], limit_bytes: int, once: bool) -> Answer:
        url = self._base + quote(key, safe="/-_.~")
        status, headers, data = self._send(url, conditions, limit_bytes, once)
        if status == 404 and b"<Code>NoSuchBucket</Code>" in data:
            raise _Odd(passing=True)
        return Answer(status, data, headers.get("ETag", "").strip('"'))

    def page(self, place: Place, token: str | None) -> tuple[list[Listed], str | None]:
        asked = {"list-type": "2", "encoding-type": "url", "prefix": place.prefix}
        if token:
            asked["continuation-token"] = token
        query = "&".join(f"{k}={quote(v, safe='-_.~')}" for k, v in sorted(asked.items()))
        base = self._base
        if urlsplit(base).path != "/":
            base = base.rstrip("/")
        status, _, data = self._send(f"{base}?{query}", {}, LIMIT_PAGE_BYTES, once=False)
        page = _read_page(data) if status == 200 else None
        if page is None:
            raise _Odd(passing=True)
        return page

    def _send(
        self, url: str, conditions: Mapping[str, str], limit_bytes: int, once: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import ClientError, ConnectionClosedError

        headers = {**self._agent, **conditions}
        request = AWSRequest("GET", url, headers=headers, stream_output=True)
        S3SigV4Auth(self._credentials, "s3", self._region).add_auth(request)
        try:
            response = self._http.send(request.prepare())
            data = _whole(response, limit_bytes)
        except (ConnectionClosedError, CutShort) as problem:
            raise _Odd(passing=True) from problem
        status = response.status_code
        if status in _PLAIN:
            return status, response.headers, data
        if once and status in _LOADED:
            code = _CODE.search(data)
            facts = {
                "Error": {"Code": code[1].decode("ascii", "replace") if code else str(status)},
                "ResponseMetadata": {
                    "HTTPStatusCode": status,
                    "HTTPHeaders": {k.lower(): v for k, v in response.headers.items()},
                },
            }
            raise ClientError(facts, "GetObject")
        # Overloaded, in another region, signed otherwise, or a plain no: boto3 knows more about it.
        raise _Odd(passing=status in _LOADED)


def _whole(response: Any, limit_bytes: int) -> bytes:
    raw = response.raw
    try:
        length = response.headers.get("Content-Length", "")
        # An error's words are no object.
        limit_bytes = limit_bytes if response.status_code == 200 else LIMIT_ERROR_BYTES
        data = _taken(raw, int(length) if length.isdigit() else None, limit_bytes)
    except BaseException:
        raw.close()
        raise
    raw.release_conn()
    return data


def _taken(body: Any, size: int | None, limit_bytes: int) -> bytes:
    """All of a body. A read timeout restarts with each byte, so its speed is looked at too."""
    from urllib3.exceptions import ProtocolError

    # read() would wait for as many bytes as it is asked for.
    read, amount = getattr(body, "read1", None) or body.read, 1 << 16
    if not hasattr(body, "read1"):
        amount = 1 << 10
    parts: list[bytes] = []
    taken, began = 0, time.monotonic()
    while size is None or taken < size:
        try:
            part = read(amount)
        except ProtocolError as problem:
            raise CutShort from problem
        if not part:
            break
        parts.append(part)
        taken += len(part)
        took_s = time.monotonic() - began
        if taken > limit_bytes:
            raise TooMuch
        if took_s > PATIENCE_S and taken < took_s * SLOWEST_BYTES_S:
            raise TooSlow
    if size is not None and taken != size:
        raise CutShort
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_page(data: bytes) -> tuple[list[Listed], str | None] | None:
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in data:
        return None
    try:
        page = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        return None
    if not page.tag.endswith("ListBucketResult"):
        return None
    space = page.tag[: -len("ListBucketResult")]
    decoded = unquote_plus if page.findtext(f"{space}EncodingType") == "url" else str
    listed = [
        Listed(
            decoded(line.findtext(f"{space}Key", "")),
            line.findtext(f"{space}ETag", "").strip('"'),
            int(line.findtext(f"{space}Size", "0")),
        )
        for line in page.iter(f"{space}Contents")
    ]
    if page.findtext(f"{space}IsTruncated") != "true":
        return listed, None
    token = page.findtext(f"{space}NextContinuationToken")
    return (listed, token) if token else None
