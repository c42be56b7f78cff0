"""Sampling responses and judging them: one batch of a rollout step."""
