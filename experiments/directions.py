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
"""

from collections.abc import Mapping, Sequence
import functools
import statistics
from typing import NamedTuple

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.build import Run, build
from entrojax.models import decoder
from entrojax.scoring import score
from entrojax.train import judge_rollout
from entrojax.train_step import make_batch
from entrojax.types import Array, Params, Problem, Prompts, Rollout
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
  key: Array  # of the updates and of the new samples


class Entropies(NamedTuple):
  """Token-mean entropies after the updates on each batch, nats, [batches]."""

  same_tokens: np.ndarray
  new_samples: np.ndarray


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
    batches.append(Saved(prompts, problems, rollout, key))
  return batches


def measure(run: Run, batches: Sequence[Saved], entropies_of) -> Entropies:
  """Returns the entropies after a method's updates on each batch."""
  found = []
  for saved in batches:
    responses = run.functions.advantage(
      judge_rollout(run.data, jax.device_get(saved.rollout), saved.problems, 0)
    )
    state, _ = run.functions.update(
      jax.tree.map(jnp.copy, run.state),
      run.ref_params,
      make_batch(saved.rollout, responses),
      saved.key,
    )
    found.append(entropies_of(state.params, saved))
  return Entropies(*np.array(found).T)


def make_entropies_of(run: Run):
  """Makes (params, saved) -> entropy on its tokens and on new samples."""
  model = decoder(run.sizes)

  @jax.jit
  def on_same_tokens(params: Params, rollout: Rollout) -> Array:
    mask = rollout.response_mask
    _, entropy = score(
      model,
      params,
      rollout.tokens,
      rollout.positions,
      response_length=mask.shape[1],
    )
    return jnp.sum(entropy * mask) / jnp.sum(mask)

  def entropies_of(params: Params, saved: Saved) -> tuple[float, float]:
    new = run.functions.evaluate(params, saved.prompts, saved.key)
    total = jnp.sum(new.entropy) / jnp.sum(new.response_mask)
    return float(on_same_tokens(params, saved.rollout)), float(total)

  return entropies_of


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


def line(
  name: str, method: Method, found: Entropies, base: Entropies
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
  entropies_of = make_entropies_of(baseline)
  measured = functools.partial(
    measure, batches=batches, entropies_of=entropies_of
  )
  before = np.array([entropies_of(baseline.state.params, b) for b in batches])
  base = measured(baseline)
  change = [
    mean_and_error(after - start)
    for after, start in zip(base, before.T, strict=True)
  ]
  print(
    f"entropy of the base {before[:, 0].mean():.4f} nats a token; "
    f"{len(batches)} batches; {jax.devices()[0].device_kind}"
  )
  head = "".join(f"{title:>20}" for title in ("same tokens", "new samples"))
  print(f"{'millinats a token':<22}{'claim':>7}{head}   verdict")
  columns = [f"{mean:+9.3f} ± {error:6.3f}" for mean, error in change]
  print(f"{'grpo, its own change':<22}{'lower':>7}  {'  '.join(columns)}")
  verdicts = []
  for name, method in methods.items():
    text, said = line(
      name, method, measured(built(name, method.overrides)), base
    )
    verdicts.append(said)
    print(text, flush=True)
  counts = {said: verdicts.count(said) for said in sorted(set(verdicts))}
  print("; ".join(f"{said}: {count}" for said, count in counts.items()))
  for name, method in methods.items():
    if method.overrides or method.why:
      settings = ", ".join(f"{k}={v}" for k, v in method.overrides.items())
      print(f"  {name}: {' '.join(filter(None, (settings, method.why)))}")


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
