"""A real language model: SmolLM2-135M-Instruct, where its folder is at hand.

    python -m experiments.convert_smollm2 --output=smollm2
    ENTROJAX_SMOLLM2=smollm2 python -m pytest tests/models/test_smollm2.py

It takes half a minute and 2 GB.
"""

import functools
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from entrojax.data import chat_template
from entrojax.data import tokenizer as tokenizer_lib
from entrojax.data.prompt_stream import encode_prompts
from entrojax.models import decoder, hugging_face
from entrojax.rollouts.sampler import Sampling, generate, greedy
from entrojax.types import Problem
from entrojax.update.scoring import score

FOLDER = os.environ.get("ENTROJAX_SMOLLM2", "")

pytestmark = pytest.mark.skipif(
  not (FOLDER and Path(FOLDER).is_dir()),
  reason="ENTROJAX_SMOLLM2 names no folder made by experiments.convert_smollm2",
)

QUESTIONS = (
  "What is the capital of France?",
  "What is 7+5?",
  "Name three colours.",
)


@pytest.fixture(scope="module")
def spoken():
  """Returns (texts, sampler's log-probs, scorer's, mask) of greedy answers."""
  tokenizer = tokenizer_lib.load(FOLDER)
  chat = chat_template.load(FOLDER)
  problems = [Problem(chat(question), {}) for question in QUESTIONS]
  prompts = encode_prompts(problems, tokenizer, 48)
  sizes, params = hugging_face.load(FOLDER)
  model = decoder(sizes, scan_layers=True)
  rollout = jax.jit(
    functools.partial(
      generate,
      model,
      sampling=Sampling(
        group_size=1,
        response_length=24,
        eos_ids=tokenizer.eos_ids,
        pad_id=tokenizer.pad_id,
        sampler=greedy,
      ),
    )
  )(params, prompts, jax.random.key(0))
  scored, _ = jax.jit(functools.partial(score, model, response_length=24))(
    params, rollout.tokens, rollout.positions
  )
  mask = np.asarray(rollout.response_mask)
  texts = [
    tokenizer.decode(row[m > 0].tolist())
    for row, m in zip(np.asarray(rollout.tokens)[:, -24:], mask, strict=True)
  ]
  return texts, np.asarray(rollout.log_probs), np.asarray(scored), mask


def test_the_greedy_answers_are_right(spoken):
  capital, total, colours = spoken[0]
  assert "The capital of France is Paris" in capital
  assert "12" in total
  assert "red" in colours.lower()


def test_sampler_and_scorer_agree_on_a_real_vocabulary(spoken):
  _, sampled, scored, mask = spoken
  assert np.max(np.abs(sampled - scored) * mask) < 1e-4


def test_the_tokenizer_splits_numbers_and_gives_text_back():
  tokenizer = tokenizer_lib.load(FOLDER)
  assert len(tokenizer.encode("2025")) == 4
  for text in ("Hello,  world!\n\n\tété 漢字", "<|im_start|>user"):
    ids = tokenizer.encode(text)
    assert max(ids) < tokenizer.vocab_size
  assert (
    tokenizer.decode(tokenizer.encode("Hi,  été 漢字\n")) == "Hi,  été 漢字\n"
  )
  assert tokenizer.encode("<|im_start|>") == [1]
