"""What must hold still while the process forks, and begin anew in the child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something with locks, threads or connections of one process."""

    def hold(self) -> None:
        """Before a fork."""
        ...

    def let_go(self) -> None:
        """After a fork, in the parent."""
        ...

    def start_over(self) -> None:
        """After a fork, in the child."""
        ...


_ALL: weakref.WeakSet[Forked] = weakref.WeakSet()
_HELD: dict[int, list[Forked]] = {}


def watch(one: Forked) -> None:
    """Have something hold still at each fork, as long as it lives."""
    _ALL.add(one)


def _before() -> None:
    held = _HELD[threading.get_ident()] = list(_ALL)
    for one in held:
        one.hold()


def _after_in_parent() -> None:
    for one in _HELD.pop(threading.get_ident(), ()):
        one.let_go()


def _after_in_child() -> None:
    _HELD.clear()
    for one in list(_ALL):
        one.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
