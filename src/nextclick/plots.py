"""One style for every plot."""

from __future__ import annotations

import matplotlib.pyplot as plt


def use_style() -> None:
    """Set plain axes, one size, and colours that everyone can distinguish (Okabe and Ito, 2008)."""
    colours = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"]
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=colours),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "figure.figsize": (7, 3.5),
            "figure.constrained_layout.use": True,
            "figure.dpi": 90,
        }
    )
