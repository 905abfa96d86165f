"""What may be concluded from a metric: one place for the intervals, tests and corrections of the whole project."""
