"""What botocore raises, in words for a person: what is wrong and what to try. Imports no boto3."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

from yamlgraph_prompts.sources.bounds import BoundExceeded

LIMIT_CODE = 100  # characters of S3's own word for an error
LIMIT_HEADER = 400

_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOError",
    "ProfileNotFound",
    "InvalidConfigError",
    "NoAuthTokenError",
    "FileNotFoundError",
}
_REFUSED = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "AuthFailure",
    "AccessDenied",
    "403",
}
_SLOW = {
    "SlowDown",
    "503",
    "429",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "TooManyRequestsException",
    "ReducePriority",
}
_ELSEWHERE = {
    "301",
    "307",
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_OF_THE_BUCKET = {"NoSuchBucket", "404", "RequestTimeTooSkewed"}
_OF_ONE_OBJECT = {"CutShort", "TooSlow", "TooMuch", "ResponseStreamingError", "IncompleteReadError"}
_CODES: Mapping[str, tuple[str, str]] = {
    "NoSuchBucket": (
        "there is no such bucket",
        "Correct the bucket's name, the region or the endpoint.",
    ),
    "NoSuchKey": ("there is no such object", "Push a release, or upload prompts there."),
    "NoSuchVersion": ("there is no such object", "Push a release, or upload prompts there."),
    "InvalidAccessKeyId": (
        "the server does not know this access key",
        "Check which credentials are meant: AWS_PROFILE, ?profile=NAME or AWS_ACCESS_KEY_ID.",
    ),
    "SignatureDoesNotMatch": (
        "the secret key is not this access key's",
        "Check AWS_SECRET_ACCESS_KEY or the profile, and the region.",
    ),
    "AccessDenied": (
        "access is denied",
        "They need s3:ListBucket for the bucket and s3:GetObject for all below the prefix.",
    ),
}
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_ROLE_HINT = "Check the role's ARN, whom it trusts, and the token or profile that is to take it."
_CONNECTING: Mapping[str, tuple[str, str]] = {
    "SSLError": (
        "no secure connection could be made",
        "Check the endpoint's certificate, or set AWS_CA_BUNDLE.",
    ),
    "ProxyConnectionError": (
        "the proxy could not be reached",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    "EndpointConnectionError": (
        "the endpoint refused the connection or does not exist",
        "Check the endpoint, the region and the network.",
    ),
    "ConnectTimeoutError": (
        "no connection could be made in time",
        "Check the endpoint and the network.",
    ),
    "ReadTimeoutError": ("the server did not answer in time", "Try again, or ask who runs it."),
    "ConnectionClosedError": ("the connection was cut", "Try again, or ask who runs the server."),
    "ResponseStreamingError": ("an object was cut short", "Try again, or ask who runs the server."),
    "IncompleteReadError": ("an object was cut short", "Try again, or ask who runs the server."),
    "gaierror": ("the endpoint's name is not known", "Check the endpoint and the network."),
    "ConnectionRefusedError": (
        "the endpoint refused the connection or does not exist",
        "Check the endpoint, the region and the network.",
    ),
    "TimeoutError": ("the server did not answer in time", "Check the endpoint and the network."),
    "CutOff": ("the server's list is cut off", "Look at what serves the endpoint."),
    "CutShort": ("the connection was cut", "Try again, or ask who runs the server."),
    "NoRegionError": ("no region is known", "Set AWS_REGION, or add ?region=NAME to the URL."),
    "InvalidRegionError": (
        "the region's name cannot be right",
        "Correct AWS_REGION, or ?region=NAME in the URL.",
    ),
    "ProfileNotFound": ("there is no such profile", "Check AWS_PROFILE and ~/.aws/config."),
    "NoCredentialsError": (
        "no credentials were found",
        "Set AWS_PROFILE or AWS_ACCESS_KEY_ID, add ?profile=NAME, or give the machine a role.",
    ),
    "SSOError": ("the single sign-on has ended", "Run aws sso login."),
    "TokenRetrievalError": ("the single sign-on has ended", "Run aws sso login."),
    "FileNotFoundError": (
        "a file that the credentials or certificates need is not there",
        "Check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE and the profile.",
    ),
    "PermissionError": (
        "a file that the credentials or certificates need may not be read",
        "Check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE and the profile.",
    ),
    "ParamValidationError": (
        "a parameter cannot be right",
        "Check the bucket's name, and AWS_ROLE_ARN and the token where there is a role.",
    ),
    "CredentialRetrievalError": (
        "the credentials could not be had",
        "Check the role, the token file or the credential process of this profile.",
    ),
}


def explain(problem: BaseException) -> tuple[str, str]:
    """What is wrong, and what to try."""
    code = error_code(problem)
    if _is_for_a_role(problem):
        return f"the role's credentials could not be had, the server answered {code}", _ROLE_HINT
    if code == "RequestTimeTooSkewed":
        return f"this machine's clock is wrong{_skew(problem)}", "Set the clock (NTP)."
    if code in _ELSEWHERE:
        region = _REGION.fullmatch(_headers(problem).get("x-amz-bucket-region", ""))
        there = f"the bucket is in another region{f', {region[0]}' if region else ''}"
        return (
            there,
            f"Add ?region={region[0] if region else 'NAME'} to the URL, or set AWS_REGION.",
        )
    if code in _SLOW:
        return "the server is throttling", "It is asked again later, more and more rarely."
    if code in ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"):
        return "the session token has expired or is not valid", "Log in again (aws sso login)."
    if code in ("404", "NotFound"):
        code = "NoSuchBucket"
    if code in ("403", "AuthFailure", "InvalidClientTokenId"):
        code = "AccessDenied"
    if code is not None:
        if code in _CODES:
            return _CODES[code]
        message = str(problem.response["Error"].get("Message") or "")[:200]  # type: ignore[attr-defined]
        said = "".join(letter if letter.isprintable() else " " for letter in message)
        return f"the server answered {code}{f', {said}' if said else ''}", "Ask who runs it."
    if any(map(_is_unsendable, _chain(problem))):
        return (
            "the access key or the session's token holds a character that cannot be sent",
            "Look at where it comes from: most often it was saved with a newline at its end.",
        )
    for seen in _chain(problem):
        if isinstance(seen, BoundExceeded):
            return f"the server was given up: {seen}", seen.hint
    for name in _lineage(problem):
        if name in _CONNECTING:
            return _CONNECTING[name]
    # The text of other errors may hold what a credential process or an URL had in it.
    return f"{type(problem).__name__}", "Check the URL's parameters and ~/.aws/config."


def is_about_credentials(problem: BaseException) -> bool:
    """Whether other credentials could help."""
    if error_code(problem) in _REFUSED or _is_for_a_role(problem):
        return True
    return not _NO_CREDENTIALS.isdisjoint(_lineage(problem))


def is_about_one_object(problem: BaseException) -> bool:
    """Whether others could be had: it is of use to know which one it is."""
    code = error_code(problem)
    if code is None:
        return not _OF_ONE_OBJECT.isdisjoint(_lineage(problem))
    refused = is_about_credentials(problem) and code != "AccessDenied"
    return not refused and code not in _SLOW | _ELSEWHERE | _OF_THE_BUCKET


def retry_after_s(problem: BaseException) -> float | None:
    """Seconds that the server asked to be left alone for; None where it did not."""
    said = _headers(problem).get("retry-after", "")[:LIMIT_HEADER].strip()
    if said.isascii() and said.isdecimal():
        return float(said[:12])
    moment_s = _moment_s(said)
    return None if moment_s is None else max(0.0, moment_s - time.time())


def error_code(problem: BaseException) -> str | None:
    """S3's own word for it, or the status; None where no server answered."""
    response = getattr(problem, "response", None)
    if not isinstance(response, dict):
        return None
    code = str(response.get("Error", {}).get("Code") or "")
    if not code.isprintable() or len(code) > LIMIT_CODE:
        code = ""
    return code or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or "") or None


def _is_for_a_role(problem: BaseException) -> bool:
    operation = str(getattr(problem, "operation_name", ""))
    return operation.startswith(("AssumeRole", "GetRoleCredentials"))


def _headers(problem: BaseException) -> Mapping[str, str]:
    response = getattr(problem, "response", None)
    if not isinstance(response, dict):
        return {}
    found: Mapping[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


def _moment_s(said: str) -> float | None:
    try:
        return parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _skew(problem: BaseException) -> str:
    there_s = _moment_s(_headers(problem).get("date", "")[:LIMIT_HEADER])
    if there_s is None:
        return ""
    ahead_s = time.time() - there_s
    return f": it is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's"


def _is_unsendable(problem: BaseException) -> bool:
    # As `http.client` says it.
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
