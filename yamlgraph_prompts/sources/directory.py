"""A layer in a local folder. Follows no link that leads out, reads only regular files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yamlgraph_prompts.errors import LayerNotFound, LayerReadOnly, LayerUnavailable
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.regular_file import (
    SpecialFile,
    TooLarge,
    inode,
    read_regular,
    standing,
)
from yamlgraph_prompts.sources import Content
from yamlgraph_prompts.sources.layer_files import (
    LIMIT_BYTES,
    is_read,
    prompt_name,
    too_large,
    yml,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

LIMIT_ENTRIES = 30_000
ATTEMPTS = 5


class DirectorySource:
    """Reads the ``.yaml`` and ``.j2`` files of a folder, as they were together at one moment.

    A folder that is swapped while it is read (git-sync, a Kubernetes ConfigMap) is read again,
    so that the answer never mixes two states.

    Args:
        url: A path or a ``file://`` URL.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> _ = (folder / "greeting.yaml").write_text("user: Hi {name}")
        >>> DirectorySource(str(folder)).read().files
        {'greeting.yaml': b'user: Hi {name}'}
    """

    remote = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
            raise LayerUnavailable(
                f"{url} names {parts.netloc!r} as a host, not as a folder.",
                layer=url,
                hint="Write a plain path, or file:/// before an absolute one.",
            )
        self.url = url
        # The working directory of this moment counts, whatever a program does later.
        self.root = Path(unquote(parts.path) if parts.scheme == "file" else url).absolute()

    def read(self) -> Content:
        """Everything that is there now; see `Source.read`."""
        for _ in range(ATTEMPTS):
            before, seen = standing(self.root), _Seen()
            content = self._read_once(seen)
            if content is not None and before == standing(self.root) and seen.stands():
                return content
        raise LayerUnavailable(
            f"The folder {self.url} changes faster than it can be read.", layer=self.url
        )

    def version(self) -> str:
        """A digest of the content: file systems' times are too coarse to trust."""
        return self.read().version

    def places(self) -> list[str]:
        """The names of the folders directly in this one."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
        except OSError:
            return []

    def watched(self) -> tuple[Path, ...]:
        """The folder itself."""
        return (self.root,)

    def write(self, path: str, data: bytes | None) -> None:
        """Change one file, with its mode and owner; see `Writable.write`."""
        from yamlgraph_prompts.sources.writing import remove_below, write_below

        if (self.root / "..data").is_symlink():
            raise LayerReadOnly(
                f"{self.url} is filled by somebody else (a Kubernetes ConfigMap).",
                layer=self.url,
                hint="Change what it is filled from, or write to another layer.",
            )
        try:
            if data is None:
                remove_below(self.root, path)
            else:
                write_below(self.root, path, data)
        except OSError as problem:
            text = f"{self.url}/{path} cannot be written: {problem.strerror or problem}."
            if problem.errno in _FULL:
                raise LayerUnavailable(
                    text, layer=self.url, hint="Free some space, then try again."
                ) from problem
            raise LayerReadOnly(
                text,
                layer=self.url,
                hint="Make the folder writable for this user, or write to another layer.",
            ) from problem

    def close(self) -> None:
        """Nothing is kept open."""

    def _read_once(self, seen: _Seen) -> Content | None:
        root = os.path.realpath(self.root)
        if not os.path.exists(root):
            raise LayerNotFound(
                f"The folder {self.url} does not exist.",
                layer=self.url,
                hint="Make it, correct the path, or mark it with Layer(..., optional=True).",
            )
        if not os.path.isdir(root):
            raise LayerUnavailable(f"{self.url} is not a folder.", layer=self.url)
        files: dict[str, bytes] = {}
        findings: list[Finding] = []
        total = 0
        for path, entry in _walk(root, seen, findings, self.url):
            try:
                data = _read_file(entry, root, path, findings, self.url)
            except FileNotFoundError:
                return None
            if data is None:
                continue
            total += len(data)
            if total > LIMIT_BYTES:
                findings.append(
                    Finding(
                        "error",
                        "too-large",
                        f"The folder holds more than {LIMIT_BYTES >> 20} MiB of prompts.",
                        file=self.url,
                    )
                )
                break
            files[path] = data
        return Content(files, tuple(findings))


@dataclass
class _Seen:
    """Where the links and folders below a layer's root led when they were come by."""

    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, tuple[int, int] | None] = field(default_factory=dict)

    def stands(self) -> bool:
        """Whether none of them was swapped since: a ConfigMap may be mounted further down."""
        return all(os.path.realpath(link) == target for link, target in self.links.items()) and all(
            inode(folder) == was for folder, was in self.folders.items()
        )


def _walk(root: str, seen: _Seen, findings: list[Finding], url: str) -> Iterator[tuple[str, str]]:
    """(path within the layer, resolved path) of every file that could be a prompt or a part."""
    inside = root.rstrip(os.sep) + os.sep
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(root, "", (root,))]
    left = LIMIT_ENTRIES
    while waiting:
        folder, prefix, above = waiting.pop()
        seen.folders[folder] = inode(folder)
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda e: e.name)
        except FileNotFoundError:
            continue
        except OSError as problem:
            findings.append(_cannot(prefix or url, f"{url}/{prefix}", problem))
            continue
        left -= len(entries)
        if left < 0:
            # Links can multiply: forty folders with two links each to the next are 2^40 paths.
            findings.append(_too_many(url))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{prefix}{entry.name}"
            is_link = entry.is_symlink()
            target = os.path.realpath(entry.path) if is_link else entry.path
            if is_link:
                seen.links[entry.path] = target
            if is_link and target != root and not target.startswith(inside):
                if is_read(entry.name) or os.path.isdir(target):
                    findings.append(_escapes(f"{url}/{path}"))
            elif os.path.isdir(target) if is_link else entry.is_dir(follow_symlinks=False):
                if target not in above:
                    waiting.append((target, f"{path}/", (*above, target)))
            elif is_read(entry.name) and not _is_text(path):
                findings.append(_no_text(f"{url}/{path}"))
            elif is_read(entry.name):
                yield path, target
            elif entry.name.endswith(".yml"):
                findings.append(yml(f"{url}/{path}"))


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_file(
    target: str, root: str, path: str, findings: list[Finding], url: str
) -> bytes | None:
    shown = f"{url}/{path}"
    try:
        # The path is resolved already; a link there now was put there since.
        return read_regular(target, follow=False)
    except FileNotFoundError:
        if not os.path.lexists(os.path.join(root, path)):
            raise
        findings.append(Finding("error", "unreadable", "This link points to nothing.", file=shown))
    except SpecialFile:
        findings.append(_special(shown))
    except TooLarge as problem:
        findings.append(too_large(path, shown, problem.size))
    except OSError as problem:
        findings.append(_cannot(path, shown, problem))
    return None


def _escapes(shown: str) -> Finding:
    return Finding(
        "error",
        "escaping-link",
        "This link leads out of the layer's folder.",
        file=shown,
        hint="Copy the file into the layer, or give its folder as a layer.",
    )


def _no_text(shown: str) -> Finding:
    printable = shown.encode("utf-8", "backslashreplace").decode()
    return Finding("error", "escaping-name", "The name of this file is not UTF-8.", file=printable)


def _too_many(url: str) -> Finding:
    return Finding(
        "error", "too-large", f"The folder holds more than {LIMIT_ENTRIES:,} files.", file=url
    )


def _special(shown: str) -> Finding:
    return Finding(
        "error",
        "special-file",
        "This is not an ordinary file (a pipe, socket, device or link), so it is not read.",
        file=shown,
    )


def _cannot(path: str, shown: str, problem: OSError) -> Finding:
    return Finding(
        "error",
        "unreadable",
        f"This file cannot be read: {problem.strerror or problem}.",
        prompt=prompt_name(path),
        file=shown,
    )
