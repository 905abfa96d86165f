"""The errors that a user can mend; the command line shows them without a traceback."""


class InputError(ValueError):
    """Something given by the user does not fit: names the file, the row or field, and what was expected."""


class UnavailableError(Exception):
    """A server did not answer; what asked may go on without it and try again later."""


class StoreUnavailableError(UnavailableError):
    """It was the online store."""


class LogUnavailableError(UnavailableError):
    """The offline log of live events could not be written, as on a full disk."""


class BrokerUnavailableError(UnavailableError):
    """It was Kafka."""
