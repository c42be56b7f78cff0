r"""Answers in mathematics: extraction, comparison and verdicts.

math_answers.json holds responses and gold answers, the verdict of each grader's
rules worked out by hand, and the reason for it.
"""

from fractions import Fraction
import json
import sys
import time

from hypothesis import given, settings, strategies
import pytest

from entrojax.answers import numbers, parts
from entrojax.answers.clusters import cluster
from entrojax.answers.formula_values import same_formula
from entrojax.answers.process_pool import WorkerError
from entrojax.answers.spelling import boxed, normalised
from entrojax.rollouts.rewards import verify_responses
from entrojax.tasks import math_answers
from entrojax.tasks.math_answers import (
  Grader,
  make_equivalence,
  make_grader,
  make_verifier,
)
from entrojax.types import Problem, Verdict
from tests.helpers.math_golds import cases, measure
from tests.helpers.paths import GOLDENS

CASES = json.loads((GOLDENS / "math_answers.json").read_text())
NAMES = [name for name in math_answers.GRADERS if name != "math_verify"]
VERIFIERS = {name: make_verifier(make_grader(name)) for name in NAMES}


def problem(*gold):
  return Problem("?", {"gold": list(gold)})


@pytest.mark.parametrize(
  "case", CASES, ids=[f"{c['grader']}-{c['response'][:24]}" for c in CASES]
)
def test_a_verdict_is_the_one_worked_out_by_hand(case):
  verify = VERIFIERS[case["grader"]]
  verdict = verify(problem(case["gold"]), case["response"])
  assert verdict.reason == case["verdict"], case["why"]
  assert verdict.reward == float(case["verdict"] == "correct")
  assert (verdict.answer is None) == (case["verdict"] == "no answer")


def test_every_grader_has_cases_of_each_verdict():
  for name in NAMES:
    verdicts = {case["verdict"] for case in CASES if case["grader"] == name}
    assert verdicts == {"correct", "wrong", "no answer"}


def test_one_of_several_gold_answers_is_enough():
  verify = VERIFIERS["boxed"]
  assert verify(problem("3", "4"), r"\boxed{4}").reward == 1.0
  assert verify(problem("3", "4"), r"\boxed{5}").reward == 0.0


def test_answers_that_vote_together_are_spelt_alike():
  spellings = {
    "boxed": (r"\boxed{\dfrac12}", r"\boxed{1/2}"),
    "dapo": ("Answer: $1,000$ dollars", "Answer: x=1000"),
    "qwen": (r"\boxed{\dfrac12}", r"\boxed{1/2\text{ cm}}"),
  }
  for name, responses in spellings.items():
    votes = {VERIFIERS[name](problem("7"), text).answer for text in responses}
    assert len(votes) == 1, votes


def test_the_tolerance_of_a_rounded_gold_is_half_a_unit_of_its_last_digit():
  assert numbers.tolerance("3.1416") == Fraction(1, 20_000)
  for exact in ("3.142", "0.0625", "1012.50", "3", "1/3", r"\$3.1416", "1e-9"):
    assert numbers.tolerance(exact) == 0


def test_an_unknown_grader_is_named():
  with pytest.raises(ValueError, match=r"ends in one of .*'dapo'.*got 'dappo'"):
    make_grader("dappo")


# -- measured on constructed golds --------------------------------------------


@pytest.mark.slow
def test_the_default_and_qwen_judge_constructed_golds_as_they_should():
  """Take 1,060 golds of MATH's kinds and 10,000 answers of other values."""
  constructed = cases(1_060)
  wrong = sum(len(case.wrong) for case in constructed)
  right = sum(len(case.right) for case in constructed)
  assert wrong >= 10_000
  mark = r"so \boxed{{{}}}."
  counts = measure(VERIFIERS["boxed"], constructed, mark)
  assert counts.accepted.total() == 0, counts.accepted
  assert counts.refused.total() < 0.005 * right, counts.refused
  assert counts.own.total() < 0.005 * len(constructed), counts.own
  own = [case._replace(right=(), wrong=(), forms=()) for case in constructed]
  refused = measure(VERIFIERS["qwen"], own, mark).own
  assert refused.total() < 0.005 * len(constructed), refused


# -- formulas -----------------------------------------------------------------


@pytest.mark.parametrize(
  "a, b, same",
  [
    (r"\frac{1}{\sqrt3}", r"\frac{\sqrt{3}}{3}", True),
    (r"\frac12", "0.5", True),
    (r"\sqrt[3]{8}", "2", True),
    (r"-x^2+1", "(1-x)(1+x)", True),
    (r"(-x)^2", "-x^2", False),
    ("2^{-1}", "0.5", True),
    ("2x/3", r"\frac{2}{3}x", True),
    (r"\sin^2 x + \cos^2 x", r"x/x", True),
    ("e^{i\\pi}", "-1", True),
    ("x+y", "y+x", True),
    ("x", "y", False),
    ("3-i", "3+i", False),
    ("1/0", "1/0", False),
    ("9^{9^{9^{9}}}", "9^{9^{9^{9}}}", False),
    ("(" * 40 + "1" + ")" * 40, "1", False),
    ("-" * 200 + "1", "1", True),
    (r"\sqrt" * 100 + "1", "1", False),
    ("x²", "x^2", False),
    (r"\int x", r"\int x", False),
    ("", "", False),
    (".", "1", False),
  ],
)
def test_formulas_are_compared_by_value(a, b, same):
  assert same_formula(a, b, 1e-4) == same


# -- comparisons that hang or fail --------------------------------------------


def raises(error):
  def equal(answer, gold):
    raise error

  return equal


@pytest.mark.parametrize(
  "error, reason",
  [(TimeoutError("late"), "timeout"), (WorkerError("died"), "failed")],
)
def test_a_comparison_without_a_verdict_has_its_own_reason(error, reason):
  grader = Grader(boxed, (normalised, raises(error)))
  verify = make_verifier(grader)
  assert verify(problem("8"), r"\boxed{7}") == Verdict(0.0, reason, "7")
  assert verify(problem("7"), r"\boxed{7}") == Verdict(1.0, "correct", "7")
  # the second gold answer settles it, though the first made trouble
  assert verify(problem("8", "7"), r"\boxed{7}").reward == 1.0


def test_an_answer_that_hangs_is_waited_for_once_in_clusters():
  calls = []

  def equal(a, b):
    calls.append((a, b))
    if "9^9" in (a, b):
      raise TimeoutError("late")
    return a == f"{b}+0"

  equivalent = make_equivalence(Grader(boxed, (normalised, equal)))
  answers = ["9^9", *"345678", "8+0", "9^{9}", "8"]
  with pytest.warns(RuntimeWarning, match="TimeoutError: late"):
    ids = cluster(answers, equivalent)
  assert ids == [0, 1, 2, 3, 4, 5, 6, 7, 0, 6]
  # the pair, and each of its answers alone
  waited = [pair for pair in calls if "9^9" in pair]
  assert waited == [("9^9", "3"), ("9^9", "1")]
  assert ("3", "4") in calls  # 3 was not to blame


class Prepared:
  """An equality that counts its batches, in place of math-verify."""

  def __init__(self):
    self.batches = []

  def prepare(self, pairs):
    self.batches.append(list(pairs))

  def __call__(self, answer, gold):
    assert (answer, gold) in self.batches[-1]
    return answer == f"{gold}+0"


def test_a_batch_prepares_all_comparisons_that_cheap_rules_leave_open():
  equal = Prepared()
  verify = make_verifier(Grader(boxed, (normalised, equal)))
  answers = [r"\boxed{7}", r"\boxed{8+0}", r"\boxed{9}", "none"]
  golds = [problem("7"), problem("6", "8"), problem("8"), problem("8")]
  rows = verify_responses(golds, answers, verify)
  reasons = [row[0].reason for row in rows]
  assert reasons == ["correct", "correct", "wrong", "no answer"]
  assert equal.batches == [[("8+0", "6"), ("8+0", "8"), ("9", "8")]]


@pytest.mark.parametrize("batch", [[Verdict(1.0, "", "7")], 5 * [None], None])
def test_a_batch_of_another_length_is_verified_one_by_one(batch):
  """A user's verifier may forget responses, or return nothing."""

  class Verifier:
    def __call__(self, problem, response):
      return Verdict(float(response), "", response)

    def batch(self, problems, responses):
      return batch

  rows = verify_responses([problem("1"), problem("2")], ["1", "2"], Verifier())
  assert [row[0].reward for row in rows] == [1.0, 2.0]


# -- with the package ---------------------------------------------------------


@pytest.fixture(scope="module")
def symbolic():
  pytest.importorskip(
    "math_verify", reason="math-verify, an optional package, is missing"
  )
  return make_verifier(make_grader("math_verify"))


@pytest.mark.parametrize(
  "answer, gold, reason",
  [
    (r"\sqrt{12}", r"2\sqrt{3}", "correct"),
    ("x^2+2x+1", "(x+1)^2", "correct"),
    (r"\{2,1\}", r"\{1,2\}", "correct"),
    ("x=5", "5", "correct"),
    ("48", r"48^\circ", "correct"),
    ("50", r"50\%", "correct"),
    (r"\sqrt{2}", "1.41421356", "correct"),
    ("No solution", "No solution.", "correct"),
    ("(2,1)", "(1,2)", "wrong"),
    # what the package itself accepts
    ("1.414214", r"\sqrt{2}", "wrong"),
    ("0.333333", r"\frac13", "wrong"),
    ("0.00000012", "0.00000013", "wrong"),
    ("(0.0000001,1)", "(0.0000002,1)", "wrong"),
    ("1.414214,2", r"2,\sqrt2", "wrong"),
    ("1101", "1101_2", "wrong"),
    ("1101_3", "1101_2", "wrong"),
    ("(1,2)", r"\{1,2\}", "wrong"),
    ("1,1,2", "1,2", "wrong"),
    (r"5\text{ million}", "5", "wrong"),
    (r"5\text{ m}", r"5\text{ cm}", "wrong"),
    # what the package refuses
    (r"\frac{2014}{2015}", r"\frac{2015}{2016}", "wrong"),
    (r"\frac13", "0.3333", "wrong"),
    ("7 or 8", "8", "wrong"),
    ("about 8", "8", "wrong"),
    (r"\(7\) \(8\)", "8", "wrong"),
    ("$7$ $8$", "8", "wrong"),
    (r"\(\sqrt{12}\)", r"$2\sqrt{3}$", "correct"),
    ("1,2,3,4,5,6,7,8", "8", "wrong"),
    (r"8} \boxed{9", "8", "wrong"),
    ("x^2+2x", "(x+1)^2", "wrong"),
    (r"\frac{1}{", "1", "no answer"),
    (r"\begin{matrix}", "1", "wrong"),
    ("__import__('os').abort()", "1", "wrong"),
    ("\ud800", "1", "wrong"),
    ("9" * 513, "1", "too long"),
  ],
)
def test_the_package_compares_what_spelling_cannot(
  symbolic, answer, gold, reason
):
  verdict = symbolic(problem(gold), rf"\boxed{{{answer}}}")
  assert verdict.reason == reason
  assert verdict.reward == float(reason == "correct")


def test_an_answer_on_which_the_package_hangs_costs_its_limit_once():
  pytest.importorskip(
    "math_verify", reason="math-verify, an optional package, is missing"
  )
  equal = math_answers.math_verify(seconds=2.0, size=1)
  verify = make_verifier(Grader(boxed, (normalised, equal)))
  begin = time.monotonic()
  for _ in range(8):  # a group of responses with the same answer
    verdict = verify(problem("1"), r"\boxed{9^{9^{9^{9}}}}")
    assert verdict.reason == "timeout"
  assert time.monotonic() - begin < 14  # not eight times two
  assert verify(problem(r"2\sqrt{3}"), r"\boxed{\sqrt{12}}").reward == 1.0


def test_a_batch_with_answers_that_hang_ends_in_time():
  pytest.importorskip(
    "math_verify", reason="math-verify, an optional package, is missing"
  )
  equal = math_answers.math_verify(size=2, batch_seconds=8.0)
  verify = make_verifier(Grader(boxed, (normalised, equal)))
  towers = [rf"\boxed{{9^{{9^{{9^{{9^{{{i}}}}}}}}}}}" for i in range(1, 21)]
  right = [rf"\boxed{{\sqrt{{{3 * i * i}}}}}" for i in range(2, 22)]
  golds = [problem("1")] * 20 + [problem(rf"{i}\sqrt3") for i in range(2, 22)]
  begin = time.monotonic()
  with pytest.warns(UserWarning, match="did not end within 8 s for the batch"):
    verdicts = verify_responses(golds, towers + right, verify)
  assert time.monotonic() - begin < 30  # one after another: 100 s
  reasons = [row[0].reason for row in verdicts]
  assert reasons == ["timeout"] * 20 + ["correct"] * 20


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "math_verify", None)
  with pytest.raises(ValueError, match=r"pip install 'entrojax\[math\]'"):
    make_grader("math_verify")


# -- whatever a model writes --------------------------------------------------

PIECES = [
  *(r"\boxed{", r"\boxed", "boxed", "he answer is", "Answer:", "answer :"),
  *(r"\frac", r"\frac{", r"\sqrt", r"\text{", r"\left", "\\", "{", "}", "$"),
  *("^{", "(", ")", "[", ",", "/", "=", "%", ".", "-", "1", "9", "0", "e9"),
  *("9" * 400, "*10^999", "e999", "\n", " ", "½", "٤", "²", "İ", "\x00"),
  *("\ud800", "####", "and", "cm", "1/0", "nan", "inf", "Infinity"),
]


@settings(max_examples=150)
@given(strategies.lists(strategies.sampled_from(PIECES), max_size=12))
def test_no_response_raises(pieces):
  text = "".join(pieces)
  responses = (text, rf"\boxed{{{text}}}", f"Answer: {text}", f"{text}\n9")
  for verify in VERIFIERS.values():
    for response in responses:
      verify(problem("9"), response)
      verify(problem(text), response)


@pytest.mark.parametrize(
  "piece",
  [
    *(r"\boxed{", r"\boxed ", "{", r"\frac{1}{", "$", "he answer is"),
    *("Answer:", " ", "1,", ".", "=", "\n", "٤"),
  ],
)
def test_a_million_characters_take_no_time(piece):
  text = piece * (1_000_000 // len(piece))
  begin = time.process_time()
  for name in ("boxed", "dapo", "gsm8k", "qwen"):  # the others read as these do
    VERIFIERS[name](problem("9"), text)
    VERIFIERS[name](problem("9"), rf"\boxed{{{text}}}")
  # at most some 0.3 s; a square of this length would take hours
  assert time.process_time() - begin < 10


@pytest.mark.parametrize(
  "answer", ["1e999999999", "9" * 5_000, "10^" * 100, "1*10^999", "9" * 500]
)
def test_giant_numbers_are_compared_at_once(answer):
  begin = time.process_time()
  for verify in VERIFIERS.values():
    assert verify(problem("9"), rf"\boxed{{{answer}}}").reward == 0.0
  assert time.process_time() - begin < 2


def test_towers_of_fractions_are_compared_at_once():
  tower = r"\frac{1}{" * 60 + "2" + "}" * 60
  begin = time.process_time()
  for name in ("boxed", "qwen", "integer"):
    assert VERIFIERS[name](problem("9"), rf"\boxed{{{tower}}}").reward == 0.0
  assert time.process_time() - begin < 2


@pytest.mark.parametrize(
  "piece",
  [
    *(
      r"\text{",
      r"\text{ cm}",
      "(",
      "1,",
      "1 or ",
      "x=",
      r"\pm",
      r"\{",
      "1,234",
    ),
    *(" ", "^\\circ", r"\cup", "_2", r"\begin{pmatrix}", r"\\", "-", "((1),"),
  ],
)
def test_answers_of_any_parts_are_compared_at_once(piece):
  text = piece * (512 // len(piece))
  begin = time.process_time()
  for answer, gold in ((text, "9"), ("9", text), (text, text[:-1] + "2")):
    parts.same_answer(answer, gold)
    parts.differ(answer, gold)
    math_answers.qwen(answer, gold)
  assert time.process_time() - begin < 1


def test_an_answer_much_longer_than_the_gold_is_not_compared():
  verdict = VERIFIERS["boxed"](problem("9"), rf"\boxed{{{'9' * 513}}}")
  assert verdict == Verdict(0.0, "too long", None)
  long = "x+" * 400 + "1"
  assert VERIFIERS["boxed"](problem(long), rf"\boxed{{{long}}}").reward == 1.0
