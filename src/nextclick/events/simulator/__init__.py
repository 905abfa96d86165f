"""A shop whose behaviour is known, so that the best that anyone could do on its data is known too."""

from nextclick.events.simulator.play import simulate
from nextclick.events.simulator.scenarios import Scenario

__all__ = ["Scenario", "simulate"]
