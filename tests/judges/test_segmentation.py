"""Segmentation: responses into steps, and the step of each token."""

import itertools
import sys
import time
import types

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import tokenizers

from entrojax.data.tokenizer import Tokenizer
from entrojax.judges.segmentation import by_pieces, rules, sat, token_steps


def pieces(segment, text):
  return [text[start:end] for start, end in segment(text)]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("", []),
    ("one line", ["one line"]),
    ("First one.\n\nSecond one", ["First one.\n\n", "Second one"]),
    ("A line\n  another", ["A line\n  ", "another"]),
    (
      "It is so. Then it is! Why? So.",
      ["It is so. ", "Then it is! ", "Why? So."],
    ),
    ("We get 3.5 of it. Then", ["We get 3.5 of it. Then"]),  # "Then" is short
    (
      "Take $x. y. z$ as it. Then it is",
      ["Take $x. y. z$ as it. ", "Then it is"],
    ),
    (
      "It costs \\$5. And $6. That is it",
      ["It costs \\$5. ", "And $6. ", "That is it"],
    ),
    ("So $a. That is\nthe end", ["So $a. ", "That is\n", "the end"]),
    ("所以是这样。然后是什么？", ["所以是这样。", "然后是什么？"]),
  ],
)
def test_rules_cut_at_lines_and_at_sentences_outside_mathematics(
  text, expected
):
  assert pieces(rules(min_length=5), text) == expected


def test_short_pieces_join_what_follows_and_the_last_what_precedes():
  text = "1. 2. A long sentence. Yes.\nNo.\n"
  assert pieces(rules(min_length=9), text) == [
    "1. 2. A long sentence. ",
    "Yes.\nNo.\n",
  ]
  assert pieces(rules(min_length=10), text) == [text]


def test_separators_of_a_task_end_steps():
  segment = rules(min_length=1, separators=(";", "=>"))
  assert pieces(segment, "7;14=>9;;") == ["7;", "14=>", "9;", ";"]


HOSTILE = [
  "$",
  "\n",
  ". ",
  ".",
  "?!",
  "....a",
  "\\$",
  "a",
  "\n \n",
  ";",
  "$a\n",
  " ",
  "$$ ",
  "。",
  "\\",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_take_linear_time(unit):
  segment = rules(min_length=1, separators=(";",))

  def seconds(size):
    text = (unit * size)[:size]
    started = time.process_time()
    segment(text)
    return time.process_time() - started

  # quadratic time would be 100 times the time of a tenth; 100,000 characters
  # of the slowest take 0.2 s
  assert seconds(100_000) < 2


@given(
  st.text(alphabet="ab .!?\n$\\;。\ufffd", max_size=60),
  st.integers(1, 12),
)
def test_spans_divide_any_text(text, min_length):
  spans = rules(min_length=min_length, separators=(";",))(text)
  assert "".join(text[a:b] for a, b in spans) == text
  assert all(b - a >= min(min_length, len(text)) for a, b in spans)


def test_pieces_of_a_model_become_spans_if_they_join_to_the_text():
  segment = by_pieces(lambda text: text.split("|"))
  assert segment("a|b") == [(0, 3)]  # the bar is lost: one step
  segment = by_pieces(lambda text: [text[:2], text[2:]])
  assert segment("abcd") == [(0, 2), (2, 4)]
  assert segment("  ") == [(0, 2)]


def test_sat_splits_with_the_model_of_its_settings(monkeypatch):
  names = []

  class SaT:
    def __init__(self, model):
      names.append(model)

    def split(self, text):
      return [text[:3], text[3:]]

  package = types.SimpleNamespace(SaT=SaT)
  monkeypatch.setitem(sys.modules, "wtpsplit_lite", package)
  assert sat(model="folder")("abcdef") == [(0, 3), (3, 6)]
  assert names == ["folder"]


def test_sat_without_its_package_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "wtpsplit_lite", None)
  with pytest.raises(ValueError, match=r"wtpsplit-lite: pip install"):
    sat()


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"min_length": 0}, r"rules\.min_length must be at least 1, got 0"),
    ({"separators": ("",)}, r"rules\.separators has an empty text"),
  ],
)
def test_a_setting_that_cannot_work_is_named(settings, message):
  with pytest.raises(ValueError, match=message):
    rules(**settings)


def byte_tokenizer(*merges):
  """Build a byte-level BPE with all bytes and some merged texts, EOS 0."""
  letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
  words = ["<eos>", *sorted(letters), *merges]
  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE({w: i for i, w in enumerate(words)}, [])
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  backend.decoder = tokenizers.decoders.ByteLevel()
  backend.add_special_tokens(["<eos>"])
  return Tokenizer(backend, eos_ids=[0], pad_id=0)


def ids_of(words, *texts):
  return [words._backend.token_to_id(text) for text in texts]


def test_a_token_belongs_to_the_step_of_its_first_character_that_is_no_space():
  # Ġ is a space and Ċ a newline in the byte alphabet
  words = byte_tokenizer("ab", "Ċ", ".Ċ", "ĊĠc", "Ġc")
  tokens = [*ids_of(words, "ab", ".Ċ", "Ċ", "Ġc", "ĊĠc"), 0]
  text, starts = words.decode_with_starts(tokens)
  assert text == "ab.\n\n c\n c"
  assert starts == [0, 2, 4, 5, 7, 10]
  spans = [(0, 6), (6, 8), (8, 10)]
  # " c" begins in the first span with a space, "\n c" in the second
  assert token_steps(tokens, spans, words).tolist() == [0, 0, 0, 1, 2, 2]


def test_a_character_of_several_tokens_belongs_to_one_step():
  words = byte_tokenizer()
  tokens = words.encode("aé。b")
  assert len(tokens) == 1 + 2 + 3 + 1
  text, starts = words.decode_with_starts(tokens)
  assert text == "aé。b"
  assert starts == [0, 1, 1, 2, 2, 2, 3]
  steps = token_steps(tokens, [(0, 2), (2, 4)], words)
  assert steps.tolist() == [0, 0, 0, 1, 1, 1, 1]


@given(st.lists(st.integers(0, 256), max_size=40))
def test_any_bytes_have_starts_within_their_text(tokens):
  words = byte_tokenizer()
  text, starts = words.decode_with_starts(tokens)
  assert text == words.decode(tokens)
  assert len(starts) == len(tokens)
  assert all(a <= b for a, b in itertools.pairwise([*starts, len(text)]))
  steps = token_steps(tokens, rules(min_length=2)(text), words)
  assert np.all(np.diff(steps[steps >= 0]) >= 0)


def test_endless_broken_bytes_take_linear_time():
  words = byte_tokenizer()
  broken = words.encode("。")[1]
  started = time.process_time()
  words.decode_with_starts([broken] * 20_000)
  assert time.process_time() - started < 5
