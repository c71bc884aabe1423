"""Prints what each environment says, and which layer it came from."""

from yamlgraph_prompts import LivePrompts

LAYERS = ("prompts/{environment}", "prompts/base")

for environment in ("development", "staging", "production"):
    print(environment)
    with LivePrompts(*LAYERS, environment=environment, watch=False) as prompts:
        for prompt in prompts.release.prompts.values():
            said = prompt.messages(name="Ada")[-1].text.strip()
            print(f"  {prompt.name}: {said:46} ({prompt.layer})")
