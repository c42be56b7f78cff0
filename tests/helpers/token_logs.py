"""Invent the tokens of evaluations, as a run would keep them.

The texts are right sums, and one hostile response: tags, an escape sequence of
a terminal, right-to-left marks and a token of 5,000 characters.
"""

import numpy as np

from entrojax.reporting.token_logs import TokenSamples

HOSTILE = (
  *("<script>alert('x')</script>", "</td>", "&amp;", "\x1b[31mred", "\u202e"),
  *("שלום", "\u200f", "%{x}", "x" * 5000, "\n", ""),
)


def make_samples(
  pieces, *, entropy, base_entropy=None, log_probs=None, base_log_probs=None,
  data="sums", step=0, prompts=None, rewards=None, advantages=None, top=None,
  touched=None,
):  # fmt: skip
  """Build the samples of responses that are given as lists of pieces.

  Equal pieces are the same token; "" is <eos>. Arrays are of all tokens, one
  response after the other. What is left out is invented.
  """
  flat = [piece for response in pieces for piece in response]
  vocabulary = sorted(set(flat))
  starts = []
  for response in pieces:
    lengths = np.cumsum([0, *map(len, response)])
    starts += lengths[:-1].tolist()
  entropy = np.asarray(entropy, np.float32)
  if log_probs is None:
    log_probs = -entropy
  number = len(pieces)
  return TokenSamples(
    data=data,
    step=step,
    rollout_step=step,
    prompts=prompts or [f"prompt {i}" for i in range(number)],
    texts=["".join(response) for response in pieces],
    reasons=["correct"] * number,
    names={i: piece or "<eos>" for i, piece in enumerate(vocabulary)},
    rewards=np.ones(number) if rewards is None else np.array(rewards),
    advantages=np.zeros(number) if advantages is None else np.array(advantages),
    lengths=np.array([len(response) for response in pieces]),
    ids=np.array([vocabulary.index(piece) for piece in flat]),
    starts=np.array(starts),
    log_probs=np.asarray(log_probs),
    entropy=entropy,
    base_log_probs=np.asarray(
      log_probs if base_log_probs is None else base_log_probs
    ),
    base_entropy=np.asarray(entropy if base_entropy is None else base_entropy),
    top=np.tile(np.log([0.6, 0.2, 0.1]), (len(flat), 1))
    if top is None
    else np.asarray(top),
    touched=touched or {},
  )


def noisy_samples(rng, part, *, data="sums", step=0, members=("ppo_clip",)):
  """Invent 8 prompts with 2 responses each, after a part of a run."""
  pieces = []
  for response in range(16):
    digits = [str(x) for x in rng.integers(10, size=rng.integers(8, 25))]
    signs = rng.choice(["+", "-", "*", "(", ")", "\n"], len(digits))
    words = [x for pair in zip(digits, signs, strict=True) for x in pair]
    pieces.append([*HOSTILE] if response == 3 else [*words, ""])
  number = sum(map(len, pieces))
  base = rng.gamma(0.5, 1.0, number)
  entropy = base * (1 - 0.7 * part * rng.random(number))
  base_log_probs = -base * rng.exponential(1.0, number)
  first = np.exp(-entropy)
  rest = (1 - first) / 2
  top = np.log(np.stack([first, rest, rest / 2, rest / 4, rest / 8], axis=1))
  return make_samples(
    pieces,
    entropy=entropy,
    base_entropy=base,
    log_probs=base_log_probs * (1 - 0.6 * part * rng.random(number)),
    base_log_probs=base_log_probs,
    data=data,
    step=step,
    prompts=[f"{i // 2} 7 9 9=10:" for i in range(16)],
    rewards=rng.integers(2, size=16),
    advantages=rng.normal(size=16),
    top=top,
    touched={name: rng.random(number) < 0.1 for name in members},
  )
