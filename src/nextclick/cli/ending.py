"""How a command ends that has a result and an exit code of its own."""

from __future__ import annotations

from typing import Any


class EndedWithError(Exception):
    """result: is shown as that of any command. code: with which the process then ends."""

    def __init__(self, result: Any, code: int) -> None:
        super().__init__(code)
        self.result, self.code = result, code
