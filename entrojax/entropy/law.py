"""The law R = -a exp(H) + b between reward and policy entropy.

Cui et al., arXiv 2505.22617, equation 6: without intervention on the entropy
the validation accuracy R is a function of the policy entropy H alone. Two
numbers fitted early in a run say what reward the rest of the entropy buys,
and the ceiling b - a that is left at H = 0. Plain numpy in float64.

Intervals are 95 % ones by Student's t. They take the residuals for independent
and of one size; those of one run's successive steps hardly are, so that the
intervals are rather too narrow.
"""

from typing import NamedTuple

import numpy as np

MIN_POINTS = 3  # distinct entropies that a fit needs
MIN_SPAN = 0.1  # nats; below it exp(H) hardly differs from a straight line

# the two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom,
# as printed in any table of them
T_TABLE = (
  *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
  *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
  *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL_QUANTILE = 1.959964  # of two-sided 95 %


class EntropyLaw(NamedTuple):
  """A fitted law; NaN throughout where there are too few points."""

  a: float  # reward per unit of exp(nats); 0 or more where the law holds
  b: float  # reward
  rmse: float  # reward, weighted
  r_squared: float  # NaN where the reward is constant
  ceiling: float  # reward at H = 0, b - a; NaN where a < 0
  stderr_a: float
  stderr_b: float
  stderr_ceiling: float
  sigma: float  # reward, standard deviation of a point of mean weight
  degrees_of_freedom: float  # points less the two fitted numbers
  u_mean: float  # of u = exp(H), weighted
  s_uu: float  # sum of (u - u_mean)^2, weighted
  ill_conditioned: bool  # the entropies span less than MIN_SPAN


_NAN = float("nan")
NO_LAW = EntropyLaw(*(_NAN,) * 12, True)


class Confidence(NamedTuple):
  """95 % confidence intervals of a law, each (low, high), in its unit."""

  a: tuple[float, float]
  b: tuple[float, float]
  ceiling: tuple[float, float]


class Prediction(NamedTuple):
  """Rewards that a law predicts, f64 of the shape of the entropies."""

  reward: np.ndarray
  stderr: np.ndarray  # of the fitted curve there
  low: np.ndarray  # of the 95 % interval of one more measured reward
  high: np.ndarray


class Forecast(NamedTuple):
  """A law fitted to the first part of a run, held against the rest."""

  law: EntropyLaw
  num_fitted: int  # points of the first part
  predicted: np.ndarray  # [K - num_fitted], reward at the entropies measured
  rmse: float  # reward, over the rest; NaN without a law or a rest
  last_error: float  # reward, predicted - measured at the last point
  coverage: float  # part of the rest within its 95 % prediction interval


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
    return NO_LAW

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
  sigma = np.sqrt(squares / (count - 2))  # two fitted numbers
  stderr_at = lambda u: float(_curve_stderr(u, sigma, count, u_mean, s_uu))
  return EntropyLaw(
    a=float(a),
    b=float(b),
    rmse=float(np.sqrt(squares / count)),
    r_squared=float(1 - squares / total) if total > 0 else np.nan,
    ceiling=float(b - a) if a >= 0 else np.nan,
    stderr_a=float(sigma / np.sqrt(s_uu)),
    stderr_b=stderr_at(0.0),
    stderr_ceiling=stderr_at(1.0) if a >= 0 else np.nan,
    sigma=float(sigma),
    degrees_of_freedom=float(count - 2),
    u_mean=float(u_mean),
    s_uu=float(s_uu),
    ill_conditioned=bool(np.ptp(entropy) < MIN_SPAN),
  )


def predict(law: EntropyLaw, entropy) -> np.ndarray:
  """Returns the reward -a exp(H) + b at measured entropies, in nats."""
  return law.b - law.a * np.exp(np.asarray(entropy, np.float64))


def sensitivity(law: EntropyLaw, entropy) -> np.ndarray:
  """Returns dR/dH = -a exp(H), reward per nat, at entropies in nats."""
  return -law.a * np.exp(np.asarray(entropy, np.float64))


def predict_with_error(law: EntropyLaw, entropy) -> Prediction:
  """Returns `predict` with its standard error and prediction interval.

      stderr^2 = sigma^2 (1 / K + (u - mean u)^2 / S_uu),  u = exp(H)
      interval = R -+ t sqrt(sigma^2 + stderr^2)

  Args:
    law: of `fit_entropy_law`.
    entropy: f64[...], nats, where to predict.
  """
  reward = predict(law, entropy)
  stderr = _curve_stderr(
    np.exp(np.asarray(entropy, np.float64)),
    law.sigma,
    law.degrees_of_freedom + 2,
    law.u_mean,
    law.s_uu,
  )
  half = t_quantile(law.degrees_of_freedom) * np.hypot(law.sigma, stderr)
  return Prediction(reward, stderr, low=reward - half, high=reward + half)


def confidence(law: EntropyLaw) -> Confidence:
  """Returns the 95 % confidence intervals of a, b and the ceiling."""
  t = t_quantile(law.degrees_of_freedom)

  def interval(value, stderr):
    return value - t * stderr, value + t * stderr

  return Confidence(
    a=interval(law.a, law.stderr_a),
    b=interval(law.b, law.stderr_b),
    ceiling=interval(law.ceiling, law.stderr_ceiling),
  )


def forecast(entropy, reward, *, fraction: float = 0.15) -> Forecast:
  """Fits the first part of a run and predicts the rest from its entropies.

  The rewards of the rest are compared with, never fitted; its entropies are
  measured ones: this predicts the reward, not the entropy.

  Args:
    entropy: [K], nats, in the order of the run.
    reward: [K], at the same steps.
    fraction: in (0, 1), the first part's; the paper's 0.15 is 36 of 240 points.
      It is rounded down to whole points, and fewer than three distinct
      entropies among them give NaNs.

  Raises:
    ValueError: as `fit_entropy_law`, or the fraction lies elsewhere.
  """
  if not 0 < fraction < 1:
    raise ValueError(f"forecast.fraction must lie in (0, 1), got {fraction}")
  entropy, reward, _ = _checked(entropy, reward, None)
  num_fitted = int(fraction * entropy.size + 1e-9)  # .15 * 20 may be 2.99...
  law = fit_entropy_law(entropy[:num_fitted], reward[:num_fitted])
  rest, measured = entropy[num_fitted:], reward[num_fitted:]
  prediction = predict_with_error(law, rest)
  error = prediction.reward - measured
  known = error.size > 0 and bool(np.isfinite(error).all())
  covered = (prediction.low <= measured) & (measured <= prediction.high)
  return Forecast(
    law=law,
    num_fitted=num_fitted,
    predicted=prediction.reward,
    rmse=float(np.sqrt(np.mean(error**2))) if known else np.nan,
    last_error=float(error[-1]) if known else np.nan,
    coverage=float(covered.mean()) if known else np.nan,
  )


def t_quantile(degrees_of_freedom: float) -> float:
  """Returns the two-sided 95 % quantile of Student's t, right to 1e-3.

      t = z + (z^3 + z) / 4n + (5 z^5 + 16 z^3 + 3 z) / 96 n^2

  beyond the 30 degrees of freedom of the table, z the normal quantile
  (Abramowitz and Stegun, 26.7.5). At 4 the normal's 1.96 for 2.78 would make
  an interval of 88 %, called 95 %.

  Args:
    degrees_of_freedom: a whole number from 1 on; NaN gives NaN.
  """
  n, z = degrees_of_freedom, NORMAL_QUANTILE
  if np.isnan(n):
    return np.nan
  if n < 1 or n != int(n):
    raise ValueError(f"degrees of freedom must be 1, 2, ..., got {n}")
  if n <= len(T_TABLE):
    return T_TABLE[int(n) - 1]
  first = (z**3 + z) / (4 * n)
  return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def _curve_stderr(u, sigma, count, u_mean, s_uu):
  """Returns the standard error of the fitted reward at u = exp(H)."""
  return sigma * np.sqrt(1 / count + (u - u_mean) ** 2 / s_uu)


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
