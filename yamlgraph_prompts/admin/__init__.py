"""The admin API over HTTP: look at prompts, change, check, activate and roll them back.

Closed until it is given tokens. Does nothing that `LivePrompts` cannot do.
"""

from __future__ import annotations

from yamlgraph_prompts.errors import MissingExtra

try:
    import fastapi as _fastapi  # noqa: F401
    import prometheus_client as _prometheus_client  # noqa: F401
except ImportError as problem:
    raise MissingExtra(
        f"The admin API needs {problem.name}.",
        hint="Install it with: pip install 'yamlgraph-prompts[admin]'",
    ) from problem

from yamlgraph_prompts.admin.app import admin_app, lifespan

__all__ = ["admin_app", "lifespan"]
