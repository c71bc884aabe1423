"""Runs callbacks in a process that forks; callbacks in the child run in the order given here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakSet

T = TypeVar("T")


def in_child(renew: Callable[[], None]) -> Callable[[], None]:
    """Decorator: call the function in each forked child, whose threads and locks are gone."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return renew


def renewed_in_child(renew: Callable[[T], None]) -> WeakSet[T]:
    """A set; `renew` is called with each of its members in each forked child."""
    members: WeakSet[T] = WeakSet()

    @in_child
    def renew_all() -> None:
        for member in list(members):
            renew(member)

    return members


def forks_wait_for(lock: threading.Lock) -> None:
    """Let no thread fork while another one holds the lock."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


class Forked(Protocol):
    """Something that must know when the process has forked."""

    def forked(self, *, child: bool) -> None: ...


_followers: WeakSet[Forked] = renewed_in_child(lambda follower: follower.forked(child=True))


def follow_forks(follower: Forked) -> None:
    """Call `follower.forked` after each fork, in the parent and in the child."""
    _followers.add(follower)


def _in_parent() -> None:
    for follower in list(_followers):
        follower.forked(child=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_in_parent)
