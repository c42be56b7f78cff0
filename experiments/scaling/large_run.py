"""Apply the laws of growth to a run that is too large to try.

10^5 prompts with 16 responses of up to 32k tokens each, Qwen2.5-7B, on 4,096
v5p chips: 16 slices of 256 chips, which all hold the same policy. Nothing here
was run. Rates are the chip's own. The rehearsal of 64 chips says which share of
them an update reaches.
"""

from typing import NamedTuple

from entrojax.models import DecoderConfig
from experiments.chips import CHIPS
from experiments.machine import forward_flops, step_bytes
from experiments.model_sizes import SIZES

_CHIP = CHIPS["v5p"]
_NUM_SLICES, _CHIPS_OF_A_SLICE, _CHIPS_OF_A_HOST = 16, 256, 4
_PROMPTS, _GROUP = 100_000, 16
_PROMPT, _LIMIT = 1024, 32_768  # tokens
_PROMPTS_AT_ONCE = 4096  # of a rollout batch
_MEAN = _LIMIT / 2  # tokens of a response
# of the products' peak, by the rehearsal of configs/qwen25_7b_dapo.py
_UTILISATION = 0.596
# CPU seconds per response, by experiments.time_verification: 31.2 for 8,192
_SECONDS_OF_A_VERDICT = 31.2 / 8192
_NETWORK = 25e9 / 8  # bytes per second of a host between slices, a guess
_STORE = 10e9  # bytes per second that a store takes from all hosts, a guess


class Figure(NamedTuple):
  """A row of the table."""

  what: str
  value: str
  why: str


def figures() -> list[Figure]:
  """Return what the run needs, part by part."""
  sizes = SIZES["Qwen2.5-7B"]
  return [
    *_work(sizes),
    *_between_slices(sizes),
    *_of_a_host(),
    *_checkpoints(sizes),
  ]


def num_weights(sizes: DecoderConfig) -> float:
  """Return the number of weights in a decoder's matrices."""
  # a forward pass of one token, whose word is predicted, uses each weight once
  used = forward_flops(sizes, tokens=1, context=0, predicted=1) / 2
  unused = 0 if sizes.tie_word_embeddings else 1
  return used + unused * sizes.vocab_size * sizes.hidden_size


def _work(sizes: DecoderConfig) -> list[Figure]:
  """Return the rollout steps and their time."""
  chips = _NUM_SLICES * _CHIPS_OF_A_SLICE
  rows = _PROMPTS_AT_ONCE * _GROUP
  steps = _PROMPTS / _PROMPTS_AT_ONCE
  tokens = rows * _MEAN
  # three forward passes' worth of products, as three units
  flops = 3 * forward_flops(sizes, tokens, _PROMPT + _MEAN / 2, tokens)
  update = flops / chips / _CHIP.flops / _UTILISATION
  # weights and cache are bfloat16 here, half of float32
  read = step_bytes(sizes, rows // chips, _PROMPT + _MEAN / 2) / 2
  decoding = _LIMIT * read / _CHIP.bandwidth
  return [
    Figure(
      "rollout steps",
      f"{steps:.0f}",
      f"{_PROMPTS:,} prompts, {_PROMPTS_AT_ONCE:,} at once: {rows // chips} "
      "responses per chip",
    ),
    Figure(
      "update of a rollout step",
      f"{update:,.0f} s",
      f"{flops:.2g} FLOP at {_UTILISATION:.0%} of the peak, without the "
      "padding of responses",
    ),
    Figure(
      "sampling of a rollout step, at least",
      f"{decoding:,.0f} s",
      f"{_LIMIT:,} decoding steps, because the longest response is waited "
      f"for. A step reads the weights and the cache, {read / 1e9:.0f} GB per "
      "chip, if every chip has all weights",
    ),
    Figure(
      "the whole run, at least",
      f"{steps * (update + decoding) / 3600:.1f} hours",
      "sampling and update in turn",
    ),
  ]


def _between_slices(sizes: DecoderConfig) -> list[Figure]:
  """Return what an optimizer step sends from slice to slice."""
  gradient = 4 * num_weights(sizes)
  sent = 2 * (_NUM_SLICES - 1) / _NUM_SLICES * gradient
  hosts = _CHIPS_OF_A_SLICE / _CHIPS_OF_A_HOST
  return [
    Figure(
      "sent by each slice in an optimizer step",
      f"{sent / 1e9:.0f} GB",
      "the float32 gradient, summed over 16 slices. It does not grow with the "
      "batch or the length",
    ),
    Figure(
      "time of this",
      f"{sent / hosts / _NETWORK:.2f} s",
      f"{hosts:.0f} hosts per slice with 25 Gbit/s each, a guess",
    ),
  ]


def _of_a_host() -> list[Figure]:
  """Return the memory and the work of a host."""
  chips = _NUM_SLICES * _CHIPS_OF_A_SLICE
  hosts = chips // _CHIPS_OF_A_HOST
  rows = _PROMPTS_AT_ONCE * _GROUP // hosts
  # i32 tokens and positions of prompt and response; f32 mask, log-probs and
  # entropy of the response
  arrays = rows * 4 * (2 * (_PROMPT + _LIMIT) + 3 * _LIMIT)
  return [
    Figure(
      "arrays of a rollout on a host",
      f"{arrays / 1e6:.0f} MB",
      f"{rows} responses, 20 bytes per place: a host copies its own rows only",
    ),
    Figure(
      "verification on a host, per rollout step",
      f"{rows * _SECONDS_OF_A_VERDICT:.2f} CPU s",
      f"{rows} responses at {1e3 * _SECONDS_OF_A_VERDICT:.1f} ms on average. "
      "5 % of them hang until their time limit",
    ),
  ]


def _checkpoints(sizes: DecoderConfig) -> list[Figure]:
  """Return the size of a checkpoint and the time that it takes."""
  hosts = _NUM_SLICES * _CHIPS_OF_A_SLICE // _CHIPS_OF_A_HOST
  size = 12 * num_weights(sizes)
  of_a_slice = size / (hosts // _NUM_SLICES)
  return [
    Figure(
      "a checkpoint",
      f"{size / 1e9:.0f} GB",
      "float32 weights and two moments, 12 bytes per weight, written once by "
      f"the hosts of one slice: {of_a_slice / 1e9:.1f} GB each",
    ),
    Figure(
      "time of this",
      f"{size / _STORE:.0f} s",
      "a store that takes 10 GB per second, a guess; it is written beside the "
      "next rollout",
    ),
  ]
