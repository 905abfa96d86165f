"""Live clicks: from Kafka, or from within the process, into the online store and the offline log."""
