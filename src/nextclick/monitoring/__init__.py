"""What becomes of served recommendations: feedback, drift, and what is decided on it."""
