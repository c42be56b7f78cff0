"""Entropy measured: token statistics, covariance, semantic entropy, the law."""
