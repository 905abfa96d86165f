"""The errors that a user can repair; the command line shows them without a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """An input of the user is invalid. The message names the file, the row or field, and what was expected."""


class UnavailableError(Exception):
    """A server did not answer. The caller may go on without it and try again later."""


class StoreUnavailableError(UnavailableError):
    """The online store did not answer."""


class LogUnavailableError(UnavailableError):
    """The offline log of live events could not be written, for example because the disk is full."""


class BrokerUnavailableError(UnavailableError):
    """Kafka did not answer."""


def problems_of(error: ValidationError) -> str:
    """The problems that pydantic found, in one line: each field, by its path, and what is wrong with it."""
    return "; ".join(": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"]])) for e in error.errors())
