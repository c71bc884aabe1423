"""The tables, and how a database gets them: each migration once, in order, in one transaction.

A migration is never changed once it was released; what comes later is a new one at the end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The versions of each prompt. Never changed; `data` is null once it was purged.
        """CREATE TABLE prompts_version (
            id {identity}, name TEXT NOT NULL, number INTEGER NOT NULL, sha256 TEXT NOT NULL,
            at_s DOUBLE PRECISION NOT NULL, facts TEXT NOT NULL, data {bytes},
            UNIQUE (name, number), UNIQUE (name, sha256))""",
        # Sets of versions. `versions`: their ids; `used_s`: when a run last asked for it.
        """CREATE TABLE prompts_release (
            id TEXT PRIMARY KEY, at_s DOUBLE PRECISION NOT NULL, used_s DOUBLE PRECISION NOT NULL,
            versions {bytes} NOT NULL)""",
        # Which release became live when. Only appended to.
        """CREATE TABLE prompts_entry (
            environment TEXT NOT NULL, number BIGINT NOT NULL, release TEXT NOT NULL,
            at_s DOUBLE PRECISION NOT NULL, push TEXT NOT NULL UNIQUE, facts TEXT NOT NULL,
            PRIMARY KEY (environment, number))""",
        # What each entry changed; null: not from the registry.
        """CREATE TABLE prompts_change (
            environment TEXT NOT NULL, entry BIGINT NOT NULL, name TEXT NOT NULL,
            old INTEGER, new INTEGER, PRIMARY KEY (environment, entry, name),
            FOREIGN KEY (environment, entry) REFERENCES prompts_entry (environment, number))""",
        "CREATE INDEX prompts_change_name ON prompts_change (name, environment, entry)",
        # The one version of a name that is live in an environment.
        """CREATE TABLE prompts_active (
            environment TEXT NOT NULL, name TEXT NOT NULL, number INTEGER, entry BIGINT NOT NULL,
            PRIMARY KEY (environment, name),
            FOREIGN KEY (name, number) REFERENCES prompts_version (name, number),
            FOREIGN KEY (environment, entry) REFERENCES prompts_entry (environment, number))""",
        "CREATE INDEX prompts_active_name ON prompts_active (name, number)",
    ),
)
CURRENT = len(MIGRATIONS)

# The primary keys of the tables, parents first.
KEYS: Mapping[str, tuple[str, ...]] = {
    "prompts_version": ("id",),
    "prompts_release": ("id",),
    "prompts_entry": ("environment", "number"),
    "prompts_change": ("environment", "entry", "name"),
    "prompts_active": ("environment", "name"),
}


def packed(ids: Collection[int]) -> bytes:
    """The ids of a release's versions, as `prompts_release.versions` has them."""
    return zlib.compress(struct.pack(f"<{len(ids)}q", *ids), 1)


def unpacked(data: bytes) -> tuple[int, ...]:
    """The ids in `prompts_release.versions`."""
    plain = zlib.decompress(data)
    return struct.unpack(f"<{len(plain) // 8}q", plain)
