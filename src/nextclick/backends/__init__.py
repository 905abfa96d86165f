"""The steps that grow with the clicks: in this process, or on a Ray cluster."""
