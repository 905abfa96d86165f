"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(time: datetime) -> datetime:
    """The time in UTC. One without a zone is in UTC already, as the help of the options says."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
