"""The law R = -a exp(H) + b between reward and policy entropy.

Cui et al., arXiv 2505.22617, equation 6: if nothing intervenes on the entropy,
the validation accuracy R is a function of the policy entropy H alone. The two
numbers a and b, fitted early in a run, predict the reward that the remaining
entropy buys, and the ceiling b - a that is reached at H = 0. H is in nats, and
R may also be a mean reward. A fit needs three distinct entropies; with fewer,
all its numbers are NaN. If the fitted a is negative, there is no ceiling.
Everything here is plain numpy in float64.

Intervals are 95 % intervals by Student's t. They assume that residuals are
independent and of equal variance. The residuals of successive steps of one run
are usually correlated, so the intervals are somewhat too narrow.
"""

from typing import NamedTuple

import numpy as np

from entrojax.arguments import require_in

MIN_POINTS = 3  # distinct entropies that a fit needs
MIN_SPAN = 0.1  # nats; over less, exp(H) hardly differs from a straight line

# two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom, as
# printed in any table of them
T_TABLE = (
  *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
  *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
  *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL_QUANTILE = 1.959964  # two-sided 95 % quantile of the normal distribution


class EntropyLaw(NamedTuple):
  """A fitted law; every number is NaN if there are too few points."""

  a: float  # reward per unit of exp(nats); at least 0 if the law holds
  b: float  # reward
  rmse: float  # reward, weighted root mean square of the residuals
  r_squared: float  # NaN if the reward is constant
  ceiling: float  # b - a, the reward at H = 0; NaN if a < 0
  stderr_a: float  # standard error of a
  stderr_b: float  # standard error of b, reward
  stderr_ceiling: float  # standard error of the ceiling, reward
  sigma: float  # reward, standard deviation of a point of mean weight
  degrees_of_freedom: float  # number of points minus the two fitted numbers
  u_mean: float  # weighted mean of u = exp(H)
  s_uu: float  # weighted sum of (u - u_mean)^2
  ill_conditioned: bool  # True: the entropies span less than MIN_SPAN


_NAN = float("nan")
NO_LAW = EntropyLaw(*(_NAN,) * 12, True)


class Confidence(NamedTuple):
  """95 % confidence intervals (low, high), in the units of EntropyLaw."""

  a: tuple[float, float]
  b: tuple[float, float]
  ceiling: tuple[float, float]


class Prediction(NamedTuple):
  """Rewards that a law predicts, f64[...] like the entropies."""

  reward: np.ndarray  # the fitted curve
  stderr: np.ndarray  # standard error of the fitted curve, reward
  low: np.ndarray  # lower end of the 95 % interval of one more measured reward
  high: np.ndarray  # its upper end


class Forecast(NamedTuple):
  """A law fitted to the first part of a run, compared with the rest."""

  law: EntropyLaw
  num_fitted: int  # number of points in the first part
  predicted: np.ndarray  # f64[K - num_fitted], reward at the measured entropies
  rmse: float  # reward, error over the rest; NaN without a law or a rest
  last_error: float  # reward, predicted - measured at the last point
  coverage: float  # share of the rest within its 95 % prediction interval


def fit_entropy_law(entropy, reward, weights=None) -> EntropyLaw:
  """Fit R = -a exp(H) + b by weighted least squares, in closed form.

      u = exp(H);  a = -S_uR / S_uu;  b = mean(R) + a mean(u)

  The means are weighted and the sums S are weighted and centred. `forecast`
  tests a prediction: it fits the first part of a run and predicts the rest.

  Deviation: fewer than three distinct entropies give a law of NaNs instead of
  an error, so that a run can be fitted live from its first steps. Malformed
  input is refused. A negative `a`, where the reward rose with the entropy, is
  reported without a ceiling.

  Args:
    entropy: [K], nats, token-mean policy entropy.
    reward: [K], validation accuracy (or mean reward) at the same steps.
    weights: [K] >= 0, the weight of each point, such as the number of evaluated
      responses; only ratios matter. None: all points count equally.

  Raises:
    ValueError: shapes differ, a value is not finite, or a weight is negative.
  """
  entropy, reward, weights = _as_points(entropy, reward, weights)
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
  """Compute the reward -a exp(H) + b at entropies in nats."""
  return law.b - law.a * np.exp(np.asarray(entropy, np.float64))


def sensitivity(law: EntropyLaw, entropy) -> np.ndarray:
  """Compute dR/dH = -a exp(H), reward per nat, at entropies in nats."""
  return -law.a * np.exp(np.asarray(entropy, np.float64))


def predict_with_error(law: EntropyLaw, entropy) -> Prediction:
  """Predict rewards with their standard errors and prediction intervals.

      stderr^2 = sigma^2 (1 / K + (u - mean u)^2 / S_uu),  u = exp(H)
      interval = R -+ t sqrt(sigma^2 + stderr^2)

  Args:
    law: from `fit_entropy_law`.
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
  """Compute the 95 % confidence intervals of a, b and the ceiling."""
  t = t_quantile(law.degrees_of_freedom)

  def interval(value, stderr):
    return value - t * stderr, value + t * stderr

  return Confidence(
    a=interval(law.a, law.stderr_a),
    b=interval(law.b, law.stderr_b),
    ceiling=interval(law.ceiling, law.stderr_ceiling),
  )


def forecast(entropy, reward, *, fraction: float = 0.15) -> Forecast:
  """Fit the first part of a run and predict the rewards of the rest.

  The rewards of the rest are only compared with the predictions. Its entropies
  are the measured ones: this predicts the reward, not the entropy.

  Args:
    entropy: [K], nats, in the order of the run.
    reward: [K], at the same steps.
    fraction: in (0, 1), the share of the points that are fitted, rounded down
      to whole points; the paper's 0.15 is 36 of 240 points. Fewer than three
      distinct entropies among them give NaNs.

  Raises:
    ValueError: see `fit_entropy_law`; or the fraction is not in (0, 1).
  """
  require_in("forecast.fraction", fraction, "(0, 1)")
  entropy, reward, _ = _as_points(entropy, reward, None)
  num_fitted = int(fraction * entropy.size + 1e-9)  # .15 * 20 may be 2.99...
  law = fit_entropy_law(entropy[:num_fitted], reward[:num_fitted])
  rest, measured = entropy[num_fitted:], reward[num_fitted:]
  prediction = predict_with_error(law, rest)
  error = prediction.reward - measured
  has_errors = error.size > 0 and bool(np.isfinite(error).all())
  covered = (prediction.low <= measured) & (measured <= prediction.high)
  return Forecast(
    law=law,
    num_fitted=num_fitted,
    predicted=prediction.reward,
    rmse=float(np.sqrt(np.mean(error**2))) if has_errors else np.nan,
    last_error=float(error[-1]) if has_errors else np.nan,
    coverage=float(covered.mean()) if has_errors else np.nan,
  )


def t_quantile(degrees_of_freedom: float) -> float:
  """Return the two-sided 95 % quantile of Student's t, correct to 1e-3.

  Up to 30 degrees of freedom n it is taken from the table. Beyond, with the
  quantile z of the normal distribution (Abramowitz and Stegun, 26.7.5),

      t = z + (z^3 + z) / 4n + (5 z^5 + 16 z^3 + 3 z) / 96 n^2

  With 4 degrees of freedom t is 2.78. Using z = 1.96 instead would give an
  interval of 88 % under the name of 95 %.

  Args:
    degrees_of_freedom: 1, 2, ...; NaN gives NaN.

  Raises:
    ValueError: it is not a whole number, or below 1.
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
  """Compute the standard error of the fitted reward at u = exp(H)."""
  return sigma * np.sqrt(1 / count + (u - u_mean) ** 2 / s_uu)


def _as_points(entropy, reward, weights):
  """Convert the arguments of a fit to float64 arrays [K], and check them."""
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
