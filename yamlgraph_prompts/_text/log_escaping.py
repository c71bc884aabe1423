"""The filter that escapes what this package logs; importing it installs it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from yamlgraph_prompts._text.escaping import Lines, escaped

LIMIT_TRACEBACK = 200  # lines


class _Escaping(logging.Filter):
    """Escapes everything that is logged, so that each record stays one record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = escaped(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {name: _argument(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_argument, record.args))
        if record.exc_info and not record.exc_text:
            lines = logging.Formatter().formatException(record.exc_info).splitlines()
            # The last lines are the error itself.
            record.exc_text = Lines.of(*lines[-LIMIT_TRACEBACK:])
        return True


def _argument(value: Any) -> Any:
    return value if isinstance(value, int | float) or value is None else escaped(value)


# At the logger, so that new messages are covered too.
logging.getLogger("yamlgraph_prompts").addFilter(_Escaping())
