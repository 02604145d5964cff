"""The last texts that were read, and what was made of them; bounded by the length of the texts, not by their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What `make` made of the last texts; safe to use from several threads."""

    def __init__(self, make: Callable[[str], T], *, characters: int) -> None:
        """`characters`: of all texts together; what is made of them takes many times as much memory."""
        self._make, self._left = make, characters
        self._made: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, text: str) -> T:
        """Return what is made of a text; whatever `make` raises is raised each time."""
        with self._lock:
            if text in self._made:
                self._made.move_to_end(text)
                return self._made[text]
        made = self._make(text)
        with self._lock:
            if text not in self._made:
                self._made[text] = made
                self._left -= len(text)
            while self._left < 0:
                old, _ = self._made.popitem(last=False)
                self._left += len(old)
        return made
