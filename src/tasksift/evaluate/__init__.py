"""Evidence: selectors compared by training, the compute planned, runs scored."""
