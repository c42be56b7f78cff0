"""Estimate pass@k, the chance that at least one of k samples is right.

    pass@k = 1 - C(n - c, k) / C(n, k)

A prompt has n samples, and c of them are right. This is the unbiased estimate
of Chen et al. (arXiv 2107.03374, eq. 1).
"""

import numpy as np


def pass_at_k(num_samples: int, num_correct: np.ndarray, k: int) -> np.ndarray:
  """Compute the unbiased pass@k f[Q] of each prompt.

  Args:
    num_samples: n, samples of each prompt.
    num_correct: c i[Q], the number of right samples of each prompt.
    k: 1 <= k <= n.
  """
  if not 1 <= k <= num_samples:
    raise ValueError(f"pass@{k} needs 1 <= k <= {num_samples} samples")
  wrong = num_samples - np.asarray(num_correct)
  # C(n - c, k) / C(n, k), a product of k factors each in [0, 1]
  steps = np.arange(k)
  factors = (wrong[:, None] - steps) / (num_samples - steps)
  return 1.0 - np.prod(np.maximum(factors, 0.0), axis=1)
