"""The filter that makes each record one line, and says which request and trace it belongs to.

Importing it installs it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from yamlgraph_prompts._text.escaping import Lines, escaped

LIMIT_TRACEBACK = 200  # lines

# Of the request to the admin API that is being answered.
request_id: ContextVar[str | None] = ContextVar("yamlgraph_prompts_request_id", default=None)


class EscapingFilter(logging.Filter):
    """Escapes everything that is logged, so that each record stays one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _line(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {name: _argument(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_argument, record.args))
        if record.exc_info and not record.exc_text:
            lines = logging.Formatter().formatException(record.exc_info).splitlines()
            # The last lines are the error itself.
            record.exc_text = Lines.of(*lines[-LIMIT_TRACEBACK:])
        for name, value in _context():
            setattr(record, name, value)
        return True


def _context() -> Iterator[tuple[str, str]]:
    if (identity := request_id.get()) is not None:
        yield "request_id", identity
    # An app that traces has imported it.
    if tracing := sys.modules.get("opentelemetry.trace"):
        span = tracing.get_current_span().get_span_context()
        if span.is_valid:
            yield "trace_id", f"{span.trace_id:032x}"
            yield "span_id", f"{span.span_id:016x}"


def _line(text: object) -> str:
    """A text on one line, `Lines` too."""
    return escaped(text).replace(":\n  ", ": ").replace("\n  ", " | ")


def _argument(value: Any) -> Any:
    return value if isinstance(value, int | float) or value is None else _line(value)


# At the logger, so that new messages are covered too.
logging.getLogger("yamlgraph_prompts").addFilter(EscapingFilter())
