"""The exception tree.

TwinscopeError
├── UsageError         the caller asked for something that cannot be done (exit code 2)
│   └── SettingsError  an unknown key or a value out of range in the settings
├── InputError         an input cannot be read; carries a status and a reason
│   ├── RefusedError   the input is outside the limits or not allowed (encrypted, too large, ...)
│   └── BrokenError    the input is damaged
├── ModelError         a model is missing, its hash is wrong or its probe differs
├── LibraryError       a library is damaged or its disk is full; nothing that was acknowledged is lost
├── FetchError         a file of a public data set cannot be fetched, or is not the one that it should be
└── WorkerError        the sandboxed process died or ran out of time or memory

Every message is one sentence: what, where, what to do.
"""

from __future__ import annotations


class TwinscopeError(Exception):
    """The root of every error that twinscope raises on purpose."""


class UsageError(TwinscopeError):
    """The caller asked for something that cannot be done."""


class SettingsError(UsageError):
    """A setting is unknown or out of range."""


class InputError(TwinscopeError):
    """An input cannot be read."""


class RefusedError(InputError):
    """An input is outside the limits or not allowed."""


class BrokenError(InputError):
    """An input is damaged."""


class ModelError(TwinscopeError):
    """A model is missing or is not the one that its card describes."""


class LibraryError(TwinscopeError):
    """A library of earlier panels cannot be read or written."""


class FetchError(TwinscopeError):
    """A file of a public data set cannot be fetched, or is not the one that it should be."""


class WorkerError(TwinscopeError):
    """The sandboxed process died, or ran out of time or memory."""
