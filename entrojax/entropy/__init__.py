"""Measures of entropy: of tokens, of meanings, and what they predict.

token_stats.py computes log-probabilities and entropies of tokens, and further
statistics of their distribution, which statistics.py lists. formulas.py and
nucleus.py say how. covariance.py estimates how an update changes the entropy,
and how much each token contributes to the change. semantic.py measures entropy
over the meanings of answers, and turns it into a factor for advantages. law.py
fits a law between reward and entropy over a run.
"""
