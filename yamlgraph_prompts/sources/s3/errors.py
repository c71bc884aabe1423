"""Errors for what botocore raises: what is wrong, where, and what to try. Imports no boto3."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources.s3.bounds import BoundExceeded
from yamlgraph_prompts.sources.s3.client import Connection, known
from yamlgraph_prompts.sources.s3.location import Location

LIMIT_CODE = 100  # characters of S3's code for an error
LIMIT_HEADER = 400

_SLOW = {
    *("SlowDown", "503", "429", "ServiceUnavailable", "Throttling", "ThrottlingException"),
    *("RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "ReducePriority"),
}
_ELSEWHERE = {
    *("301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"),
    "IllegalLocationConstraintException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_DENIED = {"AccessDenied", "403", "AuthFailure", "InvalidClientTokenId"}
_NO_BUCKET = {"NoSuchBucket", "404", "NotFound"}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", *_EXPIRED, *_DENIED}
_NO_OBJECT = {"NoSuchKey", "NoSuchVersion"}
_OF_ALL_OBJECTS = {"RequestTimeTooSkewed", *_SLOW, *_ELSEWHERE, *_NO_BUCKET}
_OF_ONE_OBJECT = {"BadEncoding", "CutShort", "TooSlow", "TooMuch"}
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
    *("TokenRetrievalError", "NoAuthTokenError", "SSOError", "ProfileNotFound"),
    *("InvalidConfigError", "FileNotFoundError"),
}
_ALIASES = {
    **dict.fromkeys(_NO_BUCKET, "NoSuchBucket"),
    **dict.fromkeys(_NO_OBJECT, "NoSuchKey"),
    **dict.fromkeys(_DENIED, "AccessDenied"),
    **dict.fromkeys(_EXPIRED, "ExpiredToken"),
    **dict.fromkeys(_SLOW, "SlowDown"),
    "NewConnectionError": "EndpointConnectionError",
    "TokenRetrievalError": "SSOError",
}
# By S3's codes and by the names of classes of exceptions: what is wrong, and what to try.
_PROBLEMS = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such object",
    "InvalidAccessKeyId": "the server does not know this access key",
    "SignatureDoesNotMatch": "the secret key is not this access key's",
    "AccessDenied": "access is denied",
    "ExpiredToken": "the session token has expired or is not valid",
    "SlowDown": "the server is throttling",
    "SSLError": "no secure connection could be made",
    "ProxyConnectionError": "the proxy could not be reached",
    "EndpointConnectionError": "the endpoint refused the connection or does not exist",
    "ConnectTimeoutError": "no connection could be made in time",
    "ReadTimeoutError": "the server did not answer in time",
    "ConnectionClosedError": "the connection was cut",
    "CutOff": "the server's list is cut off",
    "NoRegionError": "no region is known",
    "InvalidRegionError": "the region's name cannot be right",
    "ProfileNotFound": "there is no such profile",
    "NoCredentialsError": "no credentials were found",
    "SSOError": "the single sign-on has ended",
    "FileNotFoundError": "a file that the credentials or certificates need is not there",
    "PermissionError": "a file that the credentials or certificates need may not be read",
    "ParamValidationError": "a parameter cannot be right",
    "CredentialRetrievalError": "the credentials could not be had",
}
_HINTS = {
    "NoSuchBucket": "Correct the bucket's name, the region or the endpoint.",
    "NoSuchKey": "Push a release, or upload prompts there.",
    "InvalidAccessKeyId": "Check AWS_PROFILE, ?profile=NAME or AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY or the profile, and the region.",
    "AccessDenied": "Reading needs s3:ListBucket, and s3:GetObject for all below the prefix.",
    "ExpiredToken": "Log in again (aws sso login).",
    "SlowDown": "It is asked again later, less and less often.",
    "SSLError": "Check the endpoint's certificate, or set AWS_CA_BUNDLE.",
    "ProxyConnectionError": "Check HTTPS_PROXY and NO_PROXY.",
    "EndpointConnectionError": "Check the endpoint, the region and the network.",
    "ConnectTimeoutError": "Check the endpoint and the network.",
    "ReadTimeoutError": "Try again, or ask the server's operator.",
    "ConnectionClosedError": "Try again, or ask the server's operator.",
    "CutOff": "Check what serves the endpoint.",
    "NoRegionError": "Set AWS_REGION, or add ?region=NAME to the URL.",
    "InvalidRegionError": "Correct AWS_REGION, or ?region=NAME in the URL.",
    "ProfileNotFound": "Check AWS_PROFILE and ~/.aws/config.",
    "NoCredentialsError": "Set AWS_PROFILE or AWS_ACCESS_KEY_ID, add ?profile=NAME, or use a role.",
    "SSOError": "Run aws sso login.",
    "FileNotFoundError": "Check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE and the profile.",
    "PermissionError": "Check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE and the profile.",
    "ParamValidationError": "Check the bucket's name, AWS_ROLE_ARN and its token.",
    "CredentialRetrievalError": "Check the profile's role, token file or credential process.",
}
_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_ROLE_HINT = "Check the role's ARN, whom it trusts, and the token or profile that assumes it."

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


def layer_error(
    problem: Exception,
    location: Location,
    used: Connection | None = None,
    name: str | None = None,
    *,
    writes: bool = False,
) -> LayerError:
    """One clear error: what is wrong, where, with which credentials, what to try. No secrets."""
    what, hint = _explained(problem)
    code = error_code(problem)
    if writes and hint == _HINTS["AccessDenied"]:
        hint = "Pushing needs s3:PutObject, s3:GetObject and s3:ListBucket there."
    layer = location.url_without_secrets
    where = f"s3://{location.bucket}/{name}" if name and _is_about_one_object(problem) else layer
    message = f"{where}: {what} ({circumstances(location, used)})."
    if code in _NO_OBJECT:
        return LayerNotFound(message, layer=layer, hint=hint)
    return LayerUnavailable(message, layer=layer, hint=hint, retry_after_s=_retry_after_s(problem))


def circumstances(location: Location, used: Connection | None = None) -> str:
    """Where, and with which credentials; sends no request, and holds no secret."""
    connection = used or known(location)
    if connection is None:
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        endpoint = next(filter(None, (location.endpoint, *map(os.getenv, names))), "the default")
    else:
        endpoint = connection.client.meta.endpoint_url
    parts = urlsplit(endpoint)
    if parts.username or parts.password:
        endpoint = endpoint.replace(f"{parts.netloc.rpartition('@')[0]}@", "")
    return (
        f"bucket {location.bucket}, prefix {location.prefix or '(none)'}, endpoint {endpoint}, "
        f"credentials: {_credentials(location, connection)}"
    )


def _credentials(location: Location, connection: Connection | None) -> str:
    profile = location.profile or os.environ.get("AWS_PROFILE")
    suffix = f", profile {profile}" if profile else ""
    if connection is None:
        return f"not known yet{suffix}"
    if connection.credentials is None:
        return f"none{suffix}"
    # Not the property: it may fetch a new key.
    facts = vars(connection.credentials)
    key = str(facts.get("_access_key") or facts.get("access_key") or "").strip()
    ends = f" ending in {key[-4:]}" if len(key) >= 12 else ""
    origin = _ORIGINS.get(connection.credentials.method, connection.credentials.method)
    return f"access key{ends} from {origin}{suffix}"


def _explained(problem: BaseException) -> tuple[str, str]:
    """What is wrong, and what to try."""
    code = error_code(problem)
    if _is_for_a_role(problem):
        return f"the role's credentials could not be had, the server answered {code}", _ROLE_HINT
    code = _ALIASES.get(code or "", code)
    if code == "RequestTimeTooSkewed":
        return f"this machine's clock is wrong{_skew(problem)}", "Set the clock (NTP)."
    if code in _ELSEWHERE:
        region = _REGION.fullmatch(_headers(problem).get("x-amz-bucket-region", ""))
        return (
            f"the bucket is in another region{f', {region[0]}' if region else ''}",
            f"Add ?region={region[0] if region else 'NAME'} to the URL, or set AWS_REGION.",
        )
    if code is not None:
        text = _message(problem)
        action = _ACTION.search(text)
        if code == "AccessDenied" and (action or denies_a_key(problem)):
            needed = action[1] if action else "kms:Decrypt"
            return f"access is denied: {text}", f"The credentials need {needed} there."
        if code in _PROBLEMS:
            return _PROBLEMS[code], _HINTS[code]
        return f"the server answered {code}{f', {text}' if text else ''}", "Ask its operator."
    if any(map(_is_unsendable, _chain(problem))):
        return (
            "the access key or the session's token holds a character that cannot be sent",
            "Check where it comes from: most often it was saved with a newline at its end.",
        )
    for seen in _chain(problem):
        if isinstance(seen, BoundExceeded):
            return f"the request was given up: {seen}", seen.hint
    for name in (_ALIASES.get(name, name) for name in _lineage(problem)):
        if name in _PROBLEMS:
            return _PROBLEMS[name], _HINTS[name]
    # The text of other errors may hold what a credential process or an URL had in it.
    return f"{type(problem).__name__}", "Check the URL's parameters and ~/.aws/config."


def denies_a_key(problem: BaseException) -> bool:
    """Whether not S3 denies access, but the key that an object is encrypted with."""
    return "kms" in _message(problem).lower()


def _message(problem: BaseException) -> str:
    """What the server says, on one line."""
    text = str(_answer(problem).get("Error", {}).get("Message") or "")[:LIMIT_HEADER]
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def is_about_credentials(problem: BaseException) -> bool:
    """Whether other credentials may help."""
    if error_code(problem) in _REFUSED or _is_for_a_role(problem):
        return True
    return not _NO_CREDENTIALS.isdisjoint(_lineage(problem))


def _is_about_one_object(problem: BaseException) -> bool:
    """Whether others may be readable: then the error names this one."""
    code = error_code(problem)
    if code is None:
        return not _OF_ONE_OBJECT.isdisjoint(_lineage(problem))
    refused = is_about_credentials(problem) and code != "AccessDenied"
    return not refused and code not in _OF_ALL_OBJECTS


def _retry_after_s(problem: BaseException) -> float | None:
    """Seconds to wait by the server's ``Retry-After``; None without one."""
    text = _headers(problem).get("retry-after", "")[:LIMIT_HEADER].strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    moment_s = _moment_s(text)
    return None if moment_s is None else max(0.0, moment_s - time.time())


def error_code(problem: BaseException) -> str | None:
    """S3's code for it, or the status; None if no server answered."""
    code = str(_answer(problem).get("Error", {}).get("Code") or "")
    if not code.isprintable() or len(code) > LIMIT_CODE:
        code = ""
    return code or str(status_of(problem) or "") or None


def status_of(problem: BaseException) -> int | None:
    """The status that a server answered with; None if none did."""
    status: int | None = _answer(problem).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _answer(problem: BaseException) -> Mapping[str, Any]:
    response = getattr(problem, "response", None)
    return response if isinstance(response, dict) else {}


def _is_for_a_role(problem: BaseException) -> bool:
    operation = str(getattr(problem, "operation_name", ""))
    return operation.startswith(("AssumeRole", "GetRoleCredentials"))


def _headers(problem: BaseException) -> Mapping[str, str]:
    headers: Mapping[str, str] = _answer(problem).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _moment_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _skew(problem: BaseException) -> str:
    there_s = _moment_s(_headers(problem).get("date", "")[:LIMIT_HEADER])
    if there_s is None:
        return ""
    ahead_s = time.time() - there_s
    return f": it is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's"


def _is_unsendable(problem: BaseException) -> bool:
    # The message of `http.client`.
    invalid = isinstance(problem, ValueError) and str(problem).startswith("Invalid header value")
    return invalid or isinstance(problem, UnicodeEncodeError)


def _lineage(problem: BaseException) -> Iterator[str]:
    """The names of its class and the classes above, of what caused it too."""
    for seen in _chain(problem):
        yield from (kind.__name__ for kind in type(seen).__mro__)


def _chain(problem: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = problem
    for _ in range(4):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
