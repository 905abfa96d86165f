"""No pickle from outside may run code: a pickle that names a function or a class is a program."""

from __future__ import annotations

import sys
from typing import Any

# Numba keeps its compiled functions beside the code in this form: who can write there can change the code itself
TRUSTED = "numba."


class PickleRefusedError(RuntimeError):
    """Something in this process tried to unpickle more than plain values."""


def refuse_pickle() -> None:
    """From now on, for as long as the process lives, no pickle may name a function or a class, but in Numba's cache.

    Without one it is plain values and runs nothing. The hook sees every unpickler, whatever it was imported as
    (PEP 578); whoever unpickles then gets PickleRefusedError.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and not sys._getframe(1).f_globals.get("__name__", "").startswith(TRUSTED):
        raise PickleRefusedError("no pickle may name a function or a class in this service")
