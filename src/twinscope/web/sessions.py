"""Sessions and wrong tries, in memory: both end with the server."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

MOST = 10_000
"""Sessions, and names or addresses with wrong tries, that are remembered."""


class Session(NamedTuple):
    """A session: whose it is, a stamp of the password it began with, when it began and was last used, s."""

    name: str
    stamp: str
    began: float
    used: float


class Sessions:
    """The sessions of a desk, by the hash of their ids; for many threads."""

    def __init__(self, idle_s: float, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.idle_s = idle_s
        self.most_s = most_s
        self.clock = clock
        self._held: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, stamp: str) -> str:
        """Begin a session and return its id, which is kept nowhere here."""
        number = secrets.token_urlsafe(32)
        now = self.clock()
        with self._lock:
            self._held = {key: one for key, one in self._held.items() if self._stands(one, now)}
            while len(self._held) >= MOST:
                del self._held[next(iter(self._held))]
            self._held[_hash(number)] = Session(name, stamp, now, now)
        return number

    def find(self, number: str, used: bool = True) -> Session | None:
        """Return the session of an id, None where there is none or it has ended. used: it counts as used by that."""
        key, now = _hash(number), self.clock()
        with self._lock:
            found = self._held.get(key)
            if found is None or not self._stands(found, now):
                self._held.pop(key, None)
                return None
            if used:
                self._held[key] = found._replace(used=now)
        return found

    def end(self, number: str) -> None:
        """End a session, if it is one."""
        with self._lock:
            self._held.pop(_hash(number), None)

    def _stands(self, one: Session, now: float) -> bool:
        return now - one.used < self.idle_s and now - one.began < self.most_s


class Tries:
    """Counts tries by a name or an address; for many threads. `few` lets few passwords be hashed at a time."""

    def __init__(self, most: int, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.window_s = window_s
        self.clock = clock
        self.few = threading.BoundedSemaphore(2)
        self._held: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Count a try and return 0, or return how long it must wait, s. It counts until it is forgotten."""
        now = self.clock()
        with self._lock:
            times = [at for at in self._held.pop(key, []) if now - at < self.window_s]
            while len(self._held) >= MOST:
                del self._held[next(iter(self._held))]
            if len(times) >= self.most:
                self._held[key] = times
                return times[0] + self.window_s - now
            self._held[key] = [*times, now]
        return 0.0

    def forget(self, key: str, count: int | None = None) -> None:
        """Forget the last `count` tries of a key, which were not wrong; all by default."""
        with self._lock:
            times = self._held.pop(key, [])
            if count is not None and len(times) > count:
                self._held[key] = times[:-count]


def _hash(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()
