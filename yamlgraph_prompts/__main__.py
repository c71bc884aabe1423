"""`python -m yamlgraph_prompts`: the command, where scripts are not on the path."""

import sys

from yamlgraph_prompts.cli import main

if __name__ == "__main__":
    sys.exit(main())
