"""Drafts of prompts, laid over what the layers hold, to be checked. Writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._publishing.destinations import Served
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources import Snapshot
from yamlgraph_prompts.sources.layers import LayerContent

Write = Callable[[Mapping[str, bytes], Mapping[str, bytes]], None]
"""Writes a layer: what it holds now, what it shall hold, each path → bytes."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt's new text."""

    name: str
    data: bytes | None  # of its YAML file; None to remove it
    layer: int = 0  # counted from the highest, which is 0

    @property
    def path(self) -> str:
        """The file's path within its layer."""
        return f"{self.name}.yaml"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the layers have a prompt now."""

    layer: int  # counted from the highest
    url: str  # of that layer
    path: str  # of the file, within the layer
    data: bytes  # the file's bytes

    @property
    def is_template(self) -> bool:
        """Whether a ``.yaml.j2`` makes the prompt."""
        return self.path.endswith(".j2")

    @property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Trial:
    """What would become of a draft; nothing is written, nothing is live."""

    draft: Draft
    before: Origin | None  # where the layers have the prompt now
    own: bool  # whether the draft's own layer has the prompt now
    live: Served  # what is live
    served: Served  # what would be
    today: Callable[[], Served]  # what would be without the draft
    release: Release  # the release that would be made
    findings: tuple[Finding, ...]  # of its check
    # Whether it is refused only for what the layers have today already, and for less.
    mends: bool = False

    @property
    def after(self) -> Prompt | None:
        """The prompt as it would be served; None: not at all."""
        return self.release.prompts.get(self.draft.name)

    @property
    def refused(self) -> bool:
        """Whether it may not be written."""
        return not self.mends and any(finding.severity == "error" for finding in self.findings)


def origin(contents: Sequence[LayerContent], name: str) -> Origin | None:
    """Where the layers have the prompt `name`: the first that has it wins."""
    for number, content in enumerate(contents):
        for path in (f"{name}.yaml", f"{name}.yaml.j2"):
            if path in content.files:
                return Origin(number, content.url, path, content.files[path])
    return None


def mends(
    draft: Draft, findings: Iterable[Finding], today: Callable[[], Iterable[Finding]]
) -> bool:
    """Whether a draft that is refused mends something: fewer errors, none new, none of its own."""
    errors = Counter(found for found in findings if found.severity == "error")
    if not errors or any(found.prompt == draft.name for found in errors):
        return False
    return errors < Counter(found for found in today() if found.severity == "error")


def laid_over(contents: Sequence[LayerContent], drafts: Iterable[Draft]) -> list[LayerContent]:
    """What the layers would hold with these drafts written."""
    made, of_layer = list(contents), defaultdict[int, list[Draft]](list)
    for draft in drafts:
        of_layer[draft.layer].append(draft)
    for number, changes in of_layer.items():
        content = made[number]
        files = drafted_files(content.files, *changes)
        # The version that a reader will find, so that the file event of the write is no news.
        version = Snapshot.of(files, content.findings).version
        made[number] = replace(content, files=files, version=version)
    return made


def drafted_files(files: Mapping[str, bytes], *drafts: Draft) -> dict[str, bytes]:
    """A layer's files with these drafts written."""
    changed = dict(files)
    for draft in drafts:
        changed.pop(draft.path, None)
        if draft.data is not None:
            changed[draft.path] = draft.data
    return changed
