"""Whatever a hostile web server sends, a layer on it is refused in time and in little memory."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from tests.conftest import wait_until
from tests.scripted_server import ScriptedS3
from tests.security.hostile_answers import FLOODS, LIES, TRICKLES, Hostile
from yamlgraph_prompts.errors import LayerError
from yamlgraph_prompts.sources.http import LIMIT_INDEX_BYTES, HttpSource

DEADLINE_S = 0.7
SLACK_S = 3.0  # for a machine that runs other things as well

ANSWERS = {**FLOODS, **TRICKLES, **LIES}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_hostile_answer_ends_in_time_and_in_little_memory(s3: ScriptedS3, kind: str) -> None:
    s3.fault = hostile = Hostile(lambda asked: ANSWERS[kind]())
    source = HttpSource(f"{s3.endpoint}/acme/prompts", deadline_s=DEADLINE_S)
    tracemalloc.start()
    began_s = time.monotonic()
    try:
        with pytest.raises(LayerError) as caught:
            source.read()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
    assert peak_bytes < 4 * LIMIT_INDEX_BYTES
    assert caught.value.layer == source.url
    assert len(str(caught.value)) < 1000
    wait_until(lambda: hostile.busy == 0)
    wait_until(lambda: "yamlgraph-prompts-http" not in {t.name for t in threading.enumerate()})
