"""The law R = -a exp(H) + b between reward and policy entropy.

Cui et al., arXiv 2505.22617, equation 6: if nothing intervenes on the entropy,
the validation accuracy R is a function of the policy entropy H alone. The two
numbers a and b, fitted early in a run, predict the reward that the remaining
entropy buys, and the ceiling b - a that is reached at H = 0. H is in nats, and
R may also be a mean reward. A fit needs three distinct entropies; with fewer,
all its numbers are NaN. If the fitted a is negative, there is no ceiling.
Everything here is plain numpy in float64.

The points of one run are not independent. What the law leaves unexplained
drifts, so that neighbouring residuals are alike, and every measured entropy has
an error, which flattens a line that is fitted by least squares. Both are worst
where the trend of the run is not. So the law is fitted to the slow movements of
the run alone: to the NUM_WAVES slowest cosines of u = exp(H) and of R (Müller
and Watson, Econometrica 76, 2008, and Econometrica 86, 2018).

- Most of the error of H is in the faster movements, and is left out. The same
  holds for an error that H and R share, such as a difficult training batch. The
  part that is left in is `noise_share`.
- Noise that is correlated over a short time only is about equally strong in all
  slow cosines, whatever its correlation. Their residuals give its size, and
  intervals follow from Student's t with NUM_WAVES - 1 degrees of freedom.

Deviation: each cosine is weighted as if the noise had a correlation of
SHORT_CORRELATION between neighbouring points. It matters for short runs alone.

The 95 % intervals of a, b and the ceiling hold the truth in 93 to 97 of 100
synthetic runs, if the noise has a lag-1 correlation of at most 0.5 (from 20
points on), 0.7 (60 points) or 0.9 (240 points). With 8 to 19 points and at most
0.5 they hold it in 94 to 99. Noise that drifts more slowly looks like a trend,
and no interval can know: with 0.9 and 60 points they hold it in 85 to 90. A law
that changes during a run is such a drift. All this is for the prompts that were
evaluated; other prompts have another a and b.
"""

from typing import NamedTuple

import numpy as np

from entrojax.arguments import require_in

MIN_DISTINCT = 3  # distinct entropies that a fit needs
MIN_POINTS = 8  # points without which a law is not to be trusted
MIN_SPAN = 0.1  # nats; over less, exp(H) hardly differs from a straight line
MAX_NOISE_SHARE = 0.1  # of what the fit takes for movements of the entropy
NUM_WAVES = 5  # cosines; more would narrow intervals, but hold faster noise
SHORT_CORRELATION = 0.4  # lag-1 correlation of the noise that a fit allows for

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
  r_squared: float  # NaN if the reward is constant; below 0 for a bad law
  ceiling: float  # b - a, the reward at H = 0; NaN if a < 0
  stderr_a: float  # standard error of a
  stderr_b: float  # standard error of b, reward
  stderr_ceiling: float  # standard error of the ceiling, reward
  sigma: float  # reward, standard deviation of a point of mean weight
  slow_sigma: float  # reward; the mean of K points has slow_sigma / sqrt(K)
  degrees_of_freedom: float  # of slow_sigma: number of cosines minus 1
  num_points: float  # points of positive weight
  u_mean: float  # weighted mean of u = exp(H)
  s_uu: float  # weighted sum of squares of the slow cosines of u
  span: float  # nats, range of the slow movements of the entropy
  noise_share: float  # share of s_uu that is noise of single points
  ill_conditioned: bool  # True: span below MIN_SPAN, or too much noise

  @property
  def usable(self) -> bool:
    """Whether the points suffice for the law's numbers to mean something."""
    return self.num_points >= MIN_POINTS and not self.ill_conditioned


_NAN = float("nan")
NO_LAW = EntropyLaw(*(_NAN,) * 16, True)


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
  constant_rmse: float  # the same if the first part's mean reward is predicted
  last_error: float  # reward, predicted - measured at the last point
  coverage: float  # share of the rest within its 95 % prediction interval


def fit_entropy_law(entropy, reward, weights=None) -> EntropyLaw:
  """Fit R = -a exp(H) + b to the slow movements of a run, in closed form.

      u = exp(H);  U, Y = slow cosines of u, R
      a = -sum(U Y / v) / sum(U^2 / v);  b = mean(R) + a mean(u)

  v is the variance of the noise in each cosine, relative to the variance in the
  mean. The noise is taken for a first-order autoregression with the coefficient
  SHORT_CORRELATION. With six points or fewer the cosines are all there is, and
  v alone distinguishes the fit from weighted least squares. `forecast` tests a
  prediction: it fits the first part of a run and predicts the rest.

  Deviation: fewer than three distinct entropies give a law of NaNs instead of
  an error, so that a run can be fitted live from its first steps. Malformed
  input is refused. A negative `a`, where the reward rose with the entropy, is
  reported without a ceiling.

  Args:
    entropy: [K], nats, token-mean policy entropy, in the order of the run and
      at about equal distances.
    reward: [K], validation accuracy (or mean reward) at the same steps.
    weights: [K] >= 0, the weight of each point, such as the number of evaluated
      responses; only ratios matter. None: all points count equally.

  Raises:
    ValueError: shapes differ, a value is not finite, or a weight is negative.
  """
  entropy, reward, weights = _as_points(entropy, reward, weights)
  counted = weights > 0
  entropy, reward, weights = entropy[counted], reward[counted], weights[counted]
  if np.unique(entropy).size < MIN_DISTINCT:
    return NO_LAW

  count, weights = entropy.size, weights / weights.mean()
  u, scale = np.exp(entropy), np.sqrt(weights)
  waves, noise = _slow_waves(scale)
  u_waves, reward_waves = waves.T @ (scale * u), waves.T @ (scale * reward)
  s_uu = np.sum(u_waves**2 / noise)
  if s_uu <= 1e-12 * (u @ u):  # the entropy moves too fast for the cosines
    return NO_LAW
  u_mean, reward_mean = weights @ u / count, weights @ reward / count
  a = -np.sum(u_waves * reward_waves / noise) / s_uu
  b = reward_mean + a * u_mean

  degrees_of_freedom = noise.size - 1
  slow = np.sum((reward_waves + a * u_waves) ** 2 / noise) / degrees_of_freedom
  residuals = scale * (reward - (b - a * u))
  squares = residuals @ residuals
  total = weights @ (reward - reward_mean) ** 2
  slow_u = u_mean + waves @ u_waves / scale
  span = np.ptp(np.log(np.maximum(slow_u, u.min())))
  noise_share = _point_noise(scale * u) * np.sum(1 / noise) / s_uu
  slow_sigma = np.sqrt(slow)
  stderr_at = lambda at: float(
    _curve_stderr(at, slow_sigma, count, u_mean, s_uu)
  )
  return EntropyLaw(
    a=float(a),
    b=float(b),
    rmse=float(np.sqrt(squares / count)),
    r_squared=float(1 - squares / total) if total > 0 else np.nan,
    ceiling=float(b - a) if a >= 0 else np.nan,
    stderr_a=float(slow_sigma / np.sqrt(s_uu)),
    stderr_b=stderr_at(0.0),
    stderr_ceiling=stderr_at(1.0) if a >= 0 else np.nan,
    sigma=float(np.sqrt(squares / (count - 2))),  # two fitted numbers
    slow_sigma=float(slow_sigma),
    degrees_of_freedom=float(degrees_of_freedom),
    num_points=float(count),
    u_mean=float(u_mean),
    s_uu=float(s_uu),
    span=float(span),
    noise_share=float(noise_share),
    ill_conditioned=bool(span < MIN_SPAN or noise_share > MAX_NOISE_SHARE),
  )


def predict(law: EntropyLaw, entropy) -> np.ndarray:
  """Compute the reward -a exp(H) + b at entropies in nats."""
  return law.b - law.a * np.exp(np.asarray(entropy, np.float64))


def sensitivity(law: EntropyLaw, entropy) -> np.ndarray:
  """Compute dR/dH = -a exp(H), reward per nat, at entropies in nats."""
  return -law.a * np.exp(np.asarray(entropy, np.float64))


def predict_with_error(law: EntropyLaw, entropy) -> Prediction:
  """Predict rewards with their standard errors and prediction intervals.

      stderr^2 = slow_sigma^2 (1 / K + (u - mean u)^2 / s_uu),  u = exp(H)
      interval = R -+ sqrt((t_n stderr)^2 + (t_m sigma)^2)

  t_n is Student's quantile for the degrees of freedom of the law, and t_m that
  for the K - 2 of a single point's noise.

  Args:
    law: from `fit_entropy_law`.
    entropy: f64[...], nats, where to predict.
  """
  reward = predict(law, entropy)
  stderr = _curve_stderr(
    np.exp(np.asarray(entropy, np.float64)),
    law.slow_sigma,
    law.num_points,
    law.u_mean,
    law.s_uu,
  )
  half = np.hypot(
    t_quantile(law.degrees_of_freedom) * stderr,
    t_quantile(law.num_points - 2) * law.sigma,
  )
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

  The first part ends as soon as its law is usable. The rewards decide nothing
  about where it ends, and the rest is only compared with the predictions. The
  entropies of the rest are the measured ones: this predicts the reward, not the
  entropy.

  Args:
    entropy: [K], nats, in the order of the run.
    reward: [K], at the same steps.
    fraction: in (0, 1), the least share of the points that are fitted, rounded
      down to whole points; the paper's 0.15 is 36 of 240 points. If no first
      part gives a usable law, all errors are NaN, and `law` is fitted to the
      first K - 1 points.

  Raises:
    ValueError: see `fit_entropy_law`; or the fraction is not in (0, 1).
  """
  require_in("forecast.fraction", fraction, "(0, 1)")
  entropy, reward, _ = _as_points(entropy, reward, None)
  least = int(fraction * entropy.size + 1e-9)  # .15 * 20 may be 2.99...
  law, num_fitted = NO_LAW, 0
  for num_fitted in range(max(least, MIN_POINTS), entropy.size):
    law = fit_entropy_law(entropy[:num_fitted], reward[:num_fitted])
    if law.usable:
      break
  rest, measured = entropy[num_fitted:], reward[num_fitted:]
  prediction = predict_with_error(law, rest)
  error = prediction.reward - measured
  mean_error = lambda error: float(np.sqrt(np.mean(error**2)))
  covered = (prediction.low <= measured) & (measured <= prediction.high)
  usable = law.usable
  return Forecast(
    law=law,
    num_fitted=num_fitted,
    predicted=prediction.reward,
    rmse=mean_error(error) if usable else np.nan,
    constant_rmse=(
      mean_error(reward[:num_fitted].mean() - measured) if usable else np.nan
    ),
    last_error=float(error[-1]) if usable else np.nan,
    coverage=float(covered.mean()) if usable else np.nan,
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


def _slow_waves(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the slow cosines of a run, and the noise in each of them.

  Args:
    scale: f64[K], the square root of each point's weight.

  Returns:
    f64[K, q], orthonormal and orthogonal to the mean, with one cosine fewer
    than points in a short run; and f64[q], the variance of the noise in each,
    relative to that in the mean.
  """
  count = scale.size
  number = np.arange(min(NUM_WAVES, count - 1) + 1)
  angles = np.pi * number / count
  waves = np.cos(angles * (np.arange(count)[:, None] + 0.5))
  orthonormal, _ = np.linalg.qr(scale[:, None] * waves)
  density = 1 / (
    1 + SHORT_CORRELATION * (SHORT_CORRELATION - 2 * np.cos(angles))
  )
  return orthonormal[:, 1:], (density / density[0])[1:]


def _point_noise(values: np.ndarray) -> float:
  """Estimate the variance of independent noise on a smooth curve f64[K].

  From second differences (Gasser, Sroka and Jennen-Steinmetz, Biometrika 73,
  1986). A bend of the curve counts as noise, so a short run's is overestimated.
  """
  return float(np.mean(np.diff(values, 2) ** 2) / 6)


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
