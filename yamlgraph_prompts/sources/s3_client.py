"""Where in S3 a layer is, a client for it, and words for what goes wrong. Reads no object.

boto3 is imported when the first client is made.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources.s3_words import (
    error_code,
    explain,
    is_about_one_object,
    retry_after_s,
)

CONNECTIONS = 16
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 1.5
ATTEMPTS = 2

_PARAMETERS = ("region", "endpoint", "profile")


@dataclass(frozen=True)
class Place:
    """A bucket and a prefix, and how to get there.

    Args:
        bucket: The bucket's name.
        prefix: What every key begins with: empty, or it ends with ``/``.
        region: The region; what the credential chain's configuration says when left out.
        endpoint: The server's URL; likewise.
        profile: The profile of ``~/.aws/config``; likewise.

    Example:
        >>> place = Place.parse("s3://acme-prompts/production?region=eu-north-1")
        >>> place.bucket, place.prefix, place.region
        ('acme-prompts', 'production/', 'eu-north-1')
    """

    bucket: str
    prefix: str
    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None

    @classmethod
    def parse(cls, url: str) -> Place:
        """The place that an ``s3://bucket/prefix?region=&endpoint=&profile=`` URL names.

        Raises:
            LayerUnavailable: It is no such URL.
        """
        parts = urlsplit(url)
        # What stands before an @ may be a secret, so it is in no message.
        shown = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        given = dict(pairs)
        unknown = sorted(set(given) - set(_PARAMETERS))
        if "@" in parts.netloc or "@" in given.get("endpoint", ""):
            problem = "holds credentials"
            hint = "Use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ?profile=NAME."
        elif not parts.netloc or parts.scheme != "s3":
            problem, hint = "names no bucket", "Write s3://bucket/prefix/."
        elif unknown:
            problem = f"has a parameter that is not known: {', '.join(unknown)}"
            hint = f"Known are {', '.join(_PARAMETERS)}."
        elif len(pairs) > len(given):
            problem, hint = "has a parameter twice", "Keep the one that is meant."
        elif parts.fragment:
            problem, hint = "holds a '#'", "Write %23 for one that belongs to the prefix."
        elif (endpoint := given.get("endpoint")) and not _is_endpoint(endpoint):
            problem, hint = "has an endpoint that is no URL", "Write endpoint=https://host:port."
        else:
            prefix = unquote(parts.path).strip("/")
            chosen = {name: given[name] for name in _PARAMETERS if given.get(name)}
            return cls(parts.netloc, f"{prefix}/" if prefix else "", **chosen)
        raise LayerUnavailable(f"The URL {shown} {problem}.", layer=shown, hint=hint)

    @property
    def url_without_secrets(self) -> str:
        """The place as a person would write it: bucket and prefix, no parameters."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def identity(self) -> str:
        """As `url_without_secrets`, but two servers' buckets of one name are told apart."""
        further = {name: value for name in _PARAMETERS if (value := getattr(self, name))}
        return self.url_without_secrets + (f"?{urlencode(further)}" if further else "")


@dataclass(frozen=True)
class Connection:
    """A client, and what is needed to say which credentials it uses.

    Args:
        client: The boto3 client.
        session: The botocore session that it was made from.
        credentials: Its credentials, which refresh themselves; None when there are none.
    """

    client: Any
    session: Any
    credentials: Any


def client(place: Place, *, read_timeout_s: float = READ_TIMEOUT_S) -> Any:
    """A boto3 client for this place, the same one for every equal question in this process.

    The whole credential chain counts, ``AWS_ENDPOINT_URL_S3`` too. Thread-safe. One call takes
    about 4 s at most where nobody answers, and no more than `bounds.allowed` lets it.

    Args:
        place: Where.
        read_timeout_s: Seconds to wait for the server's next byte; more for one that has much to
            write before it answers.

    Raises:
        Exception: Whatever botocore raises for a configuration that it cannot use; see `words`.
    """
    return connection(place, read_timeout_s=read_timeout_s).client


def connection(place: Place, *, read_timeout_s: float = READ_TIMEOUT_S) -> Connection:
    """As `client`, with what else is known of it."""
    key = (_key(place), read_timeout_s)
    with _making:
        found = _made.get(key)
        if found is None:
            found = _made[key] = _connect(place, read_timeout_s)
    return found


def forget(place: Place) -> None:
    """Make the next client anew: credentials that did not work may have been mended since."""
    key = _key(place)
    for one in [one for one in list(_made) if one[0] == key]:
        _made.pop(one, None)


def words(
    problem: BaseException, place: Place, used: Connection | None = None, key: str | None = None
) -> LayerError:
    """One clear error for what botocore raised: where, with which credentials, what to try.

    Args:
        problem: What was raised.
        place: Where.
        used: What it was asked through; what `connection` gives when left out.
        key: The object that was asked for.

    Returns:
        The error to raise: `LayerNotFound` for an object that is not there, else
        `LayerUnavailable`. It holds no secret; of an access key only the last four characters.
    """
    if isinstance(problem, LayerError):
        return problem
    what, hint = explain(problem)
    layer = place.url_without_secrets
    where = f"s3://{place.bucket}/{key}" if key and is_about_one_object(problem) else layer
    message = f"{where}: {what} ({circumstances(place, used)})."
    if error_code(problem) in ("NoSuchKey", "NoSuchVersion"):
        return LayerNotFound(message, layer=layer, hint=hint)
    return LayerUnavailable(message, layer=layer, hint=hint, retry_after_s=retry_after_s(problem))


_made: dict[tuple[object, float], Connection] = {}
_making = threading.Lock()


def _after_fork() -> None:
    global _making
    # Neither the parent's sockets nor a lock that one of its threads held are of use.
    _making = threading.Lock()
    _made.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _key(place: Place) -> object:
    said = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return place.region, place.endpoint, place.profile, hash(tuple(said))


def _connect(place: Place, read_timeout_s: float) -> Connection:
    import boto3
    from botocore.config import Config

    from yamlgraph_prompts.sources.s3_session import MeteredSession

    # A session of our own: boto3's default one is not thread-safe.
    session = MeteredSession(profile=place.profile)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        user_agent_extra="yamlgraph-prompts",
        # Other servers than AWS's do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = boto3.Session(botocore_session=session).client(
        "s3", region_name=place.region, endpoint_url=place.endpoint, config=config
    )
    made.meta.events.register("before-send.s3", _sent)
    return Connection(made, session, session.get_credentials())


# A client asks in the thread that calls it, once or several times, and several places share it.
_sending = threading.local()


def _sent(**_: object) -> None:
    _sending.count = sent() + 1


def sent() -> int:
    """How many requests this thread has sent through boto3 so far."""
    return getattr(_sending, "count", 0)


def _is_endpoint(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def circumstances(place: Place, used: Connection | None = None) -> str:
    """Where, and with which credentials; asks nobody, and holds no secret."""
    key = _key(place)
    made = used or next((found for one, found in list(_made.items()) if one[0] == key), None)
    said = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    endpoint = place.endpoint or next(filter(None, said), "the default")
    if made is not None:
        endpoint = made.client.meta.endpoint_url
    parts = urlsplit(endpoint)
    if parts.username or parts.password:
        endpoint = endpoint.replace(f"{parts.netloc.rpartition('@')[0]}@", "")
    who = _credentials(place, made)
    where = f"bucket {place.bucket}, prefix {place.prefix or '(none)'}, endpoint {endpoint}"
    return f"{where}, credentials: {who}"


def _credentials(place: Place, made: Connection | None) -> str:
    profile = place.profile or os.environ.get("AWS_PROFILE")
    suffix = f", profile {profile}" if profile else ""
    if made is None:
        return f"not known yet{suffix}"
    if made.credentials is None:
        return f"none{suffix}"
    # Not the property: it may go and fetch a new key.
    facts = vars(made.credentials)
    key = str(facts.get("_access_key") or facts.get("access_key") or "").strip()
    ends = f" ending in {key[-4:]}" if len(key) >= 12 else ""
    origin = _ORIGINS.get(made.credentials.method, made.credentials.method)
    return f"access key{ends} from {origin}{suffix}"


_ORIGINS = {
    "env": "the environment",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a web identity (IRSA)",
    "sso": "single sign-on",
    "iam-role": "the machine's role",
    "container-role": "the container's role",
    "custom-process": "a credential process",
}
