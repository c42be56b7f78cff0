"""Check sorted words."""

WORDS = {"solution": "abe,tof,tok"}
BY_HAND = [
  (WORDS, "abe,tof,tok", "correct"),
  (WORDS, "abe,tok,tof", "wrong order"),
  (WORDS, "abe,tof", "wrong words"),
  (WORDS, "abe,tof,tok,", "wrong words"),
  (WORDS, "abe, tof, tok", "unparseable"),
  (WORDS, "Abe,tof,tok", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  return text == ",".join(sorted(prompt.rstrip(":").split(",")))
