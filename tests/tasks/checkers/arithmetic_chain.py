"""Check chains of operations."""

import re

from entrojax.tasks.families.arithmetic_chain import judge_steps

judge = judge_steps
CHAIN = {"steps": ["7", "14", "9"]}  # 3+4*2-5
BY_HAND = [
  (CHAIN, "7;14;9", "correct"),
  (CHAIN, "7; 14 ;9", "correct"),
  (CHAIN, "7;15;10", "wrong step"),
  (CHAIN, "8;14;9", "wrong step"),
  (CHAIN, "9", "wrong step"),
  (CHAIN, "7;14", "too few steps"),
  (CHAIN, "7;14;9;9", "too many steps"),
  (CHAIN, "7;14;9;", "unparseable"),
  (CHAIN, "7;14;9.0", "unparseable"),
  (CHAIN, "7;1 4;9", "unparseable"),
  (CHAIN, "7;014;9", "wrong step"),
  (CHAIN, "", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  first, *rest = re.findall(r"[+*-]?[0-9]+", prompt)
  value, steps = int(first), []
  for part in rest:
    operand = int(part[1:])
    if part[0] == "*":
      value *= operand
    else:
      value += operand if part[0] == "+" else -operand
    steps.append(value)
  return [step.strip(" ") for step in text.split(";")] == [
    f"{step}" for step in steps
  ]
