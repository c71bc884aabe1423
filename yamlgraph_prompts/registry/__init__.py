"""Releases, and which of them was live when: the ports, and the table that opens one by URL."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from yamlgraph_prompts.errors import MissingExtra, UnknownScheme
from yamlgraph_prompts.registry.ports import Registry
from yamlgraph_prompts.sources import KeepsReleases, open_source
from yamlgraph_prompts.sources.layers import Layer

__all__ = ["Registry", "is_registry", "keeps_releases", "open_registry"]

ENTRY_POINTS = "yamlgraph_prompts.registries"

# scheme → (module:class, pip extra that it needs or None)
_SCHEMES: dict[str, tuple[str, str | None]] = {
    "file": ("yamlgraph_prompts.registry.local:LocalRegistry", None),
    "s3": ("yamlgraph_prompts.registry.s3:S3Registry", None),
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
    target, extra = _SCHEMES.get(scheme if separator else "", (None, None))
    if target is not None:
        module, _, name = target.partition(":")
        try:
            return getattr(import_module(module), name)(url, **options)  # type: ignore[no-any-return]
        except ImportError as problem:
            if extra is None:
                raise
            raise MissingExtra(
                f"A registry at {scheme}:// needs {problem.name}.",
                hint=f"Install it with: pip install 'yamlgraph-prompts[{extra}]'",
            ) from problem
    for entry in entry_points(group=ENTRY_POINTS):
        if separator and entry.name == scheme:
            return entry.load()(url, **options)  # type: ignore[no-any-return]
    raise UnknownScheme(
        f"No registry has such a URL: {url!r}.",
        hint=f"Known: {', '.join(name + '://' for name in _schemes())}.",
    )


def is_registry(word: str) -> bool:
    """Whether `word` is a URL that `open_registry` opens."""
    scheme, separator, _ = word.partition("://")
    return bool(separator) and scheme in _schemes()


def keeps_releases(url: str) -> bool:
    """Whether a layer at `url` may be published releases, so that a registry is there too."""
    if not is_registry(url):
        return False
    source = open_source(url)
    try:
        return isinstance(source, KeepsReleases)
    finally:
        source.close()


def _schemes() -> list[str]:
    return sorted({*_SCHEMES, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})
