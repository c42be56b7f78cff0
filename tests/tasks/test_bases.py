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


def test_all_bases_together_stay_small():
  files = [p for p in LOGIC.parent.rglob("*") if p.is_file()]
  assert sum(path.stat().st_size for path in files) < 4 * 2**20


@functools.cache
def words():
  return tokenizer.load(LOGIC)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_logic_base_can_read_and_write_every_family(name):
  family = FAMILIES[name]
  for level in family.levels:
    for problem in itertools.islice(family.problems(**level), 3):
      for text in (problem.prompt, *family.solutions(problem)[:2]):
        assert words().decode(words().encode(text)) == text


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
