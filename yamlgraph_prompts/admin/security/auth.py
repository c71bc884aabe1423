"""Tokens, roles, and limits on failed attempts. Never keeps or logs a token."""

from __future__ import annotations

import hmac
import logging
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, get_args

from yamlgraph_prompts._files.regular_file import read_regular

logger = logging.getLogger("yamlgraph_prompts")

Role = Literal["viewer", "author", "operator"]
"""Each may do all that the one before may."""

ROLES: tuple[Role, ...] = get_args(Role)
VARIABLE = "YAMLGRAPH_PROMPTS_TOKENS"
LOOK_EVERY_S = 1.0

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}")
_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Who:
    """The owner of a token."""

    name: str  # the token's, or the beginning of its digest
    role: Role

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


_LINE = (
    "has the SHA-256 of a token in hex, a role (viewer, author or operator), and optionally a name "
    "and an end"
)


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    who: Who
    until_s: float | None


class Tokens:
    """The valid tokens. What changes in the mapping, file or variable counts at once."""

    def __init__(self, given: Mapping[str, Role] | str | os.PathLike[str] | None) -> None:
        self._given = given
        self._known: tuple[_Known, ...] = ()
        self._looked_s = -LOOK_EVERY_S
        self._text: str | None = None
        if isinstance(given, Mapping):
            _of_mapping(given)  # raises at once if one is invalid
        elif given is not None and not isinstance(given, (str, os.PathLike)):
            raise TypeError(
                "The tokens are a mapping, as in {'a-long-random-token': 'operator'}, or a file; "
                f"a {type(given).__name__} is neither."
            )
        elif given is not None and not os.path.isfile(given):
            # A token that was passed for a file must not be shown.
            name = f" {os.fspath(given)!r}" if os.path.basename(given) != given else ""
            raise ValueError(
                f"The file of tokens{name} does not exist. Write its path. Each line {_LINE}."
            )

    @property
    def count(self) -> int:
        return len(self._now())

    def find(self, token: str) -> Who | None:
        """The owner of a token; always compares all of them."""
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        return self.find_by(bytes.hex, digest.hex())

    def find_by(self, mark: Callable[[bytes], str], wanted: str) -> Who | None:
        """The owner of the token whose digest has this mark; always compares all of them."""
        found: Who | None = None
        for known in self._now():
            if hmac.compare_digest(mark(known.digest), wanted):
                over = known.until_s is not None and known.until_s <= time.time()
                found = None if over else known.who
        return found

    def _now(self) -> tuple[_Known, ...]:
        if isinstance(self._given, Mapping):
            return _of_mapping(self._given)
        now = time.monotonic()
        if now - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now
            if self._given is None:
                text = os.environ.get(VARIABLE, "").replace(";", "\n")
            else:
                text = _read(Path(self._given))
            if text != self._text:
                self._text, self._known = text, _of_lines(text)
        return self._known


class Attempts:
    """How often of late an address has sent one wrong token, or how many. Thread-safe."""

    def __init__(self, limit: int = 10, window_s: float = 60.0, addresses: int = 10_000) -> None:
        self._limit = limit
        self._window_s = window_s
        self._addresses = addresses
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str, token: str) -> float:
        """Seconds for which a wrong token of this address is not even answered; 0.0: it is."""
        with self._lock:
            found = [self._failed.get(key, (0, 0.0)) for key in _keys(address, token)]
        ends = max(ends if count >= self._limit else 0.0 for count, ends in found)
        return max(0.0, ends - time.monotonic())

    def failed(self, address: str, token: str) -> None:
        """Count a failure; the address fails by the first one of each token."""
        of_address, of_token = _keys(address, token)
        with self._lock:
            if self._count(of_token) == 1:
                self._count(of_address)

    def _count(self, key: str) -> int:
        now = time.monotonic()
        count, ends = self._failed.pop(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + self._window_s
        self._failed[key] = (count + 1, ends)
        while len(self._failed) > self._addresses:
            self._failed.popitem(last=False)
        return count + 1


def _keys(address: str, token: str) -> tuple[str, str]:
    group = _group(address)
    return group, f"{group} {sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _group(address: str) -> str:
    """One household of IPv6 addresses counts as one."""
    try:
        if ip_address(address).version == 6:
            return str(ip_network(f"{address}/64", strict=False))
    except ValueError:
        pass
    return address


def _of_mapping(given: Mapping[str, Role]) -> tuple[_Known, ...]:
    found = []
    for token, role in dict(given).items():
        if not isinstance(token, str) or not token:
            raise ValueError("A token must be a non-empty string.")
        if role not in ROLES:
            raise ValueError(f"A role must be one of {', '.join(ROLES)}, not {role!r}.")
        digest = sha256(token.encode("utf-8", "surrogatepass"))
        found.append(_Known(digest.digest(), Who(f"token {digest.hexdigest()[:8]}", role), None))
    return tuple(found)


def _read(file: Path) -> str:
    try:
        if os.name != "nt" and stat.S_IMODE(os.stat(file).st_mode) & 0o022:
            logger.error("The tokens in %s are ignored: other users may write to the file.", file)
            return ""
        return read_regular(file, limit_bytes=_MAX_FILE).decode()
    except (OSError, UnicodeDecodeError) as problem:
        logger.error("The tokens in %s cannot be read: %s", file, type(problem).__name__)
        return ""


def _of_lines(text: str) -> tuple[_Known, ...]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        known = _of_words(words)
        if known is None:
            # Not the line itself: it may contain a token by mistake.
            logger.error(
                "Line %d of the tokens is invalid and is ignored: each line %s.", number, _LINE
            )
        else:
            found.append(known)
    return tuple(found)


def _of_words(words: list[str]) -> _Known | None:
    digest, role, name, until = (*words, "", "", "")[:4]
    if len(words) > 4 or not _DIGEST.fullmatch(digest) or role not in ROLES:
        return None
    if name and not _NAME.fullmatch(name):
        return None
    try:
        ends = datetime.fromisoformat(until) if until else None
    except ValueError:
        return None
    if ends is not None and ends.tzinfo is None:
        ends = ends.replace(tzinfo=UTC)
    who = Who(name or f"token {digest[:8]}", next(r for r in ROLES if r == role))
    return _Known(bytes.fromhex(digest), who, ends.timestamp() if ends else None)
