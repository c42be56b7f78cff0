"""Responses as coloured tokens: every text shows, and none acts."""

from html.parser import HTMLParser
import re

import numpy as np
import pytest

from entrojax import tokens
from entrojax.reporting.token_logs import write_tokens
from entrojax.reporting.token_terminal import QUANTITIES, coloured
from entrojax.reporting.token_view import shown, tokens_html
from tests.helpers.run_logs import write_run
from tests.helpers.token_logs import HOSTILE, make_samples, noisy_samples


class Tokens(HTMLParser):
  """Collects the classes, the titles and the texts of elements."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.classes, self.titles, self.texts = [], [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.classes.append(dict(attrs).get("class", ""))
    self.titles.append(dict(attrs).get("title", ""))

  def handle_data(self, data):
    self.texts.append(data)


def parse(samples, response=0):
  return Tokens(tokens_html(samples, response))


def test_a_hostile_response_shows_as_text():
  page = parse(make_samples([[*HOSTILE]], entropy=np.ones(len(HOSTILE))))
  assert page.tags == ["i"] * len(HOSTILE)
  assert page.texts == [
    *("<script>alert('x')</script>", "</td>", "&amp;", "\\x1b[31mred"),
    *("\\u202e", "שלום", "\\u200f", "%{x}"),
    *("x" * 200 + "… (4,800 more characters)", "⏎\n", "<eos>"),
  ]


def test_a_hostile_name_of_a_control_shows_as_text():
  marks = {'"><script>': np.array([True])}
  page = parse(make_samples([["a"]], entropy=[0.0], touched=marks))
  assert page.tags == ["i"]
  assert page.titles[0].endswith('touched by "><script>')


def test_classes_are_the_levels_of_each_quantity():
  samples = make_samples(
    [["a", "b", "c"]],
    entropy=[0.01, 0.8, 2.0],
    log_probs=np.log([0.95, 0.4, 0.01]),
    base_log_probs=np.log([0.95, 0.1, 0.02]),
    advantages=[-0.7],
    touched={"erc": np.array([False, True, False])},
  )
  assert parse(samples).classes == ["an2", "e3 l2 an2 rp3 t", "e4 l4 an2 rn2"]


def test_a_long_response_is_cut():
  page = parse(make_samples([["a"] * 700], entropy=np.zeros(700)))
  assert len(page.tags) == 600
  assert page.texts[-1] == " … (100 more tokens)"


def test_line_ends_are_marked():
  assert shown("a\nb\r") == "a⏎\nb\\r"


@pytest.mark.parametrize("by", QUANTITIES)
def test_a_terminal_gets_no_control_character(by):
  samples = make_samples([[*HOSTILE]], entropy=np.ones(len(HOSTILE)))
  plain = coloured(samples, 0, QUANTITIES[by]).plain
  assert plain.isprintable()
  assert "<script>alert('x')</script></td>&amp;\\x1b[31mred" in plain


def write_kept(folder, name, seed=0):
  """Write a run that has kept tokens."""
  path = write_run(folder / name, config={"objective": [name]})
  rng = np.random.default_rng(seed)
  for part in (0, 1):
    write_tokens(path, 0, noisy_samples(rng, part, step=30 * part))
  return path


def test_the_command_prints_tables_and_writes_a_page(tmp_path, capsys):
  write_kept(tmp_path, "grpo")
  write_kept(tmp_path, "erc", seed=1)
  page = tmp_path / "out" / "t.html"
  tokens.main([str(tmp_path), "--output", str(page), "--prompt", "1"])
  printed = capsys.readouterr().out
  assert "sums: tokens that carry the most entropy, grpo" in printed
  assert "same 20 % as the base" in printed
  assert "erc, step 30, coloured by entropy: 1 7 9 9=10:" in printed
  assert "\x1b" not in printed
  text = page.read_text(encoding="utf-8")
  body = Tokens(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
  assert "<script>alert('x')</script>" in body.texts
  assert {"input", "details", "i"} <= set(body.tags)
  assert text.count("<script") == 3  # the library, the figures, the drawing
  assert "8 of 8 prompts are shown." in body.texts


def test_a_run_that_kept_no_tokens_is_told_how_to(tmp_path, capsys):
  write_run(tmp_path / "run")
  with pytest.raises(SystemExit):
    tokens.main([str(tmp_path / "run")])
  assert "evaluation.token_samples" in capsys.readouterr().err


def test_a_prompt_that_was_not_kept_is_refused(tmp_path, capsys):
  write_kept(tmp_path, "grpo")
  with pytest.raises(SystemExit):
    tokens.main([str(tmp_path), "--prompt=8"])
  assert "grpo has kept 8 prompts" in capsys.readouterr().err
