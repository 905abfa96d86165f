"""A shop whose behaviour is known, so that the best that anyone could do on its data is known too."""

from nextclick.events.simulator.play import simulate

__all__ = ["simulate"]
