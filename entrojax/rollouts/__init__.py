"""Sample responses and verify them: the batch of one rollout step."""
