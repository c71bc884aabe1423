"""Which files of a layer are read, and the findings about the others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from yamlgraph_prompts._files.regular_file import LIMIT_FILE_BYTES
from yamlgraph_prompts.findings import Finding

LIMIT_BYTES = 64 << 20


class _HasSize(Protocol):
    @property
    def size(self) -> int: ...


Sized = TypeVar("Sized", bound=_HasSize)

# What ends a line, turns it round or steers a terminal; the last are bytes that are not UTF-8.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_read(path: str) -> bool:
    """Whether it is a prompt, a template or a part of one, by its name."""
    return path.endswith((".yaml", ".j2"))


def has_controls(path: str) -> bool:
    """Whether it cannot be written into a line of text as it is."""
    return not path.isprintable() and _CONTROLS.search(path) is not None


def shown(url: str, path: str) -> str:
    """The path of a layer's file, for people to read."""
    return f"{url}/{ascii(path)[1:-1] if has_controls(path) else path}"


def prompt_name(path: str) -> str:
    """The name of the prompt that a path within a layer stands for."""
    return path.removesuffix(".j2").removesuffix(".yaml")


def yml(file: str) -> Finding:
    """The finding for a file that may have been meant as a prompt."""
    text = "Only files that end in .yaml are prompts; this one is not read."
    hint = f"Rename it to {file.rpartition('/')[2][:-4]}.yaml."
    return Finding("warning", "ignored-file", text, file=file, hint=hint)


def too_large(path: str, file: str, size: int) -> Finding:
    """The finding for one that has more bytes than a prompt may have."""
    text = f"A prompt may have at most {LIMIT_FILE_BYTES >> 20} MiB; this file has {size} bytes."
    return Finding("error", "too-large", text, prompt=prompt_name(path), file=file)


def sort_out(listed: Mapping[str, Sized], url: str) -> tuple[dict[str, Sized], tuple[Finding, ...]]:
    """The files of a list to fetch, by path, and findings about others; `url` ends with a slash."""
    wanted: dict[str, Sized] = {}
    findings: list[Finding] = []
    left = LIMIT_BYTES
    for path, one in listed.items():
        is_prompt = is_read(path)
        if is_prompt and escapes(path):
            text = "This name cannot be a file's: it leads out of the layer or is not printable."
            file, hint = shown(url[:-1], path), "Rename or remove the file."
            findings.append(Finding("error", "escaping-name", text, file=file, hint=hint))
        elif path.startswith(".") or "/." in path:
            continue
        elif path.endswith(".yml"):
            findings.append(yml(shown(url[:-1], path)))
        elif is_prompt and one.size > LIMIT_FILE_BYTES:
            findings.append(too_large(path, shown(url[:-1], path), one.size))
        elif is_prompt and one.size > left:
            text = f"The layer has more than {LIMIT_BYTES >> 20} MiB of prompts."
            return wanted, (*findings, Finding("error", "too-large", text, file=url))
        elif is_prompt:
            left -= one.size
            wanted[path] = one
    return wanted, tuple(findings)


def escapes(path: str) -> bool:
    """Whether no file below a folder can have this path."""
    return (
        has_controls(path)
        or "\\" in path
        or any(part in ("", ".", "..") for part in path.split("/"))
    )


def case_collisions(paths: Iterable[str]) -> list[str]:
    """Those that another one equals but for capitals."""
    first: dict[str, str] = {}
    return [path for path in paths if first.setdefault(path.casefold(), path) != path]
