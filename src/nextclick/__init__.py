"""From a shop's raw clickstream to recommendations that change within seconds of a click."""
