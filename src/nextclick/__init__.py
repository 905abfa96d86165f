"""From a shop's raw clickstream to recommendations that change within seconds of a click."""

import os

# nothing that a library is asked to do tells its makers of it, unless the variable is set otherwise
for _switch, _off in {
    "DO_NOT_TRACK": "1",  # Evidently, and others by convention
    "BENTOML_DO_NOT_TRACK": "true",
    "ITERATIVE_DO_NOT_TRACK": "1",  # GTO, Evidently
    "DVC_NO_ANALYTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_switch, _off)
