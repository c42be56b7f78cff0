"""Batches, tiny models, runs and processes that several test files share."""
