"""Read and write the folder of entrojax.evaluate_model.

evaluation.json  the settings that the metrics depend on, the template's name,
                 a digest of the model, and for each task what was evaluated,
                 with the metrics
samples.jsonl    every response: task, row, sample, prompt, response, reward,
                 reason, answer (null: no answer was found)

A later command resumes a folder only if it holds results of the same settings
and of the same weights.
"""

from collections.abc import Collection
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict as Config

from entrojax.assembly.evaluation_sets import EvaluationSet
from entrojax.models import hugging_face
from entrojax.rollouts.evaluation import Evaluation
from entrojax.system.workdir import (
  LOCK,
  SAMPLES_FILE,
  differences,
  draft_of,
  replace_text,
)
from entrojax.types import Verdict

EVALUATION_FILE = "evaluation.json"
_FILES = (EVALUATION_FILE, SAMPLES_FILE)
_WEIGHTS = "weights"  # the field with the digest of the model

# the settings that the metrics depend on, besides the tasks
_SETTINGS = {
  "model": ("path", "dtype", "product_dtype", "scan_layers"),
  "prompt": ("template", "chat", "system", "template_arguments"),
  "rollout": ("prompt_length", "response_length", "stop_tokens"),
  "evaluation": (
    *("num_samples", "temperature", "top_k", "top_p"),
    "prompts_per_batch",
  ),
}
_READ = {
  "seed",
  "mesh",
  # how the model is computed, which may only change the rounding
  *("model.fused_attention", "model.query_chunk"),
  "model.rematerialise",  # checked together with model.fused_attention
  *("rollout.num_slots", "rollout.refill_every"),
  *("rollout.prompt_buckets", "rollout.temperature"),
  *("evaluation.split", "evaluation.tasks"),
  *(
    "task.name",
    "task.difficulty",
    "task.data_dir",
    "task.columns",
    "prompt.too_long",
  ),
  *(f"{name}.{leaf}" for name, leaves in _SETTINGS.items() for leaf in leaves),
}


def evaluation_settings(config: Config) -> dict[str, Any]:
  """Return the settings that the metrics depend on, and the template's name.

  `check_weights` adds the digest of the model to them.
  """
  plain = config.prompt.template
  settings: dict[str, Any] = {
    name: {leaf: config[name][leaf] for leaf in leaves}
    for name, leaves in _SETTINGS.items()
  }
  if config.evaluation.temperature is None:
    settings["evaluation"]["temperature"] = config.rollout.temperature
  return {
    "seed": config.seed,
    "template": f"chat({plain})" if config.prompt.chat else plain,
    **settings,
  }


def check_evaluation_overrides(keys: Collection[str]) -> None:
  """Raise ValueError for the first setting that an evaluation does not read.

  Args:
    keys: the settings that the command line overrides, as 'section.leaf'.
  """
  for key in keys:
    if key in _READ:
      continue
    section, _, leaf = key.partition(".")
    twin = f"evaluation.{leaf}"
    hint = f"; did you mean {twin}?" if twin in _READ else ""
    if section == "lora":
      hint = "; entrojax.export merges an adapter into a model folder"
    raise ValueError(
      f"{key} is set and would do nothing: an evaluation does not read it{hint}"
    )


def read_results(output: Path, settings: dict[str, Any]) -> dict[str, Any]:
  """Return the results that a folder holds, by the label of the task.

  Raises:
    ValueError: it holds something else, or results of other settings.
  """
  path = output / EVALUATION_FILE
  names = {p.name for p in output.iterdir()} if output.is_dir() else set()
  names -= {draft_of(output / name).name for name in _FILES}
  is_file = output.exists() and not output.is_dir()
  if is_file or not names <= {LOCK, *_FILES}:
    raise ValueError(f"{output} holds something: choose another output folder")
  if EVALUATION_FILE not in names:
    return {}
  try:
    content = json.loads(path.read_text())
    results = content.pop("tasks")
    if not all(isinstance(x["metrics"], dict) for x in results.values()):
      raise TypeError("metrics")
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} is no result of this command, or damaged ({error}): choose "
      "another output folder"
    ) from error
  content.pop(_WEIGHTS, None)
  changed = differences(content, settings)
  if changed:
    raise ValueError(
      f"{output} holds results of other settings: {'; '.join(changed)}; choose "
      "another output folder"
    )
  return results


def check_weights(output: Path, folder: Path) -> dict[str, str]:
  """Return the digest of a model as a field of evaluation.json.

  Args:
    output: the folder of the results, which need not exist.
    folder: the model folder.

  Raises:
    ValueError: the results belong to other weights, or have no digest.
  """
  weights, path = hugging_face.digest(folder), output / EVALUATION_FILE
  if path.exists():
    before = json.loads(path.read_text()).get(_WEIGHTS)
    if before != weights:
      what = "of other weights than" if before else "that may not be those of"
      raise ValueError(
        f"{output} holds results {what} {folder} as it is now: choose another "
        "output folder"
      )
  return {_WEIGHTS: weights}


def write_results(
  output: Path, settings: dict[str, Any], results: dict[str, Any]
) -> None:
  """Write evaluation.json.

  Args:
    output: the folder.
    settings: from `evaluation_settings` and `check_weights`.
    results: the description of each task with its metrics, by label.
  """
  content = settings | {"tasks": results}
  replace_text(output / EVALUATION_FILE, json.dumps(content, indent=2) + "\n")


def is_done(part: EvaluationSet, results: dict[str, Any]) -> bool:
  """Return whether results of an earlier command have this set.

  Raises:
    ValueError: they have it with other problems or numbers of samples.
  """
  kept = results.get(part.label)
  if kept is None:
    return False
  changed = differences(
    {key: value for key, value in kept.items() if key != "metrics"},
    describe(part),
  )
  if changed:
    raise ValueError(
      f"--output holds results of {part.label} with {'; '.join(changed)}: "
      "choose another folder"
    )
  return True


def describe(part: EvaluationSet) -> dict[str, Any]:
  """Describe a set as evaluation.json does, without its metrics."""
  return {
    **part.spec._asdict(),
    "num_problems": len(part.problems),
    "num_samples": part.num_samples,
  }


def keep_samples(path: Path, results: dict[str, Any]) -> None:
  """Remove the samples of a task that was interrupted."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines(keepends=True):
    try:
      if line.endswith("\n") and json.loads(line)["task"] in results:
        kept.append(line)
    except (ValueError, LookupError, TypeError):
      continue
  replace_text(path, "".join(kept))


def append_samples(
  path: Path, part: EvaluationSet, evaluation: Evaluation
) -> None:
  """Append a line for every response, in the order of rows and samples."""
  with path.open("a") as file:
    for row, problem in enumerate(part.problems):
      responses = zip(
        evaluation.texts[row], evaluation.verdicts[row], strict=True
      )
      for sample, (text, verdict) in enumerate(responses):
        line = {
          "task": part.label,
          "row": row,
          "sample": sample,
          "prompt": problem.prompt,
          "response": text,
          **_verdict_fields(verdict),
        }
        file.write(json.dumps(line) + "\n")


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
  """Return what a line of samples.jsonl says of a verdict."""
  content = verdict._asdict()
  for rare in ("parts", "failed"):  # only rewards of the user's own have them
    if not content[rare]:
      del content[rare]
  return content
