"""The errors that a user can mend; the command line shows them without a traceback."""


class InputError(ValueError):
    """Something given by the user does not fit: names the file, the row or field, and what was expected."""
