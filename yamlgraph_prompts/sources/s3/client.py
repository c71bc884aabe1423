"""One client for each server and its credentials, shared by the whole process.

boto3 is imported when the first client is made.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._files.forks import in_child
from yamlgraph_prompts.sources.s3.location import Location

if TYPE_CHECKING:
    from yamlgraph_prompts.sources.s3.session import SignedBucket

PARALLEL = 48
PAYER = "x-amz-request-payer"
ATTEMPTS = 2
# A push may wait longer than a start: nothing is served from it, and a release may be large.
CONNECT_TIMEOUT_S, PATIENT_CONNECT_TIMEOUT_S = 1.0, 5.0
READ_TIMEOUT_S, PATIENT_READ_TIMEOUT_S = 1.5, 20.0


class Connection:
    """A boto3 client and its credentials, which refresh themselves; None when there are none."""

    def __init__(self, client: Any, credentials: Any, payer: str | None = None) -> None:
        self.client = client
        self.credentials = credentials
        self._headers = {PAYER: payer} if payer else {}
        self._signed: dict[str, SignedBucket | None] = {}

    def signed(self, bucket: str) -> SignedBucket | None:
        """Sends requests to a bucket past boto3; None if only boto3 knows how."""
        from yamlgraph_prompts.sources.s3.session import SignedBucket

        if bucket not in self._signed:
            self._signed[bucket] = SignedBucket.of(
                self.client, self.credentials, bucket, self._headers
            )
        return self._signed[bucket]

    def leave_to_boto3(self, bucket: str) -> None:
        """Send no more requests to this bucket past boto3."""
        self._signed[bucket] = None


def connection(location: Location, *, is_patient: bool = False) -> Connection:
    """The client for a location; the same one for equal credentials. Thread-safe.

    The whole credential chain counts, ``AWS_ENDPOINT_URL_S3`` too. Raises what botocore raises.
    """
    key = (_key(location), is_patient)
    with _making:
        if key not in _made:
            _made[key] = _connect(location, is_patient)
        return _made[key]


def known(location: Location) -> Connection | None:
    """The existing connection to it."""
    key = _key(location)
    return next((conn for (one, _), conn in list(_made.items()) if one == key), None)


def forget(location: Location) -> None:
    """Drop the clients: credentials that failed may have been corrected since."""
    for is_patient in (False, True):
        _made.pop((_key(location), is_patient), None)


_made: dict[tuple[object, bool], Connection] = {}
_making = threading.Lock()


@in_child
def _after_fork() -> None:
    global _making
    # The parent's sockets, and a lock that one of its threads held, are of no use.
    _making = threading.Lock()
    _made.clear()


def _key(location: Location) -> object:
    variables = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    place = location.region, location.endpoint, location.profile, location.addressing
    return *place, location.request_payer, hash(tuple(variables))


def _connect(location: Location, is_patient: bool) -> Connection:
    import boto3
    from botocore.config import Config

    from yamlgraph_prompts.sources.s3.session import BoundedSession

    # A session of our own: boto3's default one is not thread-safe.
    session = BoundedSession(profile=location.profile)
    config = Config(
        connect_timeout=PATIENT_CONNECT_TIMEOUT_S if is_patient else CONNECT_TIMEOUT_S,
        read_timeout=PATIENT_READ_TIMEOUT_S if is_patient else READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=PARALLEL,
        user_agent_extra="yamlgraph-prompts",
        # Other servers than AWS's do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": location.addressing} if location.addressing else None,
    )
    client = boto3.Session(botocore_session=session).client(
        "s3", region_name=location.region, endpoint_url=location.endpoint, config=config
    )
    # boto3 takes any document for an empty list, so its answer gets the document as well.
    client.meta.events.register("after-call.s3.ListObjectsV2", _with_body)
    if location.request_payer:
        client.meta.events.register("before-call.s3", partial(_pays, location.request_payer))
    return Connection(client, session.get_credentials(), location.request_payer)


def _pays(payer: str, params: dict[str, Any], **_: object) -> None:
    params["headers"][PAYER] = payer


def _with_body(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
    parsed["Body"] = http_response.content
