"""A pytest fixture for tests of apps that use prompts. It costs nothing where it is not used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from yamlgraph_prompts.live_prompts import LivePrompts
    from yamlgraph_prompts.sources.layers import AnyLayer


@pytest.fixture
def live_prompts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LivePrompts]]:
    """A factory of `LivePrompts` that are closed when the test ends.

    It takes what `LivePrompts` takes. Each one has a store of its own, so that no test sees what
    another one published, and follows no changes unless ``watch=True`` is given.

    Example::

        def test_the_greeting_names_the_customer(live_prompts):
            prompts = live_prompts({"greeting": "user: Hi {name}"})
            assert prompts["greeting"].messages(name="Ada")[0].content == "Hi Ada"

        def test_every_prompt_of_staging_is_good(live_prompts):
            live_prompts("prompts/{environment}", "prompts/base", environment="staging").release
    """
    with ExitStack() as stack:

        def make(*layers: AnyLayer, **arguments: Any) -> LivePrompts:
            from yamlgraph_prompts.live_prompts import LivePrompts

            in_memory = all(isinstance(getattr(layer, "url", layer), Mapping) for layer in layers)
            if not (layers and in_memory):
                arguments.setdefault("store", tmp_path_factory.mktemp("prompts-store"))
            arguments.setdefault("watch", False)
            prompts = LivePrompts(*layers, **arguments)
            stack.callback(prompts.close)
            return prompts

        yield make
