"""The bucket and prefix that an ``s3://`` URL names. Sends no request."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from yamlgraph_prompts.errors import LayerUnavailable

_PARAMETERS = ("region", "endpoint", "profile", "addressing", "request_payer")
_CHOICES = {"addressing": ("auto", "path", "virtual"), "request_payer": ("requester",)}


@dataclass(frozen=True)
class Location:
    """A bucket, a prefix, and how to reach them."""

    bucket: str
    prefix: str  # the beginning of every key: empty, or ends with a slash
    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    addressing: str | None = None  # whether the bucket is in the host's name: "virtual", or "path"
    request_payer: str | None = None  # "requester"

    @classmethod
    def parse(cls, url: str) -> Location:
        """The location in an ``s3://bucket/prefix?region=...`` URL."""
        parts = urlsplit(url)
        # The text before an @ may be a secret, so no message shows it.
        shown = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        values = dict(pairs)
        unknown = sorted(set(values) - set(_PARAMETERS))
        if "@" in parts.netloc or "@" in values.get("endpoint", ""):
            problem = "holds credentials"
            hint = "Use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ?profile=NAME."
        elif parts.netloc.startswith("arn:"):
            problem = "names an access point by its ARN"
            hint = "Write its alias in place of the bucket, which ends with -s3alias."
        elif not parts.netloc or parts.scheme != "s3":
            problem, hint = "names no bucket", "Write s3://bucket/prefix/."
        elif unknown:
            problem = f"has an unknown parameter: {', '.join(unknown)}"
            hint = f"Known are {', '.join(_PARAMETERS)}."
        elif len(pairs) > len(values):
            problem, hint = "has a parameter twice", "Keep one of them."
        elif wrong := [n for n in _CHOICES if values.get(n, _CHOICES[n][0]) not in _CHOICES[n]]:
            problem = f"has an unknown value: {wrong[0]}={values[wrong[0]]}"
            hint = f"Known are {', '.join(_CHOICES[wrong[0]])}."
        elif parts.fragment:
            problem, hint = "contains a '#'", "Write %23 if it belongs to the prefix."
        elif (endpoint := values.get("endpoint")) and not _is_endpoint(endpoint):
            problem, hint = "has an endpoint that is no URL", "Write endpoint=https://host:port."
        else:
            prefix = unquote(parts.path).strip("/")
            chosen = {name: values[name] for name in _PARAMETERS if values.get(name)}
            return cls(parts.netloc, f"{prefix}/" if prefix else "", **chosen)
        raise LayerUnavailable(f"The URL {shown} {problem}.", layer=shown, hint=hint)

    @property
    def url_without_secrets(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def _is_endpoint(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
