"""Results that are printed and persisted as JSON."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from nextclick.errors import problems_of


class Result(BaseModel):
    """A result, as JSON has it: its keys are the fields, in their order. A field that was never given is left out, and
    a key that the class does not know is kept, so what is read from a file is written again as it was."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Raises ValueError, in one line that names the fields, if the value does not fit."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ValueError(problems_of(error)) from error
