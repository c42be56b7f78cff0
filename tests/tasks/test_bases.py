"""The shipped bases: their vocabulary, what they have learnt, their size."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import warm_up_logic
from entrojax.assembly.model import model_folder
from entrojax.data import tokenizer
from entrojax.data.packing import make_packed_batch
from entrojax.data.sft_examples import Pair, encode
from entrojax.models import decoder, hugging_face
from entrojax.tasks import FAMILIES
from entrojax.update.scoring import score

pytestmark = pytest.mark.slow

LOGIC = model_folder("bases/logic")
REASONING = model_folder("bases/reasoning")


def test_every_base_stays_small():
  bases = [path for path in LOGIC.parent.iterdir() if path.is_dir()]
  assert len(bases) == 3
  for base in bases:
    assert sum(path.stat().st_size for path in base.iterdir()) < 4e6


@functools.cache
def words():
  return tokenizer.load(LOGIC)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_logic_base_can_read_and_write_every_family(name):
  family = FAMILIES[name]
  unknown = [
    c for c in family.characters if words().decode(words().encode(c)) != c
  ]
  assert not unknown, (
    f"{name}: its CHARACTERS has {unknown}, which the vocabulary of "
    "bases/logic lacks: choose others from CHARACTERS in "
    "configs/warm_up_logic.py"
  )
  for level in family.levels:
    for problem in itertools.islice(family.problems(**level), 3):
      for text in (problem.prompt, *family.solutions(problem)[:2]):
        assert words().decode(words().encode(text)) == text, (
          f"{name}: the tokenizer of bases/logic changes {text!r}"
        )


def test_the_logic_base_has_learnt_its_tasks():
  sizes, params = hugging_face.load(LOGIC)
  # the file holds bfloat16
  assert params["embed_tokens"].dtype == np.float32
  pairs = []
  for name in sorted({re.split("[#:]", x)[0] for x in warm_up_logic.TASKS}):
    family = FAMILIES[name]
    for problem in itertools.islice(family.problems(**family.levels[0]), 4):
      pairs.append(Pair(name, problem.prompt, family.solutions(problem)))
  encoded = encode(
    pairs,
    words(),
    np.random.default_rng(0),
    template=lambda text: text,
    row_length=64,
    max_responses=1,
  )
  rows = [[(prompt, responses[0])] for prompt, responses in encoded.examples]
  batch = make_packed_batch(rows, 64, words().pad_id)
  log_probs, _ = jax.jit(
    functools.partial(score, decoder(sizes), response_length=63)
  )(params, jnp.asarray(batch.tokens), jnp.asarray(batch.positions))
  loss = -np.sum(log_probs * batch.response_mask) / np.sum(batch.response_mask)
  assert loss < 0.5  # a model that knows nothing has log 70 = 4.2


def test_the_reasoning_base_writes_its_search():
  """A trace is far more probable than the same trace with a wrong number."""
  sizes, params = hugging_face.load(REASONING)
  own = tokenizer.load(REASONING)
  family = FAMILIES["countdown_steps"]
  (problem,) = itertools.islice(family.problems(**family.levels[0]), 1)
  trace = family.traces(problem)[0]
  wrong = trace.replace("=", "=7", 1)

  def log_prob(response: str) -> float:
    prompt, answer = own.encode(problem.prompt), own.encode(response)
    tokens = jnp.asarray([[*prompt, *answer]])
    log_probs, _ = score(
      decoder(sizes),
      params,
      tokens,
      jnp.arange(tokens.shape[1])[None],
      response_length=len(answer),
    )
    return float(log_probs.sum())

  assert log_prob(trace) > log_prob(wrong) + 3
