"""The feature store, with Feast: written offline and live, read online."""
