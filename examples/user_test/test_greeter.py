"""What the greeter promises."""

import pytest
from greeter import greeter
from langchain_core.language_models import BaseChatModel, SimpleChatModel

from yamlgraph_prompts import LivePrompts


class Echo(SimpleChatModel):
    """Says the last message again."""

    def _call(self, messages, *_, **__):
        return messages[-1].text

    @property
    def _llm_type(self):
        return "echo"


@pytest.fixture
def model() -> BaseChatModel:
    return Echo()


def test_the_model_is_told_the_name(model):
    with LivePrompts({"greeting": "user: Say hi to {name}."}) as prompts:
        assert greeter(model, prompts).invoke({"name": "Ada"})["greeting"] == "Say hi to Ada."


def test_a_new_prompt_is_in_the_next_greeting(live_prompts, model):
    texts = {"greeting": "user: Hi {name}"}
    app = greeter(model, live_prompts(texts))
    assert app.invoke({"name": "Ada"})["greeting"] == "Hi Ada"
    texts["greeting"] = "user: Hello {name}"
    assert app.prompts.publish().status == "published"
    assert app.invoke({"name": "Ada"})["greeting"] == "Hello Ada"


def test_a_broken_prompt_changes_nothing(live_prompts, model):
    texts = {"greeting": "user: Hi {name}"}
    app = greeter(model, live_prompts(texts))
    texts["greeting"] = "user: 'Hello {name}"
    outcome = app.prompts.publish()
    assert [finding.code for finding in outcome.errors] == ["yaml-syntax"]
    assert app.invoke({"name": "Ada"})["greeting"] == "Hi Ada"


def test_the_prompts_that_we_ship_are_good(live_prompts, model):
    prompts = live_prompts("prompts")
    assert "Ada" in greeter(model, prompts).invoke({"name": "Ada"})["greeting"]
