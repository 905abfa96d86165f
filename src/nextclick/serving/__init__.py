"""The recommender as a service: one read of the online store, then retrieval, features and ranker in this process."""
