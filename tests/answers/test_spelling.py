r"""Final answers: extracted from responses, compared apart from spelling."""

import time

from hypothesis import given, settings, strategies
import pytest

from entrojax.answers.spelling import (
  MAX_LENGTH,
  exact,
  final_answer,
  normalise,
  normalised,
)

# each row is one answer, spelt in several ways
ALIKE = (
  [
    "1/2",
    r"\frac{1}{2}",
    r"\dfrac12",
    r"$\tfrac{1}{2}$",
    r"\frac 1 2",
    " 1 / 2",
  ],
  ["-1/2", r"-\frac{1}{2}", "−1/2", r"\( -\frac12 \)"],
  [
    "1000",
    "1,000",
    "1{,}000",
    r"1\,000",
    "1000.0",
    "+1000",
    "1,000.",
    r"\$1000",
  ],
  ["1200m", "1,200 m", r"1{,}200\text{ m}"],
  ["(1,200)", "(1, 200)"],
  ["0.5", ".5", "0.50", "00.5"],
  ["0", "-0", "0.0"],
  ["x^2", "x^{2}", "x**2", "$X^{2}$", r"x ^ 2"],
  ["x^(a+b)", "x^{a+b}", "x^{(a+b)}"],
  ["sqrt(2)", r"\sqrt{2}", r"\sqrt2", r"\sqrt 2", "√2", "√(2)"],
  ["sqrt(2)/2", r"\sqrt{2}/2"],
  [r"\frac{\sqrt{2}}{2}", r"\dfrac{\sqrt2}2", "(sqrt(2))/2"],
  [r"\frac{a+b}{c}", "(a+b)/c"],
  [r"\frac{\frac{1}{2}}{3}", "(1/2)/3"],
  ["(1,2)", "( 1, 2 )", r"\left(1,2\right)"],
  [r"2\pi", "2π", r"2 \pi"],
  [r"x\leq 3", r"x \le 3", "x≤3"],
  [r"3\cdot4", r"3 \times 4", "3*4", "3×4"],
  ["90°", r"90^\circ", r"90^{\circ}"],
  ["50%", r"50\%", "50 %"],
  ["5cm", r"5\text{ cm}", r"5\,\mathrm{cm}", "5 cm"],
  ["x or y", r"x \text{ or } y"],
  ["Yes", "yes", "YES.", r"\text{Yes}"],
  ["(3+9)*(7-5)", "(3 + 9) * (7 - 5)"],
)

# no two of these are the same answer
DIFFERENT = (
  *(
    "12",
    "1 2",
    "1,2",
    "1, 234",
    "(1,2)",
    "[1,2]",
    r"\{1,2\}",
    "1.2",
    "-12",
    "21",
  ),
  *("1/2", "31/2", r"3\frac{1}{2}", "3 1/2", "-1/2", r"\frac{1}{2}x", "1/2x"),
  *("x^2", "x^3", "x2", "2x", "x^{10}", "x^1 0", r"\frac{1}{2}^2", "1/2^2"),
  *(r"\Delta", r"\delta", "delta", "1,23", "123", "0123.4", "1.234", "1234"),
  *("5cm", "5m", "50%", "50", "5.0.0", ".", "", "-", "true", "no"),
  *("a b", "ab", r"\frac{a}{b+c}", "a/b+c", r"\frac{a+b}{c}", "a+b/c"),
)


@pytest.mark.parametrize("spellings", ALIKE, ids=lambda row: row[0])
def test_spellings_of_one_answer_are_equal(spellings):
  assert {normalise(text) for text in spellings} == {normalise(spellings[0])}
  assert all(normalised(spellings[0], text) for text in spellings)


def test_different_answers_stay_apart():
  answers = [*DIFFERENT, *(row[0] for row in ALIKE)]
  answers_by_spelling: dict[str, str] = {}
  for answer in dict.fromkeys(answers):
    other = answers_by_spelling.setdefault(normalise(answer), answer)
    assert other == answer


def test_exact_answers_differ_by_any_character_but_outer_space():
  assert exact(" 1/2\n", "1/2")
  assert not exact("1/2", "1 /2")
  assert not exact("1/2", r"\frac{1}{2}")


@pytest.mark.parametrize(
  ("response", "answer"),
  [
    (r"so \boxed{42}.", "42"),
    (r"\boxed{1} or rather \boxed{ 2 }", "2"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed {7}", "7"),
    (r"\boxed{1} and then \boxed{2", "1"),  # cut off
    (r"\boxed{ \boxed{3} }", "3"),
    (r"} stray { \boxed{5} }", "5"),
    (r"<answer>9</answer> but \boxed{8}", "8"),
    ("<answer>1</answer> <answer> 2 </answer>", "2"),
    ("<answer>1</answer> <answer>2", "1"),
    ("<answer>1", None),
    ("1</answer>", None),
    (r"\boxed{}", None),
    ("the answer is 4", None),
    ("", None),
  ],
)
def test_the_final_answer_is_the_last_box_or_else_the_last_tag(
  response, answer
):
  assert final_answer(response) == answer


pieces = strategies.sampled_from(
  [
    *(r"\boxed{", r"\frac", r"\sqrt", r"\text{", r"\left", "\\", "{", "}"),
    *"^_$ 1,.-x√½İß\x00\ud800",
  ]
)


@pytest.mark.slow
@settings(max_examples=200)
@given(strategies.one_of(strategies.text(), strategies.lists(pieces)))
def test_no_text_raises(text):
  text = "".join(text)
  final_answer(text)
  assert normalised(text, text)


@pytest.mark.parametrize(
  "piece",
  [
    *(r"\boxed{", r"\boxed ", "{", "}", "<answer>", "</answer>", "1,", "1"),
    *(r"\frac{1}{2}", r"\frac{", r"\sqrt", r"\text{", "^{", " ", "9,999"),
  ],
)
def test_a_long_response_takes_no_time(piece):
  begin = time.process_time()
  text = piece * 20_000
  final_answer(text)
  normalise(text)
  normalise(text[:MAX_LENGTH])
  # some 20 ms; a square of this length would take minutes
  assert time.process_time() - begin < 2


def test_a_long_answer_is_stripped_only():
  text = "1 + " * MAX_LENGTH
  assert normalise(text) == text.strip()
