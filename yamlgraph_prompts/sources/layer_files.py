"""Which files of a layer are read, and what is said of those that cannot be. Pure."""

from __future__ import annotations

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.regular_file import LIMIT_FILE_BYTES

LIMIT_BYTES = 64 << 20


def is_read(path: str) -> bool:
    """Whether it is a prompt, a template or a part of one, by its name."""
    return path.endswith((".yaml", ".j2"))


def prompt_name(path: str) -> str:
    """The name of the prompt that a path within a layer stands for."""
    return path.removesuffix(".j2").removesuffix(".yaml")


def yml(shown: str) -> Finding:
    """The finding for a file that may have been meant as a prompt."""
    return Finding(
        "warning",
        "ignored-file",
        "Only files that end in .yaml are prompts; this one is not read.",
        file=shown,
        hint=f"Rename it to {shown.rpartition('/')[2][:-4]}.yaml.",
    )


def too_large(path: str, shown: str, size: int, *, what: str = "file") -> Finding:
    """The finding for one that has more bytes than a prompt may have."""
    return Finding(
        "error",
        "too-large",
        f"A prompt may have {LIMIT_FILE_BYTES >> 20} MiB; this {what} has {size} bytes.",
        prompt=prompt_name(path),
        file=shown,
    )
