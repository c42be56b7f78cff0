"""Check the settings that sampling and evaluating a model depend on."""

from ml_collections import ConfigDict as Config

from entrojax.arguments import require, require_one_of
from entrojax.assembly.check_values import (
  check_at_least,
  check_buckets,
  check_numbers,
  check_precision,
)
from entrojax.assembly.evaluation_sets import requested
from entrojax.system.refusals import gathered

_LEAST_OF_EVALUATION = {
  "seed": 0,
  "rollout.prompt_length": 1,
  "rollout.response_length": 1,
  "model.query_chunk": 0,
  "rollout.num_slots": 0,
  "rollout.refill_every": 1,
  "evaluation.num_samples": 1,
  "evaluation.prompts_per_batch": 1,
}


def check_evaluation(config: Config) -> None:
  """Check the settings that sampling and evaluating a model depend on.

  Raises:
    ValueError: values make evaluation impossible; the message names the keys.
  """
  check_numbers(config)
  with gathered() as each:
    each(require, config.model.path, "model.path is not set")
    each(check_precision, config)
    if each(check_at_least, config, _LEAST_OF_EVALUATION):
      buckets = ("rollout.prompt_buckets", "rollout.prompt_length")
      each(check_buckets, config, *buckets)
    each(check_prompt, config)
    each(_check_temperature, config)


def _check_temperature(config: Config) -> None:
  """Raise ValueError if samples of evaluations would all be the same."""
  temperature = config.evaluation.temperature
  if temperature is not None and temperature < 0:
    raise ValueError(
      f"evaluation.temperature must not be negative, got {temperature}"
    )
  for request in requested(config):
    if temperature == 0 and request.num_samples > 1:
      raise ValueError(
        f"evaluation.temperature is 0 and {request.label} has "
        f"{request.num_samples} samples for each prompt: greedy samples are "
        "all the same. Set evaluation.num_samples to 1"
      )


def check_prompt(config: Config) -> None:
  """Raise ValueError if a setting of prompts is unknown or does nothing."""
  prompt = config.prompt
  with gathered() as each:
    each(require_one_of, "prompt.too_long", prompt.too_long, ("raise", "drop"))
    for key in ("system", "template_arguments"):
      each(
        require,
        prompt.chat or not prompt[key],
        f"prompt.{key} is set and would do nothing: prompt.chat is False, so "
        "that no chat template is applied",
      )
