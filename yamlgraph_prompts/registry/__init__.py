"""Releases, and which of them was live when: the ports, and the table that opens one by URL."""

from __future__ import annotations

from typing import Any

from yamlgraph_prompts.errors import UnknownScheme
from yamlgraph_prompts.registry.ports import Registry
from yamlgraph_prompts.sources import KeepsReleases, open_source
from yamlgraph_prompts.sources.layers import Layer
from yamlgraph_prompts.sources.schemes import known_schemes, opener

__all__ = ["Registry", "is_registry", "keeps_releases", "open_registry"]

ENTRY_POINTS = "yamlgraph_prompts.registries"

# scheme → (module:class, pip extra that it needs or None)
_SCHEMES: dict[str, tuple[str, str | None]] = {
    "file": ("yamlgraph_prompts.registry.local:LocalRegistry", None),
    "postgresql": ("yamlgraph_prompts.registry.sql:SqlRegistry", "postgres"),
    "s3": ("yamlgraph_prompts.registry.s3:S3Registry", None),
    "sqlite": ("yamlgraph_prompts.registry.sql:SqlRegistry", None),
}


def open_registry(url: str, *, environment: str | None = None, **options: Any) -> Registry:
    """The registry at `url`. Nothing is read or written yet.

    Args:
        url: ``scheme://...``. Third parties add schemes by an entry point in the group
            ``yamlgraph_prompts.registries`` whose name is the scheme.
        environment: What ``{environment}`` in the URL stands for, if it is there.
        options: What registries take besides: ``timeout_s``, the seconds that one call may take,
            and ``single_writer``, for servers that cannot say which of two writers was first.

    Raises:
        UnknownScheme: No registry has such URLs; the known ones are listed.
        MissingExtra: The registry needs a pip extra.

    Example:
        >>> open_registry("s3://acme-prompts/app").url
        's3://acme-prompts/app/'
    """
    if environment is not None:
        url = Layer(url).at(environment)
    scheme, separator, _ = url.partition("://")
    opened = opener(scheme, _SCHEMES, ENTRY_POINTS, "registry") if separator else None
    if opened is None:
        known = ", ".join(f"{name}://" for name in known_schemes(_SCHEMES, ENTRY_POINTS))
        raise UnknownScheme(f"No registry has such a URL: {url!r}.", hint=f"Known: {known}.")
    return opened(url, **options)  # type: ignore[no-any-return]


def is_registry(word: str) -> bool:
    """Whether `word` is a URL that `open_registry` opens."""
    scheme, separator, _ = word.partition("://")
    return bool(separator) and scheme in known_schemes(_SCHEMES, ENTRY_POINTS)


def keeps_releases(url: str) -> bool:
    """Whether a layer at `url` may be published releases, so that a registry is there too."""
    if not is_registry(url):
        return False
    source = open_source(url)
    try:
        return isinstance(source, KeepsReleases)
    finally:
        source.close()
