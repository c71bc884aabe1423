"""Writes a letter to each name that is typed. Edit prompts/ meanwhile: the next letter has it."""

import sys

from yamlgraph_prompts import load_and_compile  # was: from yamlgraph import load_and_compile

app = load_and_compile("graph.yaml").compile()

print("Whom shall we write to?", flush=True)
for line in sys.stdin:
    answer = app.invoke({"name": line.strip()})
    print(answer["letter"], flush=True)
