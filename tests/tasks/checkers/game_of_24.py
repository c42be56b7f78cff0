"""Check expressions that make 24."""

from tests.tasks.checkers.countdown import check as check

HAND = {"numbers": [4, 7, 8, 8], "target": 24}
BY_HAND = [
  (HAND, "(7-8/8)*4", "correct"),
  (HAND, "8*(7-4)", "wrong numbers"),
  (HAND, "4+7+8+8", "wrong value"),
]
