"""Measures of entropy: of tokens, of meanings, and what they predict.

token_stats.py computes log-probabilities and entropies of tokens. covariance.py
says which tokens lower the entropy in an update. semantic.py measures entropy
over the meanings of answers. law.py relates reward to entropy over a run.
"""
