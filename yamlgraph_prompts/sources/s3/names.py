"""Which keys below a prefix are files of a layer, and which cannot be. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.regular_file import LIMIT_FILE_BYTES
from yamlgraph_prompts.sources.layer_files import LIMIT_BYTES, is_read, too_large, yml
from yamlgraph_prompts.sources.s3.listing import Listed

RELEASES = ".releases/"


def files_of(listing: Iterable[Listed], url: str) -> tuple[dict[str, Listed], tuple[Finding, ...]]:
    """The files to fetch, by their path within the layer, and the findings about the others."""
    files: dict[str, Listed] = {}
    findings: list[Finding] = []
    total = 0
    for one in listing:
        path = one.key
        shown = f"{url}{path}"
        if path.endswith(".yml") and not is_hidden(path):
            findings.append(yml(shown))
        if not is_read(path):
            continue
        if escapes(path):
            findings.append(_escaping(shown))
        elif is_hidden(path):
            continue
        elif one.size > LIMIT_FILE_BYTES:
            findings.append(too_large(path, shown, one.size, what="object"))
        elif total + one.size > LIMIT_BYTES:
            findings.append(_too_much(url))
            break
        else:
            total += one.size
            files[path] = one
    return files, tuple(findings)


def channels(listing: Iterable[Listed]) -> list[str]:
    """The channels that have a published release below the prefix."""
    end = "/current"
    return [
        one.key[len(RELEASES) : -len(end)]
        for one in listing
        if one.key.startswith(RELEASES) and one.key.endswith(end)
    ]


def escapes(path: str) -> bool:
    """Whether no file below a folder can have this path."""
    return (
        not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") for part in path.split("/"))
    )


def is_hidden(path: str) -> bool:
    """Whether it is, or lies in, something whose name begins with a dot."""
    return path.startswith(".") or "/." in path


def case_collisions(paths: Iterable[str]) -> list[str]:
    """Those that another one equals but for capitals."""
    first: dict[str, str] = {}
    return [path for path in paths if first.setdefault(path.casefold(), path) != path]


def _escaping(shown: str) -> Finding:
    return Finding(
        "error",
        "escaping-name",
        "This object's name cannot be a file's: it leads out of the layer or is not printable.",
        file=shown if shown.isprintable() else ascii(shown)[1:-1],
        hint="Rename or remove the object.",
    )


def _too_much(url: str) -> Finding:
    return Finding(
        "error",
        "too-large",
        f"Below this prefix are more than {LIMIT_BYTES >> 20} MiB of prompts.",
        file=url,
    )
