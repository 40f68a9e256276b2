"""The users of a desk: a file of names, roles, password hashes and hashes of keys, written by `twinscope users` only.

Passwords are kept as Argon2id hashes. A key is 256 random bits, so that a plain SHA-256 of it is enough.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import argon2
from pydantic import Field, ValidationError

from twinscope.errors import UsageError
from twinscope.types import Record

Role = Literal["reviewer", "admin"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
LEAST = 10
"""Characters of a password, at least."""
MOST = 1024
"""Characters of a password, at most: hashing must not become work for others."""


class Key(Record):
    """A key of a program: what it is for, and the SHA-256 of it."""

    label: str = Field(max_length=100)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Person(Record):
    """A user of the desk. `password` is an Argon2id hash."""

    name: str = Field(pattern=NAME)
    role: Role
    password: str = Field(max_length=300)
    keys: tuple[Key, ...] = ()


class People(Record):
    """The content of the file of users."""

    users: tuple[Person, ...] = ()


class Book:
    """The users of a file, read again when it changes; for many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._held: dict[str, Person] = {}

    def read(self) -> dict[str, Person]:
        """Return the users by name, as `read` does."""
        try:
            now = self.path.stat()
        except OSError:
            return read(self.path)
        seen = (now.st_ino, now.st_mtime_ns, now.st_ctime_ns, now.st_size)
        if seen != self._seen:
            self._held, self._seen = read(self.path), seen
        return self._held


def read(path: Path) -> dict[str, Person]:
    """Return the users of a file by name. Raises UsageError where it cannot be used, or others may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
        people = People.model_validate_json(text)
    except FileNotFoundError:
        raise UsageError(f"there is no file of users {path}; make it with `twinscope users add {path} NAME`") from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not what `twinscope users` writes"
        raise UsageError(f"the file of users {path} cannot be used: {why}") from error
    if mode & 0o077:
        raise UsageError(f"others may read or write the file of users {path}; run `chmod 600 {path}`")
    return {person.name: person for person in people.users}


@contextmanager
def _changing(path: Path, make: bool = False) -> Iterator[dict[str, Person]]:
    """Give the users of a file to change; they are written when the block ends, whole or not at all."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the file of users")
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        people = {} if make and not path.exists() else read(path)
        yield people
        kept = People(users=tuple(people[name] for name in sorted(people)))
        number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(json.dumps(kept.model_dump(mode="json"), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        os.fsync(lock)
    finally:
        os.close(lock)


def add(path: Path, name: str, role: Role, password: str) -> None:
    """Add a user; the file is made if there is none. Raises UsageError for a name that is taken or is none."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name} is no name for a user; take up to 64 letters, digits and . _ @ -")
    with _changing(path, make=True) as people:
        if name in people:
            raise UsageError(f"{name} is there already; `twinscope users password` gives a new password")
        people[name] = Person(name=name, role=role, password=_hashed(password))


def remove(path: Path, name: str) -> None:
    """Take a user out, and so all sessions and keys. Raises UsageError where there is none of that name."""
    with _changing(path) as people:
        del people[_known(people, name, path).name]


def set_password(path: Path, name: str, password: str) -> None:
    """Give a user another password; all sessions of the user end. Raises UsageError for a short one."""
    with _changing(path) as people:
        people[name] = _known(people, name, path).model_copy(update={"password": _hashed(password)})


def set_role(path: Path, name: str, role: Role) -> None:
    """Give a user another role. Raises UsageError where there is none of that name."""
    with _changing(path) as people:
        people[name] = _known(people, name, path).model_copy(update={"role": role})


def add_key(path: Path, name: str, label: str) -> str:
    """Make a key for a program that acts for a user, and return it; it can never be shown again."""
    key = "tw_" + secrets.token_urlsafe(32)
    with _changing(path) as people:
        person = _known(people, name, path)
        if any(one.label == label for one in person.keys):
            raise UsageError(f"{name} has a key {label} already; remove it first, or name another with --label")
        made = Key(label=label, sha256=key_hash(key))
        people[name] = person.model_copy(update={"keys": (*person.keys, made)})
    return key


def remove_key(path: Path, name: str, label: str) -> None:
    """Take a key away from a user. Raises UsageError where there is none of that label."""
    with _changing(path) as people:
        person = _known(people, name, path)
        kept = tuple(one for one in person.keys if one.label != label)
        if len(kept) == len(person.keys):
            raise UsageError(f"{name} has no key {label}; `twinscope users list {path}` names them")
        people[name] = person.model_copy(update={"keys": kept})


def key_hash(key: str) -> str:
    """Return the SHA-256 of a key as hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def of_key(people: dict[str, Person], key: str) -> Person | None:
    """Return who a key belongs to. It takes as long for a key that is none."""
    wanted, found = key_hash(key), None
    for person in people.values():
        for one in person.keys:
            if secrets.compare_digest(one.sha256, wanted):
                found = person
    return found


def check(person: Person | None, password: str) -> bool:
    """Say whether a password is that of a user. It takes as long where there is no such user."""
    right = person.password if person is not None else _nobody()
    try:
        return _hasher().verify(right, password[:MOST]) and person is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _hashed(password: str) -> str:
    if not LEAST <= len(password) <= MOST:
        raise UsageError(f"a password has {LEAST} to {MOST} characters; take a longer one")
    return _hasher().hash(password)


def _hasher() -> argon2.PasswordHasher:
    return argon2.PasswordHasher()  # Argon2id, 64 MiB, three passes: RFC 9106's second choice


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_hex(16))


def _known(people: dict[str, Person], name: str, path: Path) -> Person:
    if name not in people:
        raise UsageError(f"there is no user {name} in {path}; `twinscope users list {path}` names them")
    return people[name]
