"""Sessions of the page: a signed cookie for the owner of a token. Keeps no token."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from yamlgraph_prompts._files import disk
from yamlgraph_prompts.admin.security.auth import LOOK_EVERY_S, Tokens, Who

KEY_FILE = "page.key"
ENDED_FILE = "page.ended"
LASTS_S = 12 * 3600.0

_KEY_BYTES = 32
_MAX_ENDED = 1 << 20
_VALUE = re.compile(r"1\.[0-9a-f]{32}\.[0-9]{1,12}\.[0-9a-f]{32}\.[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Session:
    """One user who signed in."""

    who: Who  # their role is the token's of this moment
    csrf: str  # what a request that changes something must show besides the cookie
    value: str  # the cookie's


class Sessions:
    """Signs and reads cookies. The key lies in the store: all processes that share it agree.

    A session ends when its token is removed, changed or expired, on signing out, after
    `LASTS_S`, and for all when the key's file is deleted.
    """

    def __init__(self, tokens: Tokens, folder: Callable[[], Path | None]) -> None:
        self._tokens = tokens
        self._folder = folder
        self._key: bytes | None = None
        self._ended: frozenset[str] = frozenset()
        self._ended_here: set[str] = set()
        self._looked_s = -LOOK_EVERY_S

    @property
    def cookie(self) -> str:
        """Its name: a browser sends a cookie to every port of a host, so each store has its own."""
        return f"yamlgraph_prompts_{sha256(str(self._folder()).encode()).hexdigest()[:8]}"

    def start(self, token: str) -> Session | None:
        """A session for the owner of `token`; None: it is unknown."""
        if self._tokens.find(token) is None:
            return None
        self._look()
        key = self._key = self._key or self._made()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        ends = int(time.time() + LASTS_S)
        signed = f"1.{_mark(key, digest)}.{ends}.{secrets.token_hex(16)}"
        return self.find(f"{signed}.{_mac(key, signed)}")

    def find(self, value: str) -> Session | None:
        """The session of a cookie; None: it is none, or over."""
        if not _VALUE.fullmatch(value):
            return None
        self._look()
        if self._key is None:
            return None
        key, (signed, _, mac) = self._key, value.rpartition(".")
        if not hmac.compare_digest(mac, _mac(key, signed)):
            return None
        _, mark, ends, nonce = signed.split(".")
        if int(ends) <= time.time() or nonce in self._ended_here or nonce in self._ended:
            return None
        who = self._tokens.find_by(lambda digest: _mark(key, digest), mark)
        return None if who is None else Session(who, _mac(key, f"csrf {value}")[:32], value)

    def end(self, session: Session) -> None:
        """End the session, in every process that shares the store."""
        _, _, ends, nonce, _ = session.value.split(".")
        self._ended_here.add(nonce)
        folder = self._folder()
        if folder is None:
            return
        file = folder / ENDED_FILE
        with disk.store_errors("Could not end the session in", folder):
            if len(lines := _lines(file)) > 1000:
                now = time.time()
                kept = [line for line in lines if _ends(line) > now]
                disk.replace(file, "".join(f"{line}\n" for line in kept).encode())
            disk.append(file, f"{nonce} {ends}\n".encode())

    def _look(self) -> None:
        now, folder = time.monotonic(), self._folder()
        # A key that another process has just made counts at once.
        if folder is None or (self._key and now - self._looked_s < LOOK_EVERY_S):
            return
        self._looked_s = now
        self._key = _read(folder / KEY_FILE)
        self._ended = frozenset(line.partition(" ")[0] for line in _lines(folder / ENDED_FILE))

    def _made(self) -> bytes:
        folder, key = self._folder(), secrets.token_bytes(_KEY_BYTES)
        if folder is None:
            return key
        file, beside = folder / KEY_FILE, folder / disk.temporary_name()
        with disk.store_errors("Could not write the page's key in", folder):
            disk.write_new(beside, key)
            try:
                # A link fails where another process was first; a rename would replace its key.
                with suppress(FileExistsError):
                    os.link(beside, file)
                    disk.sync_folder(folder)
            finally:
                disk.unlink(beside)
            found = _read(file)
            if found is None:
                # Cut short by a crash of the machine, or readable by others: it is not used.
                disk.replace(file, key)
            return found or key


def _read(file: Path) -> bytes | None:
    try:
        key, found = disk.read_file(file, _KEY_BYTES)
    except OSError:
        return None
    is_private = os.name == "nt" or not found.st_mode & 0o077
    return key if is_private and len(key) == _KEY_BYTES else None


def _lines(file: Path) -> list[str]:
    try:
        return disk.read_file(file, _MAX_ENDED)[0].decode("ascii", "replace").splitlines()
    except OSError:
        return []


def _ends(line: str) -> float:
    ends = line.partition(" ")[2]
    return float(ends) if ends.isdecimal() else 0.0


def _mark(key: bytes, digest: bytes) -> str:
    """Names a token for a cookie: without the key it reveals nothing about the token."""
    return hmac.digest(key, b"token " + digest, "sha256").hex()[:32]


def _mac(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()
