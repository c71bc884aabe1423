"""Finds a release by its id: in the store, else in a layer that keeps releases."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from yamlgraph_prompts._model.release import Release, is_full_id
from yamlgraph_prompts.errors import LayerError, ReleaseNotFound, StoreError
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")


def find(
    release_id: str, store: Store, readers: Sequence[LayerReader], deadline_s: float
) -> Release:
    """The release whose id is, or begins with, `release_id`; a layer's is kept in the store."""
    try:
        return store.get(store.find(release_id))
    except ReleaseNotFound:
        if not is_full_id(release_id):
            raise
    release = _published(release_id, readers, deadline_s)
    with suppress(StoreError):
        store.put(release)
    return release


def _published(release_id: str, readers: Sequence[LayerReader], deadline_s: float) -> Release:
    where, todo = "nor in a layer.", "Publish its content again"
    for reader in readers:
        try:
            found = within(deadline_s, partial(reader.release, release_id), reader.url)
        except LayerError as problem:
            logger.warning("Release %s was not found: %s", release_id[:12], problem)
            where = f"and a layer cannot give it: {problem.message}"
            todo = "Try again when that is mended"
            continue
        if found is not None:
            return found
    text = f"Release {release_id[:12]} is neither in memory, nor in the store, {where}"
    hint = f'{todo}, or let such runs take the live release: missing_release="live".'
    raise ReleaseNotFound(text, release_id=release_id, hint=hint)
