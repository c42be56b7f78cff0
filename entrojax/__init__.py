"""Entropy control for LLM reinforcement learning, in JAX."""
