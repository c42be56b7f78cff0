r"""Construct gold answers of mathematics, with right and wrong answers to them.

The golds have the forms and shares of MATH's: integers, fractions, decimals,
money, percentages, degrees, units, tuples, intervals, solution sets, roots,
polynomials, matrices, letters and words. This file imports no grader. A wrong
answer differs from its gold in value by construction: it is built from another
number, not found by comparing texts.

    python -m tests.helpers.math_golds boxed qwen

prints how many of some 10,700 wrong answers these graders accept, and how many
right ones they refuse, by kind; without names, for all graders.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
import math
import random
import sys
from typing import NamedTuple


class Case(NamedTuple):
  """A gold answer with other spellings of it and with wrong answers."""

  kind: str
  gold: str
  right: Sequence[str]  # as models write them
  wrong: Sequence[str]  # of another value
  # right, but in another form, which only algebra finds equal
  forms: Sequence[str] = ()


def latex(value: Fraction, command: str = "frac") -> str:
  if value.denominator == 1:
    return str(value.numerator)
  sign = "-" if value < 0 else ""
  return rf"{sign}\{command}{{{abs(value.numerator)}}}{{{value.denominator}}}"


def plain(value: Fraction) -> str:
  return str(value)


def decimal(value: Fraction, digits: int) -> str:
  scaled = value * 10**digits
  assert scaled.denominator == 1
  text = f"{abs(scaled.numerator):0{digits + 1}d}"
  sign = "-" if value < 0 else ""
  return f"{sign}{text[:-digits]}.{text[-digits:]}"


def thousands(value: int, separator: str) -> str:
  return f"{value:,}".replace(",", separator)


def another(rng: random.Random, value: int) -> int:
  """Draw an integer that is not `value`, near it more often than not."""
  candidates = (value + 1, value - 1, value + 2, value + 10, value * 10)
  other = rng.choice((*candidates, rng.randint(-99, 999)))
  return value + 3 if other == value else other


def integer(rng) -> Case:
  n = rng.choice((rng.randint(-99, 99), rng.randint(100, 999_999)))
  right = [f"{n}", f"{n}.0", f"${n}$", f"x = {n}", rf"\({n}\)", f"{n}."]
  if n > 999:
    right += [thousands(n, s) for s in (",", "{,}", r",\!", r"\,")]
  wrong = [str(another(rng, n)) for _ in range(8)]
  wrong += [f"{n}.5", f"{n}.0001", f"({n},{n})"]
  wrong += [rf"{n}\pi", f"{n}x"] if n else []
  wrong += [f"{n}_8"] if n > 9 else []
  wrong += [f"{10 * n + 1}/10", rf"{n}\text{{ million}}"] if n else []
  wrong += [str(-n), f"1/{n}"] if abs(n) > 1 else []
  return Case("integer", str(n), right, wrong)


def fraction(rng) -> Case:
  bottom = rng.choice((*range(2, 20), rng.randint(20, 3_000)))
  tops = [n for n in range(1, 2 * bottom) if math.gcd(n, bottom) == 1]
  top = rng.choice(tops)
  value = Fraction(rng.choice((1, 1, -1)) * top, bottom)
  right = [latex(value, c) for c in ("frac", "dfrac", "tfrac")]
  right += [plain(value), f"x={latex(value)}"]
  right.append(rf"\frac{{{value.numerator}}}{{{bottom}}}")
  if top < 10 and bottom < 10 and value > 0:
    right.append(rf"\frac{top}{bottom}")
  if bottom in (2, 4, 5, 8, 20):
    right.append(decimal(value, 3))
  others = [
    Fraction(value.numerator + 1, bottom),
    Fraction(value.numerator, bottom + 1),
    Fraction(value.numerator - 1, bottom - 1),
    -value,
    1 / value,
    value + Fraction(1, 10_000),
  ]
  wrong = [latex(v) for v in others if v != value]
  rounded = f"{float(value):.6f}"
  if Fraction(rounded) != value:
    wrong.append(rounded)
  return Case("fraction", latex(value), right, wrong)


def exact_decimal(rng) -> Case:
  digits = rng.choice((1, 2, 2, 3))
  n = rng.randint(1, 9_999)
  n += n % 10 == 0
  value = Fraction(n, 10**digits)
  text = decimal(value, digits)
  right = [text, text + "0", latex(value), f"x = {text}", f"${text}$"]
  right += [text[1:]] if text[0] == "0" else []
  others = [another(rng, n) for _ in range(6)]
  wrong = [decimal(Fraction(k, 10**digits), digits) for k in others if k != n]
  wrong += [text + "1", text + "4", decimal(value * 10, digits)]
  wrong += [f"{text}01", f"-{text}"]
  return Case("decimal", text, right, wrong)


def money(rng) -> Case:
  cents = rng.randint(100, 999_999)
  cents += cents % 10 == 0
  value = Fraction(cents, 100)
  text = decimal(value, 2)
  whole, _, part = text.partition(".")
  marked = thousands(int(whole), ",") + "." + part
  gold = rng.choice((rf"\${text}", text, marked))
  right = [rf"\${text}", text, rf"{text}\text{{ dollars}}", marked, f"{text}."]
  wrong = [decimal(Fraction(another(rng, cents), 100), 2) for _ in range(6)]
  wrong += [whole, rf"\${decimal(value + Fraction(1, 100), 2)}", f"{text}4"]
  if "$" in gold:
    wrong.append(rf"{text}\text{{ cents}}")
  return Case("money", gold, right, wrong)


def percent(rng) -> Case:
  n = rng.choice((rng.randint(1, 99), rng.randint(100, 300)))
  gold = rng.choice((rf"{n}\%", rf"{n}\%", f"{n}%"))
  right = [rf"{n}\%", f"{n}%", rf"{n} \%", str(n), rf"{n}\text{{ percent}}"]
  right.append(decimal(Fraction(n, 100), 2))
  wrong = [rf"{another(rng, n)}\%" for _ in range(6)]
  wrong += [rf"{n}00\%", str(n + 1), decimal(Fraction(n + 1, 100), 2)]
  return Case("percent", gold, right, wrong)


def degrees(rng) -> Case:
  n = rng.randint(1, 359)
  gold = rng.choice((rf"{n}^\circ", rf"{n}^{{\circ}}"))
  right = [rf"{n}^\circ", rf"{n}^{{\circ}}", str(n), f"{n}°", f"{n} degrees"]
  right += [rf"{n}\text{{ degrees}}", rf"\theta = {n}^\circ"]
  wrong = [rf"{another(rng, n)}^\circ" for _ in range(6)]
  wrong += [rf"{n}\pi", rf"{n}\text{{ radians}}", rf"\frac{{{n}\pi}}{{180}}"]
  return Case("degrees", gold, right, wrong)


def unit(rng) -> Case:
  n = rng.randint(2, 999)
  name, long, other = rng.choice(
    (
      ("cm", "centimeters", "m"),
      ("feet", "ft", "inches"),
      ("hours", "hours", "minutes"),
      ("square units", "square units", "units"),
      ("m^2", "square meters", "m"),
      ("ways", "ways", "days"),
    )
  )
  base, _, power = name.partition("^")
  power = f"^{power}" if power else ""
  gold = rf"{n}\text{{ {base}}}{power}"
  right = [gold, str(n), rf"{n}\,\mathrm{{{base}}}{power}", f"x = {n}"]
  right += [rf"{n} \text{{ {long}}}", rf"{n}\text{{ {long}}}."]
  wrong = [rf"{another(rng, n)}\text{{ {base}}}{power}" for _ in range(6)]
  wrong += [rf"{n}\text{{ {other}}}", str(n + 1), f"{n}x"]
  return Case("unit", gold, right, wrong)


def values(rng, count: int) -> list[Fraction]:
  """Draw distinct numbers, most of them integers."""
  numbers: set[Fraction] = set()
  while len(numbers) < count:
    numbers.add(Fraction(rng.randint(-12, 30), rng.choice((1, 1, 1, 2, 3))))
  return rng.sample(sorted(numbers), count)


def point(rng) -> Case:
  v = values(rng, rng.choice((2, 2, 3)))
  texts = [latex(x) for x in v]
  gold = rng.choice(("({})", r"\left( {} \right)")).format(", ".join(texts))
  right = [f"({','.join(texts)})", rf"\left({', '.join(texts)}\right)"]
  right += [f"({', '.join(map(plain, v))})"]
  right += [f"(x,y)=({','.join(texts)})"] if len(v) == 2 else []
  changed = [*v[:-1], v[-1] + 1]
  wrong = [f"({','.join(map(latex, reversed(v)))})"]
  wrong += [f"({','.join(map(latex, changed))})", f"({','.join(texts)},1)"]
  wrong += [rf"\{{{','.join(texts)}\}}", f"({','.join(texts[1:])})"]
  wrong += [f"[{','.join(texts)}]"]
  return Case("point", gold, right, wrong)


def interval(rng) -> Case:
  low, high = sorted(values(rng, 2))
  left, right_ = rng.choice("(["), rng.choice(")]")
  ends = (latex(low), latex(high))
  gold = f"{left}{ends[0]},{ends[1]}{right_}"
  right = [rf"\left{left}{ends[0]}, {ends[1]}\right{right_}", f"x \\in {gold}"]
  right += [f"{left}{plain(low)}, {plain(high)}{right_}"]
  flip = {"(": "[", "[": "(", ")": "]", "]": ")"}
  wrong = [flip[left] + gold[1:], gold[:-1] + flip[right_]]
  wrong += [f"{left}{latex(low)},{latex(high + 1)}{right_}", rf"\{{{low}\}}"]
  return Case("interval", gold, right, wrong)


def solutions(rng) -> Case:
  v = values(rng, rng.choice((2, 2, 3)))
  texts = [latex(x) for x in v]
  mixed = list(reversed(texts))
  gold = rng.choice((", ".join(texts), ",".join(texts)))
  if rng.random() < 0.3:
    gold = rf"\{{{gold}\}}"
  right = [", ".join(mixed), ",".join(texts), rf"\{{{', '.join(mixed)}\}}"]
  right += [r" \text{ or } ".join(f"x = {t}" for t in texts)]
  right += [r" \text{ and } ".join(mixed), f"x = {', '.join(texts)}"]
  wrong = [", ".join(texts[1:]), ", ".join([*texts, "77"])]
  wrong += [", ".join([*texts[:-1], latex(v[-1] + 1)])]
  wrong += [f"({', '.join(texts)})", ", ".join([texts[0]] * len(texts))]
  return Case("solutions", gold, right, wrong)


def root(rng) -> Case:
  inside = rng.choice([n for n in range(2, 99) if math.isqrt(n) ** 2 != n])
  outer = rng.choice(("", "2", "3", "5", "12", r"\frac{1}{2}", "-"))
  gold = rf"{outer}\sqrt{{{inside}}}"
  right = [gold, f"x = {gold}", rf"{outer} \sqrt{{{inside}}}", f"${gold}$"]
  right += [f"{outer}√{inside}", f"{outer}√{{{inside}}}"]
  right += [rf"{outer}\sqrt{inside}"] if inside < 10 else []
  wrong = [rf"{outer}\sqrt{{{inside + 1}}}", rf"{outer}\sqrt{{{inside}1}}"]
  wrong += [f"{outer}√{inside}{rng.randint(0, 9)}", rf"{outer or 1}{inside}"]
  wrong += [rf"{outer}\sqrt[3]{{{inside}}}", f"{math.sqrt(inside):.6f}"]
  wrong += [rf"\sqrt{inside}"] if inside > 9 else []  # the root of one digit
  forms = [rf"\sqrt{{{int(outer) ** 2 * inside}}}"] if outer.isdigit() else []
  forms.append(rf"{outer}\frac{{{inside}}}{{\sqrt{{{inside}}}}}")
  return Case("root", gold, right, wrong, forms)


def pi(rng) -> Case:
  value = Fraction(rng.randint(1, 60), rng.choice((1, 1, 2, 3, 4)))
  text = "" if value == 1 else latex(value)
  top = "" if value.numerator == 1 else value.numerator
  split = rf"\frac{{{top}\pi}}{{{value.denominator}}}"
  gold = rf"{text}\pi" if value.denominator == 1 else split
  right = [gold, rf"{text}\pi", f"{text}π", rf"{text} \pi", rf"A = {gold}"]
  wrong = [rf"{latex(value + 1)}\pi", latex(value), rf"{gold}^2"]
  wrong += [rf"{latex(-value)}\pi", f"{float(value) * 3.14:.2f}"]
  return Case(
    "pi", gold, right, wrong, [rf"\frac{{1}}{{2}}\cdot {gold}\cdot 2"]
  )


def polynomial(rng) -> Case:
  a, b, c = rng.randint(2, 9), rng.randint(1, 9), rng.randint(1, 30)
  name = rng.choice(("", "", "y = ", "f(x) = "))
  body = f"{a}x^2+{b}x-{c}"
  right = [body, f"{a}x^2 + {b}x - {c}", f"{a}x^{{2}}+{b}x-{c}", name + body]
  right += [rf"{a} x^2 + {b} x - {c}"]
  wrong = [f"{a}x^2-{b}x-{c}", f"{a}x^2+{b}x-{c + 1}", f"{a}x^3+{b}x-{c}"]
  wrong += [f"{a + 1}x^2+{b}x-{c}", f"{a}y^2+{b}y-{c}", f"{a}x^2+{b}x"]
  forms = [f"-{c}+{b}x+{a}x^2", f"x({a}x+{b})-{c}"]
  return Case("polynomial", name + body, right, wrong, forms)


def matrix(rng) -> Case:
  v = values(rng, 4)
  cells = [latex(x) for x in v]

  def build(cells, rows=2, space=" "):
    width = len(cells) // rows
    lines = [
      f"{space}&{space}".join(cells[i : i + width])
      for i in range(0, len(cells), width)
    ]
    inside = rf"{space}\\{space}".join(lines)
    return rf"\begin{{pmatrix}}{space}{inside}{space}\end{{pmatrix}}"

  gold = build(cells, rng.choice((2, 4)))
  rows = 4 if "&" not in gold else 2
  right = [build(cells, rows, ""), build(cells, rows)]
  right += [build([plain(x) for x in v], rows)]
  wrong = [
    build([*cells[:-1], latex(v[-1] + 1)], rows),
    build(cells[::-1], rows),
  ]
  wrong += [build(cells, 6 - rows), build(cells[:2], rows // 2)]
  return Case("matrix", gold, right, wrong)


def letter(rng) -> Case:
  choice = rng.choice("ABCDE")
  gold = rng.choice(
    (choice, rf"\text{{({choice})}}", rf"\textbf{{({choice})}}")
  )
  right = [
    choice,
    f"({choice})",
    rf"\text{{{choice}}}",
    rf"\text{{({choice})}}",
  ]
  others = [c for c in "ABCDE" if c != choice]
  return Case("letter", gold, right, [*others, *(f"({c})" for c in others)])


def word(rng) -> Case:
  words = (
    "even",
    "odd",
    "Monday",
    "No solution",
    "neither",
    "ellipse",
    "Evelyn",
  )
  chosen = rng.choice(words)
  gold = rng.choice((chosen, rf"\text{{{chosen}}}", f"{chosen}."))
  right = [chosen, rf"\text{{{chosen}}}", chosen.lower(), rf"\mbox{{{chosen}}}"]
  return Case("word", gold, right, [w for w in words if w != chosen] + ["7"])


def base(rng) -> Case:
  radix = rng.choice((2, 3, 5, 7, 8))
  digits = "1" + "".join(str(rng.randrange(radix)) for _ in range(4))
  right = [f"{digits}_{radix}", f"{digits}_{{{radix}}}", f"${digits}_{radix}$"]
  wrong = [digits, f"{digits}_{radix + 1}", f"{int(digits) + 1}_{radix}"]
  wrong += [str(int(digits, radix))]
  return Case("base", f"{digits}_{radix}", right, wrong)


# how often a kind is drawn; roughly the shares of MATH
KINDS: dict[Callable[[random.Random], Case], int] = {
  **{integer: 40, fraction: 14, exact_decimal: 6, money: 3, percent: 3},
  **{degrees: 3, unit: 4, point: 5, interval: 3, solutions: 5, root: 5},
  **{pi: 3, polynomial: 4, matrix: 2, letter: 2, word: 2, base: 2},
}


def cases(count: int, seed: int = 0) -> list[Case]:
  """Draw cases with distinct golds and without duplicates in their answers."""
  rng = random.Random(seed)
  by_name: dict[str, Case] = {}
  kinds, weights = list(KINDS), list(KINDS.values())
  while len(by_name) < count:
    case = rng.choices(kinds, weights)[0](rng)
    if case.kind in ("word", "letter") or case.gold not in by_name:
      by_name[f"{case.gold} {len(by_name)}"] = case._replace(
        right=list(dict.fromkeys(case.right)),
        wrong=list(dict.fromkeys(case.wrong)),
      )
  return list(by_name.values())


def reference(case: Case) -> str:
  """Write a solution as MATH's: text, formulas and the gold in the last box."""
  return (
    rf"We have $\frac{{6}}{{2}} = \boxed{{3}}$ cases. In each, Lemma 2 gives "
    rf"the value $\boxed{{{case.gold}}}$."
  )


class Measurement(NamedTuple):
  """What a grader accepts and refuses, as numbers of answers of each kind."""

  accepted: Counter[str]  # of the wrong answers
  refused: Counter[str]  # of the right ones
  other_forms: Counter[str]  # refused, of the right ones in another form
  own: Counter[str]  # refused reference solutions


def measure(verify, constructed: Sequence[Case], mark: str) -> Measurement:
  """Judge the answers of all cases.

  Args:
    verify: the verifier of a grader.
    constructed: the cases.
    mark: the text around an answer that the grader looks for.
  """
  from entrojax.rollouts.rewards import verify_responses
  from entrojax.types import Problem

  def count(pairs, verdict: bool) -> Counter[str]:
    problems = [Problem("?", {"gold": [case.gold]}) for case, _ in pairs]
    texts = [text for _, text in pairs]
    rows = [
      row
      for i in range(0, len(pairs), 1_000)  # batches have a time limit
      for row in verify_responses(
        problems[i : i + 1_000], texts[i : i + 1_000], verify
      )
    ]
    return Counter(
      case.kind
      for (case, _), (row,) in zip(pairs, rows, strict=True)
      if bool(row.reward) == verdict
    )

  def answers(field: str) -> list[tuple[Case, str]]:
    return [(c, mark.format(a)) for c in constructed for a in getattr(c, field)]

  return Measurement(
    count(answers("wrong"), True),
    count(answers("right"), False),
    count(answers("forms"), False),
    count([(c, reference(c)) for c in constructed], False),
  )


def main() -> None:
  from entrojax.tasks.math_answers import GRADERS, make_grader, make_verifier

  constructed = cases(1_100)
  totals = [sum(len(c[i]) for c in constructed) for i in (2, 3, 4)]
  print("{} right answers, {} wrong, {} in another form".format(*totals))
  for name in sys.argv[1:] or GRADERS:
    try:
      verify = make_verifier(make_grader(name))
    except ValueError as error:
      print(f"{name}: {error}")
      continue
    mark = "Answer: {}" if name == "dapo" else r"\boxed{{{}}}"
    for field, counts in measure(verify, constructed, mark)._asdict().items():
      print(f"{name:12} {field:12} {counts.total():6} {dict(counts)}")


if __name__ == "__main__":
  main()
