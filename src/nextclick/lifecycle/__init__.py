"""A recommender as one versioned thing, from training to retirement."""
