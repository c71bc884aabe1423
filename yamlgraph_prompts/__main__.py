"""`python -m yamlgraph_prompts`: the command, where scripts are not on the path."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # `-m` looks for modules in the working directory first, which may be of any origin.
        del sys.path[0]
    from yamlgraph_prompts._cli import main

    sys.exit(main())
