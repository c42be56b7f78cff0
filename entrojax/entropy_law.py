"""The law R = -a exp(H) + b between reward and policy entropy.

Cui et al., arXiv 2505.22617, equation 6: without intervention on the entropy
the validation accuracy R is a function of the policy entropy H alone. Two
numbers fitted early in a run say what reward the rest of the entropy buys,
and the ceiling b - a that is left at H = 0. Plain numpy in float64.
"""

from typing import NamedTuple

import numpy as np

MIN_POINTS = 3  # distinct entropies that a fit needs
MIN_SPAN = 0.1  # nats; below it exp(H) hardly differs from a straight line


class EntropyLaw(NamedTuple):
  """A fitted law. The standard errors assume independent residuals."""

  a: float  # reward per unit of exp(nats); 0 or more where the law holds
  b: float  # reward
  rmse: float  # reward, weighted
  r_squared: float  # NaN where the reward is constant
  ceiling: float  # reward at H = 0, b - a; NaN where a < 0
  stderr_a: float
  stderr_b: float
  stderr_ceiling: float
  ill_conditioned: bool  # the entropies span less than MIN_SPAN


def fit_entropy_law(entropy, reward, weights=None) -> EntropyLaw:
  """Fits R = -a exp(H) + b by weighted least squares, in closed form.

      u = exp(H);  a = -S_uR / S_uu;  b = mean(R) + a mean(u)

  with weighted means and centred sums. To test a prediction, hand over the
  first part of a run only and compare `predict` with the rest.

  Deviation: the two notes this follows disagree on too few points (refuse,
  or answer NaN). Fewer than three distinct entropies give a law of NaNs, so
  that a young run can be fitted live; malformed input is refused. A negative
  `a` is reported and has no ceiling: reward rose with the entropy.

  Args:
    entropy: [K], nats, token-mean policy entropy.
    reward: [K], validation accuracy (or mean reward) at the same steps.
    weights: [K] >= 0, how often a point counts, as the number of evaluated
      responses; only ratios matter. None: all alike.

  Returns:
    The law; see `EntropyLaw`.

  Raises:
    ValueError: shapes differ, a value is not finite, a weight is negative.
  """
  entropy, reward, weights = _checked(entropy, reward, weights)
  counted = weights > 0
  entropy, reward, weights = entropy[counted], reward[counted], weights[counted]
  if np.unique(entropy).size < MIN_POINTS:
    nan = float("nan")
    return EntropyLaw(nan, nan, nan, nan, nan, nan, nan, nan, True)

  weights = weights / weights.mean()
  count = entropy.size
  u = np.exp(entropy)
  u_mean = weights @ u / count
  reward_mean = weights @ reward / count
  s_uu = weights @ (u - u_mean) ** 2
  a = -(weights @ ((u - u_mean) * (reward - reward_mean))) / s_uu
  b = reward_mean + a * u_mean

  squares = weights @ (reward - (b - a * u)) ** 2
  total = weights @ (reward - reward_mean) ** 2
  variance = squares / (count - 2)  # two fitted numbers
  stderr_at = lambda at: float(  # of the fitted reward at u = at
    np.sqrt(variance * (1 / count + (at - u_mean) ** 2 / s_uu))
  )
  return EntropyLaw(
    a=float(a),
    b=float(b),
    rmse=float(np.sqrt(squares / count)),
    r_squared=float(1 - squares / total) if total > 0 else np.nan,
    ceiling=float(b - a) if a >= 0 else np.nan,
    stderr_a=float(np.sqrt(variance / s_uu)),
    stderr_b=stderr_at(0.0),
    stderr_ceiling=stderr_at(1.0) if a >= 0 else np.nan,
    ill_conditioned=bool(np.ptp(entropy) < MIN_SPAN),
  )


def predict(law: EntropyLaw, entropy) -> np.ndarray:
  """Returns the reward -a exp(H) + b at measured entropies, in nats."""
  return law.b - law.a * np.exp(np.asarray(entropy, np.float64))


def _checked(entropy, reward, weights):
  entropy = np.asarray(entropy, np.float64)
  reward = np.asarray(reward, np.float64)
  weights = np.ones_like(entropy) if weights is None else weights
  weights = np.asarray(weights, np.float64)
  if entropy.ndim != 1 or not entropy.shape == reward.shape == weights.shape:
    raise ValueError(
      "entropy, reward and weights must be of one length [K], got "
      f"{entropy.shape}, {reward.shape} and {weights.shape}"
    )
  for name, values in (
    ("entropy", entropy),
    ("reward", reward),
    ("weights", weights),
  ):
    if not np.isfinite(values).all():
      raise ValueError(f"{name} has values that are not finite: {values}")
  if (weights < 0).any():
    raise ValueError(f"weights must not be negative, got {weights.min()}")
  return entropy, reward, weights
