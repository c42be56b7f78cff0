"""DCPO: draw the entropy to a target by REINFORCE on a tempered policy.

    rho    = pi_old at temperature T / pi_old, T = hot if H <= target, else cold
    alpha  = x / (1 + x),  x = min(|target - H|, limit) / (share of right rows)
    L     <- (1 - alpha) L - alpha 1[right] rho min(r, clip(r))   after ppo_clip

Right responses that a hotter policy would have sampled raise the entropy, and
right responses of a colder policy lower it. Instead of sampling from the other
temperature, as AEPO (arXiv 2510.08141) does, DCPO weighs the policy's own
samples by the ratio rho. r = pi / pi_old is clipped where the surrogate gives
the token no gradient, and nowhere else: kl_cov clips nothing. It is the token's
own ratio, also after gspo, luspo and gmpo, which have one for a sequence. H is
the mean entropy of the rollout batch under the policy that sampled it; with
dynamic sampling, control.signal says whether all sampled responses count in H.
rho and alpha are constants, and denominators count every token. DCPO, arXiv
2601.12730, and its released code, which adds the term to the advantages before
PPO's clipping; for right responses, whose advantages are not negative, that is
the same.

Deviation: a response counts as right if its advantage is positive, as in AEPO's
code. DCPO's code also counts groups in which all responses are right. H is that
of the batch itself, exact; the code takes the last update's. AEPO is not here:
it needs a second rollout at another temperature.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.arguments import require, require_at_least, require_in
from entrojax.entropy.statistics import log_prob_at, old
from entrojax.masking import divide, scalar_metric, share_metric
from entrojax.objectives.chain import (
  add_term,
  scale_loss,
  stopped_tokens,
)
from entrojax.objectives.reading import (
  reading,
  rollout_entropy,
  statistic_of,
)
from entrojax.objectives.surrogates import (
  check_clip_range,
  probability_ratio,
)
from entrojax.traits import ObjectiveTraits, Surroundings
from entrojax.types import Array, Objective, ScoredTokens


def _check(settings: Mapping[str, Any], surroundings: Surroundings) -> None:
  """Raise ValueError if the clip range or a temperature does not fit the run.

  A policy that samples at another side of a temperature is drawn the wrong way.
  """
  check_clip_range("dcpo", settings, surroundings)
  cold, hot = settings["cold"], settings["hot"]
  require(
    cold <= surroundings.temperature <= hot,
    f"rollout.temperature = {surroundings.temperature} must lie between "
    f"dcpo.cold = {cold} and dcpo.hot = {hot}: otherwise the tempered policy "
    "moves the entropy the wrong way",
  )


@ObjectiveTraits(kind="term", entropies=("target",), check=_check)
def dcpo(
  *,
  target: float = 0.5,
  hot: float = 1.2,
  cold: float = 0.8,
  limit: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Objective:
  """Build DCPO's regularisation; put it right after a surrogate.

  Args:
    target: the entropy to hold, nats per token, >= 0.
    hot: temperature of the distribution that raises the entropy, at least
      `cold`. The temperature of the rollouts must lie between both.
    cold: temperature of the one that lowers it, > 0.
    limit: the distance from the target, nats, >= 0, at which the regularisation
      is strongest; 0 = off.
    clip_low: the surrogate's lower clip range, in [0, 1]. Where A > 0, it does
      not bind.
    clip_high: the surrogate's upper clip range, >= 0. A stopped token has a
      ratio of 1 + clip_high at most. After a surrogate of your own that does
      not say which tokens it stops, those above it are stopped.

  Returns:
    An Objective that scales the surrogate's term by 1 - alpha, adds the other
    one, and reads old(log_prob_at(hot)) and old(log_prob_at(cold)).
  """
  require_at_least("dcpo.target", target, 0)
  require_in("dcpo.cold", cold, "(0, inf)")
  require_in("dcpo.hot", hot, f"[{cold}, inf)")
  require_at_least("dcpo.limit", limit, 0)
  require_in("dcpo.clip_low", clip_low, "[0, 1]")
  require_at_least("dcpo.clip_high", clip_high, 0, or_inf=True)
  when_hot, when_cold = old(log_prob_at(hot)), old(log_prob_at(cold))

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    error = target - rollout_entropy(tokens)
    tempered = jnp.where(
      error >= 0,
      statistic_of(tokens, when_hot, "dcpo"),
      statistic_of(tokens, when_cold, "dcpo"),
    )
    rho = probability_ratio(tempered, tokens.old_log_probs)
    right = tokens.mask * (tokens.advantages > 0)
    x = divide(
      jnp.minimum(jnp.abs(error), limit), _share_of_rows(right, tokens)
    )
    alpha = jax.lax.stop_gradient(x / (1 + x))
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    stopped = stopped_tokens(token_loss)
    if stopped is None:
      stopped = ratio > 1 + clip_high
    clipped = jax.lax.stop_gradient(jnp.minimum(ratio, 1 + clip_high))
    gain = jnp.where(stopped > 0, clipped, ratio)
    metrics = {
      "dcpo/touched": share_metric(right * (alpha > 0), tokens.mask),
      "dcpo/alpha": scalar_metric(alpha),
      "dcpo/hot": scalar_metric(error >= 0),
    }
    scaled = scale_loss(
      token_loss, jnp.broadcast_to(1 - alpha, tokens.mask.shape), metrics
    )
    return add_term(scaled, -alpha * right * rho * gain, tokens.mask, {})

  return reading(objective, when_hot, when_cold)


def _share_of_rows(right: Array, tokens: ScoredTokens) -> Array:
  """Return the share of the rows with tokens that are right, f32[]."""
  counted = jnp.max(tokens.mask, axis=1)
  return divide(jnp.sum(jnp.max(right, axis=1)), jnp.sum(counted))
