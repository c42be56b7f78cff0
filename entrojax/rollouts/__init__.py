"""Sample responses and verify them: the batch of one rollout step.

sampler.py and slots.py are two ways to decode. rewards.py verifies, and
dynamic_sampling.py samples until enough groups have a learning signal.
recording.py and recorded.py write and read the rollouts of offline runs.
"""
