"""Statistics of a token's distribution beyond log-probability and entropy.

Let z be logits divided by the sampling temperature t, p = softmax(z), H its
entropy and y the sampled token.

    statistic          value                            d value / d z_v
    MAX_PROBABILITY    m = max_u p_u = p_a              m (1[v = a] - p_v)
    VARENTROPY         w = sum_u p_u (log p_u + H)^2    p_v (s^2 + 2 s - w)
    COLLISION          c = sum_u p_u^2                  2 p_v (p_v - c)
    top_p_entropy(P)   h = -sum_{u in S} q_u log q_u    -q_v (log q_v + h)
    log_prob_at(T)     log r_y, r = softmax(z t / T)    (1[v = y] - r_v) t / T
    top_log_probs(k)   log p_u of the k likeliest u     1[v = u] - p_v

Here s = log p_v + H. S is the top-p set: the smallest set of likeliest tokens
whose probabilities sum to at least P, together with all tokens that tie with
its last one. q is p on S, divided by its sum, and 0 elsewhere. The gradient
takes S as a constant. Of equally likely tokens, MAX_PROBABILITY and
top_log_probs take the one with the lower number.

Varentropy, the variance of -log p, is in nats squared, entropy and log-probs
are in nats, and the rest are probabilities. Each statistic is exact over the
whole vocabulary, f32[B, T], or f32[B, T, k] for top_log_probs.

An objective declares what it reads (objectives/reading.py). By default this is
the statistic under the current policy, through which gradients flow. `old`
makes it the one under the policy that sampled the response, a constant.

token_stats.py computes the statistics, with the formulas of formulas.py, in no
more memory than without them: its chunks of the vocabulary are then smaller.
top_p_entropy alone needs further passes over the vocabulary, usually three or
four, and each pass computes all logits again (nucleus.py).
"""

from collections.abc import Sequence
import math

from entrojax.arguments import is_traced, require_at_least, require_in
from entrojax.types import Statistic

# how a user writes each statistic
_USAGE = {
  "max_probability": "MAX_PROBABILITY",
  "varentropy": "VARENTROPY",
  "collision": "COLLISION",
  "top_p_entropy": "top_p_entropy(top_p)",
  "log_prob_at": "log_prob_at(temperature)",
  "top_log_probs": "top_log_probs(k)",
}

MAX_PROBABILITY = Statistic("max_probability")
VARENTROPY = Statistic("varentropy")
COLLISION = Statistic("collision")


def top_p_entropy(top_p: float) -> Statistic:
  """Return the entropy of the top-p set; top_p is in (0, 1)."""
  _require_fixed("top_p_entropy", top_p)
  require_in("top_p_entropy", top_p, "(0, 1)")
  return Statistic("top_p_entropy", top_p)


def log_prob_at(temperature: float) -> Statistic:
  """Return the log-prob of the sampled token at a temperature above 0."""
  _require_fixed("log_prob_at", temperature)
  require_in("log_prob_at", temperature, "(0, inf)")
  return Statistic("log_prob_at", temperature)


def top_log_probs(k: int) -> Statistic:
  """Return the k largest log-probs, descending; k is a whole number >= 1."""
  _require_fixed("top_log_probs", k)
  require_at_least("top_log_probs", k, 1)
  if k != int(k):
    raise ValueError(f"top_log_probs must be a whole number, got {k}")
  return Statistic("top_log_probs", k)


def _require_fixed(name: str, number: float) -> None:
  """Raise ValueError if a statistic's number changes over the run."""
  if is_traced(number):
    raise ValueError(
      f"{name}: its number is fixed when an update is compiled, so it cannot "
      "follow a schedule"
    )


def old(statistic: Statistic) -> Statistic:
  """Return the statistic under the policy that sampled the response."""
  return statistic._replace(old=True)


def describe(statistic: Statistic) -> str:
  """Return how a user writes a statistic, such as "top_p_entropy(0.9)"."""
  text, bracket, _ = _USAGE[statistic.name].partition("(")
  if bracket:
    text = f"{text}({statistic.parameter:g})"
  return f"old({text})" if statistic.old else text


def check_statistics(
  statistics: Sequence[Statistic], vocabulary: float = math.inf
) -> None:
  """Raise ValueError for the first statistic that cannot be computed.

  Args:
    statistics: the statistics to check.
    vocabulary: the number of tokens, which no k may exceed.
  """
  for statistic in statistics:
    if not isinstance(statistic, Statistic) or statistic.name not in _USAGE:
      raise ValueError(
        f"{statistic!r} is no statistic; expected one of those in "
        f"entrojax.entropy.statistics: {', '.join(_USAGE.values())}"
      )
    if statistic.name == "top_log_probs" and statistic.parameter > vocabulary:
      raise ValueError(
        f"{describe(statistic)}: the vocabulary has {vocabulary} tokens"
      )


def value_shape(statistic: Statistic) -> tuple[int, ...]:
  """Return the shape of a statistic of one token: (k,) or ()."""
  if statistic.name == "top_log_probs":
    return (int(statistic.parameter),)
  return ()
