"""Notices a watched folder that was replaced: by a rename further up, which sends no event here."""

from __future__ import annotations

from collections.abc import Iterable

from yamlgraph_prompts._files.regular_file import inode

MOST_IN_A_ROW = 5


class Inodes:
    """Which folders there were. One that is another at each look is on a mount that renumbers."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | None] = {}
        self._unstable: set[str] = set()
        self._in_a_row = 0

    def note(self, folders: Iterable[str]) -> None:
        """Look at the folders that are watched from now on."""
        self._known = {folder: inode(folder) for folder in {*folders} - self._unstable}

    def replaced(self) -> str | None:
        """A folder that was replaced since; None where all are what they were."""
        moved = [folder for folder, was in self._known.items() if inode(folder) != was]
        self._in_a_row = self._in_a_row + 1 if moved else 0
        if self._in_a_row > MOST_IN_A_ROW:
            self._unstable.update(moved)
            return None
        return moved[0] if moved else None
