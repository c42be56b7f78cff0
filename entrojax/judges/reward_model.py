"""A process reward model as a judge: a language model that marks each step.

    text = problem, step 1, separator, step 2, separator, ...
    score_k = pi(good) / (pi(good) + pi(bad)) after the k-th separator

Math-Shepherd (arXiv 2312.08935) trains such models: any decoder that models/
reads, no head but its own. A step is right if its score is above the threshold.
A step's score is read before anything after it: attention is causal.

Deviation: models with a head of their own (Qwen2.5-Math-PRM) and those that
read steps as turns of a chat are not read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.data import tokenizer as tokenizers
from entrojax.entropy.token_stats import unembed
from entrojax.models import decoder, hugging_face
from entrojax.types import Array, Model, Params, Reasoning, StepJudge


def reward_model(
  *,
  path: str | None,
  separator: str | None,
  good: str | None,
  bad: str | None,
  threshold: float = 0.5,
  max_length: int = 2048,
  batch_size: int = 8,
  dtype: str = "float32",
) -> StepJudge:
  """Makes the judge.

  Steps beyond max_length, and all steps of a text that the tokenizer does not
  know, count as wrong; how many responses these are is warned of.

  Args:
    path: the model's folder.
    separator: what stands behind each step.
    good: the token of a right step.
    bad: the token of a wrong one.
    threshold: score above which a step is right, in [0, 1].
    max_length: tokens of a text, every text's bucket.
    batch_size: texts at once.
    dtype: of activations.

  Raises:
    ValueError: the folder or a setting cannot be used.
  """
  if not path or not Path(path).is_dir():
    raise ValueError(f"reward_model.path: {path} is not a folder")
  if not 0 <= threshold <= 1:
    raise ValueError(
      f"reward_model.threshold must lie in [0, 1], got {threshold}"
    )
  for name, value in (("max_length", max_length), ("batch_size", batch_size)):
    if value < 1:
      raise ValueError(f"reward_model.{name} must be at least 1, got {value}")
  words = tokenizers.load(path)
  marks = [
    _token(words, name, text) for name, text in (("good", good), ("bad", bad))
  ]
  mark = _ids(words, "separator", separator)
  sizes, params = hugging_face.load(Path(path))
  score = make_step_scores(decoder(sizes, dtype=jnp.dtype(dtype)), marks)

  def read(reasoning: Reasoning) -> tuple[list[int], list[int]] | None:
    """Returns tokens and the place of each step's last separator token."""
    try:
      ids, ends = words.encode_prompt(reasoning.problem.prompt), []
      for step in reasoning.steps:
        ids += [*words.encode(step), *mark]
        ends.append(len(ids) - 1)
    except ValueError:  # a character that the tokenizer has no token for
      return None
    return ids, ends

  def judge(asked: Sequence[Reasoning]) -> list[list[bool]]:
    texts = [read(reasoning) for reasoning in asked]
    cut = sum(t is None or len(t[0]) > max_length for t in texts)
    if cut:
      warnings.warn(
        f"reward_model: {cut} of {len(asked)} responses are not read whole: "
        "steps that were not read count as wrong",
        stacklevel=2,
      )
    verdicts: list[list[bool]] = []
    for start in range(0, len(texts), batch_size):
      group = texts[start : start + batch_size]
      tokens = np.zeros((batch_size, max_length), np.int32)
      positions = np.full((batch_size, max_length), -1, np.int32)
      for row, text in enumerate(group):
        ids = [] if text is None else text[0][:max_length]
        tokens[row, : len(ids)] = ids
        positions[row, : len(ids)] = np.arange(len(ids))
      scores = np.asarray(score(params, tokens, positions))
      for row, text in enumerate(group):
        ends = [] if text is None else text[1]
        right = [
          end < max_length and bool(scores[row, end] > threshold)
          for end in ends
        ]
        missing = len(asked[start + row].steps) - len(right)
        verdicts.append(right + [False] * missing)
    return verdicts

  return judge


def make_step_scores(
  model: Model, marks: Sequence[int]
) -> Callable[[Params, Array, Array], Array]:
  """Makes (params, tokens i32[B, L], positions i32[B, L]) -> scores f32[B, L].

  Jitted. A score is that of what stands up to and with a token, in [0, 1].

  Args:
    model: the language model.
    marks: ids of the tokens of right and of wrong steps.
  """

  @jax.jit
  def scores(params: Params, tokens: Array, positions: Array) -> Array:
    hidden, _ = model.apply(params, tokens, positions)
    # the logits of two tokens: never [B, L, V]
    logits = unembed(hidden, model.unembedding(params)[jnp.asarray(marks)])
    return jax.nn.softmax(logits, axis=-1)[..., 0]

  return scores


def _token(words: tokenizers.Tokenizer, name: str, text: Any) -> int:
  ids = _ids(words, name, text)
  if len(ids) > 1:
    raise ValueError(
      f"reward_model.{name} must be one token, {text!r} has {len(ids)}"
    )
  return ids[0]


def _ids(words: tokenizers.Tokenizer, name: str, text: Any) -> list[int]:
  ids = words.encode(text) if text else []
  if not ids:
    raise ValueError(f"reward_model.{name} is not set")
  return ids
