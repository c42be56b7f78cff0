"""Which way each method turns the entropy, against GRPO on the same batches.

    python -m experiments.directions [--batches=8] [--methods=kl_cov,steer]

The base model samples some rollout batches once. On each of them every method
takes the updates of its config, from the base's parameters, and plain GRPO
takes its own. Two entropies are compared, method minus GRPO, in millinats a
token, mean and standard error over the batches:

  same tokens  at the states that the batch itself went through: exact
  new samples  of fresh responses to the batch's prompts, drawn with the same
               random numbers for all methods: what the policy now does

The verdict is on the same tokens: a method does as its paper claims if the
difference has that sign and is at least two standard errors from 0.

A second table has the uplift rates: of the right responses of a batch, the
share whose log-prob rose, by their likelihood rank in the group ("Rewarding the
Unlikely", arXiv 2506.02355).
"""

from collections.abc import Mapping, Sequence
import functools
import statistics
from typing import NamedTuple

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.advantages import uplift_rate
from entrojax.assembly.run import Run, build
from entrojax.models import decoder
from entrojax.rollout_step import verify_rollout
from entrojax.types import Array, Params, Problem, Prompts, Rollout
from entrojax.update.scoring import score
from entrojax.update.train_step import make_batch
from experiments.methods import (
  BASELINE,
  Method,
  chosen_methods,
  method_config,
)

_BATCHES = flags.DEFINE_integer("batches", 8, "rollout batches, at least 3")
_METHODS = flags.DEFINE_list("methods", [], "config names; none: all of them")
_SAMPLES = flags.DEFINE_integer("samples", 32, "new responses to each prompt")


class Saved(NamedTuple):
  """A rollout batch of the base model."""

  prompts: Prompts
  problems: list[Problem]
  rollout: Rollout
  correct: Array  # f32[Q, G], 1 = right
  key: Array  # of the updates and of the new samples


class Measured(NamedTuple):
  """A policy on each batch, [batches, ...]."""

  same_tokens: np.ndarray  # token-mean entropy of the batch's tokens, nats
  new_samples: np.ndarray  # token-mean entropy of new samples, nats
  log_probs: np.ndarray  # [batches, Q, G], nats, sums of the batch's responses


def built(name: str, overrides: Mapping = {}) -> Run:
  """Builds a method's run with a small held-out set: nothing evaluates here."""
  config = method_config(name)
  config.update_from_flattened_dict(dict(overrides))
  config.evaluation.update({"split": "validation[:1]"})
  config.evaluation.num_samples = _SAMPLES.value
  return build(config)


def save_batches(run: Run, count: int) -> list[Saved]:
  """Samples rollout batches from the base's parameters."""
  batches = []
  for i in range(count):
    key, sample_key = jax.random.split(jax.random.fold_in(jax.random.key(7), i))
    prompts, problems = next(run.data.stream)
    rollout = run.functions.generate(run.state.params, prompts, sample_key)
    judged = verify_rollout(run.data, jax.device_get(rollout), problems, 0)
    batches.append(Saved(prompts, problems, rollout, judged.rewards, key))
  return batches


def measure(run: Run, batches: Sequence[Saved], policy_on) -> Measured:
  """Measures a method's policy after its updates on each batch."""
  found = []
  for saved in batches:
    responses = run.functions.advantage(
      verify_rollout(run.data, jax.device_get(saved.rollout), saved.problems, 0)
    )
    state, _ = run.functions.update(
      jax.tree.map(jnp.copy, run.state),
      run.ref_params,
      make_batch(saved.rollout, responses),
      saved.key,
    )
    found.append(policy_on(state.params, saved))
  return stacked(found)


def stacked(found: Sequence[Measured]) -> Measured:
  """Returns one Measured of several, over a new first axis."""
  return Measured(*(np.stack(field) for field in zip(*found, strict=True)))


def make_policy_on(run: Run):
  """Makes (params, saved) -> Measured of one batch."""
  model = decoder(run.sizes)

  @jax.jit
  def on_same_tokens(params: Params, rollout: Rollout) -> tuple[Array, Array]:
    mask = rollout.response_mask
    log_probs, entropy = score(
      model,
      params,
      rollout.tokens,
      rollout.positions,
      response_length=mask.shape[1],
    )
    mean = jnp.sum(entropy * mask) / jnp.sum(mask)
    return mean, jnp.sum(log_probs * mask, axis=1)

  def policy_on(params: Params, saved: Saved) -> Measured:
    same, log_probs = on_same_tokens(params, saved.rollout)
    new = run.functions.evaluate(params, saved.prompts, saved.key)
    total = jnp.sum(new.entropy) / jnp.sum(new.response_mask)
    log_probs = log_probs.reshape(saved.correct.shape)
    return Measured(*map(np.asarray, (same, total, log_probs)))

  return policy_on


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
  """Returns mean and standard error over batches, in thousandths."""
  values = 1e3 * values
  return float(values.mean()), float(
    statistics.stdev(values.tolist()) / len(values) ** 0.5
  )


def verdict(mean: float, error: float, direction: int) -> str:
  """Says whether a difference goes the way that the paper claims."""
  if direction == 0:
    return "no claim"
  if abs(mean) < 2 * error or mean == 0:
    return "no difference seen"
  return "as claimed" if mean * direction > 0 else "THE OTHER WAY"


def uplift(batches: Sequence[Saved], before: Measured, found: Measured) -> str:
  """Returns the uplift rates by rank as text, the likeliest response first."""
  merged = lambda x: jnp.asarray(np.concatenate(x))
  rates = uplift_rate(
    merged(before.log_probs),
    merged(found.log_probs),
    merged([saved.correct for saved in batches]),
  )
  return " ".join(f"{rate:5.2f}" for rate in rates.tolist())


def line(
  name: str, method: Method, found: Measured, base: Measured
) -> tuple[str, str]:
  """Returns a method's line of the table and its verdict."""
  same = mean_and_error(found.same_tokens - base.same_tokens)
  new = mean_and_error(found.new_samples - base.new_samples)
  said = verdict(*same, method.direction)
  claim = {1: "higher", -1: "lower", 0: "-"}[method.direction]
  columns = [f"{mean:+9.3f} ± {error:6.3f}" for mean, error in (same, new)]
  return f"{name:<22}{claim:>7}  {'  '.join(columns)}   {said}", said


def main(argv: Sequence[str]) -> None:
  del argv
  if _BATCHES.value < 3:
    raise app.UsageError("--batches must be at least 3: errors are over them")
  methods = chosen_methods(_METHODS.value)
  baseline = built(BASELINE)
  batches = save_batches(baseline, _BATCHES.value)
  policy_on = make_policy_on(baseline)
  measured = functools.partial(measure, batches=batches, policy_on=policy_on)
  before = stacked([policy_on(baseline.state.params, b) for b in batches])
  base = measured(baseline)
  change = [
    mean_and_error(after - start)
    for after, start in zip(base[:2], before[:2], strict=True)
  ]
  print(
    f"entropy of the base {before.same_tokens.mean():.4f} nats a token; "
    f"{len(batches)} batches; {jax.devices()[0].device_kind}"
  )
  head = "".join(f"{title:>20}" for title in ("same tokens", "new samples"))
  print(f"{'millinats a token':<22}{'claim':>7}{head}   verdict")
  columns = [f"{mean:+9.3f} ± {error:6.3f}" for mean, error in change]
  print(f"{'grpo, its own change':<22}{'lower':>7}  {'  '.join(columns)}")
  verdicts, uplifts = [], {BASELINE: uplift(batches, before, base)}
  for name, method in methods.items():
    found = measured(built(name, method.overrides))
    text, said = line(name, method, found, base)
    verdicts.append(said)
    uplifts[name] = uplift(batches, before, found)
    print(text, flush=True)
  counts = {said: verdicts.count(said) for said in sorted(set(verdicts))}
  print("; ".join(f"{said}: {count}" for said, count in counts.items()))
  for name, method in methods.items():
    if method.overrides or method.why:
      settings = ", ".join(f"{k}={v}" for k, v in method.overrides.items())
      print(f"  {name}: {' '.join(filter(None, (settings, method.why)))}")
  print("\nuplift rate of right responses, by rank, the likeliest first")
  for name, rates in uplifts.items():
    print(f"{name:<22}{rates}")


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
