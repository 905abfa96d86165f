"""The feature store, with Feast: written offline and live, read online.

Feast decorates its classes with typeguard, which compiles each class anew at import: some 4 seconds at every start of
the service and of most commands. Feast is therefore imported here first, with a decorator that changes nothing; mypy
checks the calls that this package makes.
"""

import typeguard

_typechecked = typeguard.typechecked
typeguard.typechecked = lambda target: target  # type: ignore[assignment]
import feast  # noqa: E402, F401

typeguard.typechecked = _typechecked
