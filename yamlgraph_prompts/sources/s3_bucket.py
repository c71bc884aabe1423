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

from yamlgraph_prompts.errors import LayerUnavailable
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


class Bucket:
    """A bucket, asked with the credentials and at the endpoint of a place. Thread-safe after `open`.

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
    ) -> Answer:
        """One object.

        Args:
            key: Its key.
            limit_bytes: The most bytes to take.
            if_match: Only if this is its ETag; else the status is 412.
            if_none_match: Only if this is not its ETag; else the status is 304.
            once: Do not ask again where the server is overloaded.

        Raises:
            LayerUnavailable: It cannot be had.
        """
        conditions = {}
        if if_match:
            conditions["If-Match"] = f'"{if_match}"'
        if if_none_match:
            conditions["If-None-Match"] = f'"{if_none_match}"'
        try:
            if self._signed is not None:
                found = self._signed.get(key, conditions, limit_bytes, once)
                if found is not None:
                    return found
            return self._plainly(key, conditions, limit_bytes)
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
                page = self._signed.page(self.place, token) if self._signed is not None else None
                listed, token = page if page is not None else self._page(token)
                yield listed
                if token is None:
                    return
        except Exception as problem:
            raise self.trouble(problem) from problem

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

    def _plainly(self, key: str, conditions: Mapping[str, str], limit_bytes: int) -> Answer:
        from botocore.exceptions import ClientError

        given = {name.replace("-", ""): value for name, value in conditions.items()}
        try:
            response = self._client.get_object(Bucket=self.place.bucket, Key=key, **given)
        except ClientError as problem:
            status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in _PLAIN and problem.response["Error"].get("Code") != "NoSuchBucket":
                return Answer(status)
            raise
        body = response["Body"]
        try:
            data = _taken(body, response.get("ContentLength"), limit_bytes, self.place)
        finally:
            body.close()
        return Answer(200, data, response.get("ETag", "").strip('"'))

    def _page(self, token: str | None) -> tuple[list[Listed], str | None]:
        given = {"ContinuationToken": token} if token else {}
        page = self._client.list_objects_v2(
            Bucket=self.place.bucket, Prefix=self.place.prefix, **given
        )
        listed = [
            Listed(o["Key"], o.get("ETag", "").strip('"'), o["Size"])
            for o in page.get("Contents", ())
        ]
        return listed, page.get("NextContinuationToken") if page.get("IsTruncated") else None


class _Signed:
    """Signed GETs over a pool of connections. Answers None where boto3 had better ask."""

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
        self.off = False

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

    def get(
        self, key: str, conditions: Mapping[str, str], limit_bytes: int, once: bool
    ) -> Answer | None:
        url = self._base + quote(key, safe="/-_.~")
        sent = self._send(url, conditions, limit_bytes, once)
        if sent is None:
            return None
        status, headers, data = sent
        if status == 404 and b"<Code>NoSuchBucket</Code>" in data:
            return None
        return Answer(status, data, headers.get("ETag", "").strip('"'))

    def page(self, place: Place, token: str | None) -> tuple[list[Listed], str | None] | None:
        asked = {"list-type": "2", "encoding-type": "url", "prefix": place.prefix}
        if token:
            asked["continuation-token"] = token
        query = "&".join(f"{k}={quote(v, safe='-_.~')}" for k, v in sorted(asked.items()))
        base = self._base
        if urlsplit(base).path != "/":
            base = base.rstrip("/")
        sent = self._send(f"{base}?{query}", {}, LIMIT_PAGE_BYTES, once=False)
        return _read_page(sent[2]) if sent is not None and sent[0] == 200 else None

    def _send(
        self, url: str, conditions: Mapping[str, str], limit_bytes: int, once: bool
    ) -> tuple[int, Mapping[str, str], bytes] | None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import ClientError

        if self.off:
            return None
        headers = {**self._agent, **conditions}
        request = AWSRequest("GET", url, headers=headers, stream_output=True)
        S3SigV4Auth(self._credentials, "s3", self._region).add_auth(request)
        response = self._http.send(request.prepare())
        raw = response.raw
        try:
            length = response.headers.get("Content-Length")
            size = int(length) if length is not None and length.isdigit() else None
            data = _taken(raw, size, limit_bytes, url=url)
        except BaseException:
            raw.close()
            raise
        raw.release_conn()
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
        # Another region, another way of signing, or a plain no: boto3 knows more about it.
        self.off = status not in _LOADED
        return None
