"""Compare how each method turns the entropy with GRPO, on the same batches.

    python -m experiments.directions [--batches=8] [--methods=kl_cov,steer]

The base model samples some rollout batches once. On each of them, starting from
the base's parameters, every method makes the updates of its config, and plain
GRPO makes its own. Two entropies are compared, method minus GRPO, in millinats
per token; mean and standard error over the batches:

  same tokens  the exact entropy at the response tokens of the batch
  new samples  the entropy of new responses to the batch's prompts, sampled with
               the same random numbers for all methods

The verdict is taken on the same tokens: a method does as its paper claims if
the difference has the claimed sign and is at least two standard errors from 0.

A second table has uplift rates: the share of a batch's right responses whose
log-prob rose, by their likelihood rank in the group ("Rewarding the Unlikely",
arXiv 2506.02355).
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import statistics
from typing import NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.advantages import uplift_rate
from entrojax.assembly.run import Run, build
from entrojax.loop.rollout_step import verify_rollout
from entrojax.models import decoder
from entrojax.system.command_line import command
from entrojax.types import Array, Params, Problem, Prompts, Rollout
from entrojax.update.scoring import score
from entrojax.update.train_step import make_batch
from experiments.methods import (
  BASELINE,
  Method,
  method_config,
  select_methods,
)

FLAGS = flags.FlagValues()
_BATCHES = flags.DEFINE_integer(
  "batches", 8, "the number of rollout batches, at least 3", flag_values=FLAGS
)
_METHODS = flags.DEFINE_list(
  "methods", [], "names of configs; all methods by default", flag_values=FLAGS
)
_SAMPLES = flags.DEFINE_integer(
  "samples",
  32,
  "the number of new responses to each prompt",
  flag_values=FLAGS,
)


class SavedBatch(NamedTuple):
  """A rollout batch of the base model: Q prompts, G responses to each."""

  prompts: Prompts
  problems: list[Problem]
  rollout: Rollout
  correct: Array  # f32[Q, G], 1 = right
  key: Array  # for the updates and for the new samples


class Measurement(NamedTuple):
  """A policy on one batch; stacked, every field has a first axis of batches."""

  same_tokens: np.ndarray  # mean entropy at the batch's tokens, nats
  new_samples: np.ndarray  # mean entropy over tokens of new samples, nats
  log_probs: np.ndarray  # [Q, G], log-probs of the batch's responses, nats


# (parameters, batch) -> the policy with these parameters on this batch
Measure = Callable[[Params, SavedBatch], Measurement]


def build_run(name: str, overrides: Mapping, num_samples: int) -> Run:
  """Build a method's run, with a held-out set of one problem.

  Args:
    name: the name of the method's config, such as "kl_cov".
    overrides: 'section.leaf' -> value.
    num_samples: new responses to each prompt.
  """
  config = method_config(name)
  config.update_from_flattened_dict(dict(overrides))
  config.evaluation.update({"split": "validation[:1]"})
  config.evaluation.num_samples = num_samples
  return build(config)


def save_batches(run: Run, count: int) -> list[SavedBatch]:
  """Sample `count` rollout batches with the base's parameters."""
  batches = []
  for i in range(count):
    key, sample_key = jax.random.split(jax.random.fold_in(jax.random.key(7), i))
    prompts, problems = next(run.data.stream)
    rollout = run.functions.generate(run.state.params, prompts, sample_key)
    verified = verify_rollout(run.data, jax.device_get(rollout), problems, 0)
    batches.append(
      SavedBatch(prompts, problems, rollout, verified.rewards, key)
    )
  return batches


def measure_method(
  run: Run, batches: Sequence[SavedBatch], measure: Measure
) -> Measurement:
  """Measure a method's policy after its updates on each batch.

  Each batch's updates start from the base.

  Returns:
    A Measurement whose fields have a first axis of batches.
  """
  measurements = []
  for batch in batches:
    rollout = jax.device_get(batch.rollout)
    verified = verify_rollout(run.data, rollout, batch.problems, 0)
    responses = run.functions.advantage(verified, 0)
    state, _ = run.functions.update(
      jax.tree.map(jnp.copy, run.state),
      run.ref_params,
      make_batch(batch.rollout, responses),
      batch.key,
    )
    measurements.append(measure(state.params, batch))
  return stack(measurements)


def stack(measurements: Sequence[Measurement]) -> Measurement:
  """Stack the measurements of several batches along a new first axis."""
  return Measurement(*map(np.stack, zip(*measurements, strict=True)))


def make_measure(run: Run) -> Measure:
  """Build the function that measures a policy on a batch."""
  model = decoder(run.sizes)
  (sample,) = run.functions.evaluate.values()

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

  def measure(params: Params, batch: SavedBatch) -> Measurement:
    same, log_probs = on_same_tokens(params, batch.rollout)
    new = sample(params, batch.prompts, batch.key)
    mean = jnp.sum(new.entropy) / jnp.sum(new.response_mask)
    log_probs = log_probs.reshape(batch.correct.shape)
    return Measurement(*map(np.asarray, (same, mean, log_probs)))

  return measure


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
  """Return the mean and its standard error over batches, in thousandths."""
  values = 1e3 * values
  return float(values.mean()), float(
    statistics.stdev(values.tolist()) / len(values) ** 0.5
  )


def verdict(mean: float, error: float, direction: int) -> str:
  """Compare a difference, with its standard error, to a claimed direction."""
  if direction == 0:
    return "no claim"
  if abs(mean) < 2 * error or mean == 0:
    return "no difference seen"
  return "as claimed" if mean * direction > 0 else "OPPOSITE"


def format_uplift(
  batches: Sequence[SavedBatch], before: Measurement, after: Measurement
) -> str:
  """Format the uplift rates by rank, the most likely response first."""
  concatenate = lambda arrays: jnp.asarray(np.concatenate(arrays))
  rates = uplift_rate(
    concatenate(before.log_probs),
    concatenate(after.log_probs),
    concatenate([batch.correct for batch in batches]),
  )
  return " ".join(f"{rate:5.2f}" for rate in rates.tolist())


def compare(
  name: str, method: Method, measured: Measurement, grpo: Measurement
) -> tuple[str, str]:
  """Return a method's line of the table, and its verdict."""
  same = mean_and_error(measured.same_tokens - grpo.same_tokens)
  new = mean_and_error(measured.new_samples - grpo.new_samples)
  result = verdict(*same, method.direction)
  claim = {1: "higher", -1: "lower", 0: "-"}[method.direction]
  return f"{_format_line(name, claim, same, new)}   {result}", result


def _format_line(
  name: str, claim: str, same: tuple[float, float], new: tuple[float, float]
) -> str:
  columns = [f"{mean:+9.3f} ± {error:6.3f}" for mean, error in (same, new)]
  return f"{name:<22}{claim:>7}  {'  '.join(columns)}"


def print_head(before: Measurement, grpo: Measurement) -> None:
  """Print the head of the table, and GRPO's own change of the entropy."""
  print(
    f"entropy of the base {before.same_tokens.mean():.4f} nats per token; "
    f"{len(before.same_tokens)} batches; {jax.devices()[0].device_kind}"
  )
  head = "".join(f"{title:>20}" for title in ("same tokens", "new samples"))
  print(f"{'millinats per token':<22}{'claim':>7}{head}   verdict")
  same, new = (
    mean_and_error(after - start)
    for after, start in zip(grpo[:2], before[:2], strict=True)
  )
  print(_format_line("grpo, its own change", "lower", same, new))


def print_notes(methods: Mapping[str, Method]) -> None:
  """Print the overrides of methods, and why a method makes no claim."""
  for name, method in methods.items():
    if method.overrides or method.why:
      settings = ", ".join(f"{k}={v}" for k, v in method.overrides.items())
      print(f"  {name}: {' '.join(filter(None, (settings, method.why)))}")


@command(FLAGS)
def main() -> None:
  """Measure all methods and print both tables."""
  if _BATCHES.value < 3:
    raise ValueError(
      f"--batches must be at least 3, for an error over batches; got "
      f"{_BATCHES.value}"
    )
  methods = select_methods(_METHODS.value)
  baseline = build_run(BASELINE, {}, _SAMPLES.value)
  batches = save_batches(baseline, _BATCHES.value)
  measure = make_measure(baseline)
  measured = functools.partial(measure_method, batches=batches, measure=measure)
  before = stack([measure(baseline.state.params, b) for b in batches])
  grpo = measured(baseline)
  print_head(before, grpo)
  verdicts, uplifts = [], {BASELINE: format_uplift(batches, before, grpo)}
  for name, method in methods.items():
    policy = measured(build_run(name, method.overrides, _SAMPLES.value))
    line, result = compare(name, method, policy, grpo)
    print(line, flush=True)
    verdicts.append(result)
    uplifts[name] = format_uplift(batches, before, policy)
  counts = {text: verdicts.count(text) for text in sorted(set(verdicts))}
  print("; ".join(f"{text}: {count}" for text, count in counts.items()))
  print_notes(methods)
  print("\nuplift rate of right responses by rank, the most likely first")
  for name, rates in uplifts.items():
    print(f"{name:<22}{rates}")


if __name__ == "__main__":
  main()
