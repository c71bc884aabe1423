"""Where a prompt's data goes: its provider and model; and whose a change of prompts redirects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from yamlgraph_prompts._model.graph import GraphFacts
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._yaml_file import parse_prompt

Destination = tuple[str | None, str | None]
"""The provider and the model; None: the graph's, else YAMLGraph's default."""

DEFAULT: Destination = (None, None)
# All that YAMLGraph reads of it from a prompt; a test looks whether it reads more.
KEYS = ("provider", "model")


def destination(data: bytes) -> Destination | None:
    """Where the data of a prompt goes; None: the file cannot be read as a prompt."""
    content = parse_prompt(data).content
    if not content:
        return None
    provider, model = (str(content[key]) if content.get(key) else None for key in KEYS)
    return provider, model


@dataclass(frozen=True)
class Served:
    """What stands for every prompt name: the release's prompt, else each graph's own."""

    release: Release
    graphs: tuple[GraphFacts, ...]

    @classmethod
    def of(cls, release: Release, graphs: Iterable[GraphFacts]) -> Served:
        return cls(release, tuple(graphs))

    def destinations(
        self, name: str, unreadable: Destination | None = None
    ) -> frozenset[Destination]:
        """Where the data of every prompt that stands for `name` goes."""
        found = (destination(text) or unreadable for text in self.texts(name))
        return frozenset(one for one in found if one is not None)

    def unlike(self, other: Served) -> Iterator[str]:
        """The names for which another text stands than in `other`."""
        own = (file.own for one in (self, other) for facts in one.graphs for file in facts.files)
        for name in dict.fromkeys([*self.release.prompts, *(n for names in own for n in names)]):
            if self.texts(name) != other.texts(name):
                yield name

    def texts(self, name: str) -> frozenset[bytes]:
        """The files that stand for `name`."""
        if name in self.release:
            return frozenset([self.release[name].data])
        own = (file.own.get(name) for facts in self.graphs for file in facts.files)
        return frozenset(one.data for one in own if one is not None)


def redirected(
    live: Served,
    after: Served,
    today: Callable[[], Served],
    last: Callable[[str], frozenset[Destination]],
) -> list[str]:
    """The prompts whose data a change sends elsewhere."""
    found = []
    for name in after.unlike(live):
        # What is broken on purpose takes a destination away, as leaving it out does.
        goes, went = after.destinations(name, unreadable=DEFAULT), live.destinations(name)
        if not goes or goes == went:
            continue
        now = today()
        if now.texts(name) == after.texts(name):
            continue
        if goes != (now.destinations(name) or went or last(name)):
            found.append(name)
    return found
