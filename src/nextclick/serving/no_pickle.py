"""Nothing that comes from outside may be unpickled: a pickle is a program."""

from __future__ import annotations

import pickle
import sys
from typing import Any, NoReturn

import dill

# Numba keeps its compiled functions beside the code in this form: who can write there can change the code itself
TRUSTED = "numba."


class PickleRefusedError(RuntimeError):
    """Something in this process tried to unpickle."""


def refuse_pickle() -> None:
    """From now on `loads` and `load` of pickle and dill raise PickleRefusedError, but for Numba's cache."""
    loads, load = pickle.loads, pickle.load

    def guarded_loads(*args: Any, **kwargs: Any) -> Any:
        return _from_numba(loads, *args, **kwargs)

    def guarded_load(*args: Any, **kwargs: Any) -> Any:
        return _from_numba(load, *args, **kwargs)

    pickle.loads, pickle.load = guarded_loads, guarded_load
    dill.loads = dill.load = _refused


def _from_numba(original: Any, *args: Any, **kwargs: Any) -> Any:
    if not sys._getframe(2).f_globals.get("__name__", "").startswith(TRUSTED):
        _refused()
    return original(*args, **kwargs)


def _refused(*_: Any, **__: Any) -> NoReturn:
    raise PickleRefusedError("this service unpickles nothing")
