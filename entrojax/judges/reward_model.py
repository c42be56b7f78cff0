"""A process reward model as a judge: a language model that scores each step.

    text = problem, step 1, separator, step 2, separator, ...
    score_k = pi(good) / (pi(good) + pi(bad)) after the k-th separator

A step is right if its score is above the threshold. Steps that do not fit into
max_length tokens count as wrong. Attention is causal, so a step's score does
not depend on the steps after it. The model is a local folder. It must have been
trained for this, as in Math-Shepherd (arXiv 2312.08935). Such models are
language models without an additional head, so entrojax/models can load them if
it can load their base.

Deviation: models with an additional head (Qwen2.5-Math-PRM) and models that
read the steps as turns of a chat are not supported.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.arguments import require_at_least, require_in
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
  """Build the judge that scores steps with a local model.

  Steps beyond max_length count as wrong, and so do all steps of a text with a
  character that the tokenizer has no token for. A warning gives the number of
  such responses.

  Args:
    path: the folder of the model.
    separator: the text after each step.
    good: the token that marks a right step.
    bad: the token that marks a wrong step.
    threshold: a step is right if its score is above this, in [0, 1].
    max_length: the most tokens of problem, steps and separators together. Every
      text is padded to this length.
    batch_size: the number of responses that are scored at once.
    dtype: the activations' dtype.

  Returns:
    The judge, which runs the model on JAX's default device.

  Raises:
    ValueError: the folder or a setting cannot be used.
  """
  if not path or not Path(path).is_dir():
    raise ValueError(f"reward_model.path: {path} is not a folder")
  require_in("reward_model.threshold", threshold, "[0, 1]")
  require_at_least("reward_model.max_length", max_length, 1)
  require_at_least("reward_model.batch_size", batch_size, 1)
  tokenizer = tokenizers.load(path)
  marks = [_token(tokenizer, "good", good), _token(tokenizer, "bad", bad)]
  separator_ids = _ids(tokenizer, "separator", separator)
  sizes, params = hugging_face.load(Path(path))
  score = make_step_scores(decoder(sizes, dtype=jnp.dtype(dtype)), marks)

  def judge(reasonings: Sequence[Reasoning]) -> list[list[bool]]:
    texts = [_encode(r, tokenizer, separator_ids) for r in reasonings]
    incomplete = sum(t is None or len(t.tokens) > max_length for t in texts)
    if incomplete:
      warnings.warn(
        f"reward_model: {incomplete} of {len(reasonings)} responses are not "
        "read whole: steps that were not read count as wrong",
        stacklevel=2,
      )
    verdicts: list[list[bool]] = []
    for start in range(0, len(texts), batch_size):
      group = texts[start : start + batch_size]
      scores = np.asarray(score(params, *_pad(group, batch_size, max_length)))
      for row, text in enumerate(group):
        ends = [] if text is None else text.ends
        right = [
          end < max_length and bool(scores[row, end] > threshold)
          for end in ends
        ]
        missing = len(reasonings[start + row].steps) - len(right)
        verdicts.append(right + [False] * missing)
    return verdicts

  return judge


class _Text(NamedTuple):
  """A problem and its steps as tokens."""

  tokens: list[int]
  ends: list[int]  # index of the last token of the separator after each step


def _encode(
  reasoning: Reasoning,
  tokenizer: tokenizers.Tokenizer,
  separator_ids: Sequence[int],
) -> _Text | None:
  """Encode a problem and its steps; None if a character has no token."""
  try:
    tokens, ends = tokenizer.encode_prompt(reasoning.problem.prompt), []
    for step in reasoning.steps:
      tokens += [*tokenizer.encode(step), *separator_ids]
      ends.append(len(tokens) - 1)
  except ValueError:  # a character that the tokenizer has no token for
    return None
  return _Text(tokens, ends)


def _pad(
  texts: Sequence[_Text | None], batch_size: int, max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Pad texts to tokens and positions, i32[batch_size, max_length] each."""
  tokens = np.zeros((batch_size, max_length), np.int32)
  positions = np.full((batch_size, max_length), -1, np.int32)
  for row, text in enumerate(texts):
    ids = [] if text is None else text.tokens[:max_length]
    tokens[row, : len(ids)] = ids
    positions[row, : len(ids)] = np.arange(len(ids))
  return tokens, positions


def make_step_scores(
  model: Model, marks: Sequence[int]
) -> Callable[[Params, Array, Array], Array]:
  """Build the jitted function that scores the text up to each token.

  Args:
    model: the language model.
    marks: the ids of the tokens `good` and `bad`.

  Returns:
    (params, tokens i32[B, L], positions i32[B, L]) -> f32[B, L] in [0, 1]. The
    score at a token is pi(good) / (pi(good) + pi(bad)) of the next token.
  """

  @jax.jit
  def scores(params: Params, tokens: Array, positions: Array) -> Array:
    hidden, _ = model.apply(params, tokens, positions)
    # only the logits of the two marks, so that no [B, L, V] array exists
    logits = unembed(hidden, model.unembedding(params)[jnp.asarray(marks)])
    return jax.nn.softmax(logits, axis=-1)[..., 0]

  return scores


def _token(tokenizer: tokenizers.Tokenizer, name: str, text: Any) -> int:
  """Encode a setting that must be a single token."""
  ids = _ids(tokenizer, name, text)
  if len(ids) > 1:
    raise ValueError(
      f"reward_model.{name} must be one token, {text!r} has {len(ids)}"
    )
  return ids[0]


def _ids(tokenizer: tokenizers.Tokenizer, name: str, text: Any) -> list[int]:
  """Encode a setting that must not be empty."""
  ids = tokenizer.encode(text) if text else []
  if not ids:
    raise ValueError(f"reward_model.{name} is not set")
  return ids
