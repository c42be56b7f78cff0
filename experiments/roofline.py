"""Compare update and decoding, at two widths, with the machine's peak rates.

Matmul, update and decoding are timed in turn (A B C A B C), and a share is the
median over turns. Two times bound a decoding step from below: its arithmetic at
the matmul's rate, and reading its weights and the filled part of its cache at
the rate of a sum. The longer of the two is the roofline, in float32. A second
line decodes with operands of dense products in bfloat16.
"""

from collections.abc import Callable
import functools
import statistics
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from entrojax import control, objectives
from entrojax.models import DecoderConfig, decoder
from entrojax.objectives import aggregation
from entrojax.rollouts.sampler import Sampling, generate, make_sampler
from entrojax.types import Model, Params, Prompts, Responses, Rollout
from entrojax.update.optimizer import make_optimizer
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_batch, make_update
from experiments import machine
from experiments.scale import SMALL

_GROUP, _PROMPT, _RESPONSE = 8, 16, 64  # responses to a prompt; tokens
_TOKENS_AT_ONCE = 2048  # response tokens of a micro-batch, about


class Shape(NamedTuple):
  """A model, and the number of rows that it decodes and learns from."""

  name: str
  sizes: DecoderConfig
  rows: int


SHAPES = (
  Shape("width 128, 256 rows", SMALL, 256),
  Shape(
    "width 512, 64 rows",
    DecoderConfig(
      vocab_size=64,
      hidden_size=512,
      intermediate_size=2048,
      num_hidden_layers=4,
      num_attention_heads=8,
      num_key_value_heads=4,
      head_dim=64,
    ),
    64,
  ),
)


def print_roofline(repeats: int) -> None:
  """Print the rates of each shape, and their shares of the peak rates."""
  rate, size = machine.matmul_peak(repeats)
  bandwidth = machine.read_bandwidth(repeats)
  print(
    f"{jax.device_count()} x {jax.devices()[0].device_kind}: float32 matmul "
    f"{rate / 1e9:.0f} GFLOP/s ({size} x {size}), reading "
    f"{bandwidth / 1e9:.1f} GB/s; {_PROMPT} + {_RESPONSE} tokens, medians of "
    f"{repeats} turns"
  )
  multiply = machine.make_multiply(size)
  for shape in SHAPES:
    _print_shape(shape, multiply, 2 * size**3, bandwidth, repeats)


def _print_shape(
  shape: Shape,
  multiply: Callable[[], jax.Array],
  multiply_flops: float,
  bandwidth: float,
  repeats: int,
) -> None:
  """Time one shape and print its two lines.

  Args:
    shape: the model and its rows.
    multiply: the matmul to compare with.
    multiply_flops: its floating-point operations.
    bandwidth: bytes per second that the machine reads.
    repeats: turns.
  """
  model = decoder(shape.sizes)
  params = jax.jit(model.init)(jax.random.key(0))
  decoders = {
    name: _make_decode(decoder(shape.sizes, product_dtype=name), params, shape)
    for name in ("float32", "bfloat16")
  }
  update = _make_update(model, params, decoders["float32"]())
  learning, least, shares = [], [], []
  decoding: dict[str, list[float]] = {name: [] for name in decoders}
  for _ in range(repeats):
    rate = multiply_flops / machine.seconds(multiply)
    learning.append(machine.seconds(update))
    for name, decode in decoders.items():
      decoding[name].append(machine.seconds(decode))
    least.append(_least_seconds(shape, rate, bandwidth))
    shares.append(_update_flops(shape) / learning[-1] / rate)
  took = statistics.median(learning)
  print(
    f"{shape.name}\n  update {1e3 * took:8.1f} ms"
    f"   {_update_flops(shape) / took / 1e9:6.1f} GFLOP/s of the model"
    f"   {statistics.median(shares):6.1%} of the matmul's"
  )
  for name, times in decoding.items():
    _print_decoding(shape, name, times, least)


def _print_decoding(
  shape: Shape,
  name: str,
  times: list[float],
  least: list[tuple[float, float]],
) -> None:
  """Print the line of one type of the products' operands.

  Args:
    shape: the model and its rows.
    name: the type.
    times: of whole rollouts, in seconds, one for each turn.
    least: what `_least_seconds` returns in the same turns.
  """
  median = statistics.median
  step = median(times) / _RESPONSE
  bound = median(
    sum(pair) / took for pair, took in zip(least, times, strict=True)
  )
  arithmetic = median(pair[0] for pair in least)
  print(
    f"  decode {1e3 * step:8.2f} ms a step"
    f"   {shape.rows / step:8.0f} tokens/s   {bound:6.1%} of the roofline, "
    f"{arithmetic / median(map(sum, least)):.0%} of it arithmetic; "
    f"operands in {name}",
    flush=True,
  )


def _update_flops(shape: Shape) -> float:
  """Return the update's FLOPs, which are three forward passes."""
  prompts = shape.rows // _GROUP * _PROMPT
  tokens = shape.rows * (_RESPONSE - 1)
  forward = machine.forward_flops(shape.sizes, prompts, _PROMPT / 2, 0)
  forward += machine.forward_flops(
    shape.sizes, tokens, _PROMPT + _RESPONSE / 2, shape.rows * _RESPONSE
  )
  return 3 * forward


def _least_seconds(
  shape: Shape, rate: float, bandwidth: float
) -> tuple[float, float]:
  """Compute the least time of a rollout in two parts, in seconds.

  Args:
    shape: the model and its rows.
    rate: FLOP/s of the matmul.
    bandwidth: bytes per second that the machine reads.

  Returns:
    The time of the prompts and of the decoding steps that arithmetic bounds,
    and the time of the steps that reading bounds.
  """
  prompts = shape.rows // _GROUP * _PROMPT
  bounded = {
    True: machine.forward_flops(shape.sizes, prompts, _PROMPT / 2, 0) / rate,
    False: 0.0,
  }
  for step in range(_RESPONSE):
    context = _PROMPT + step
    flops = machine.forward_flops(shape.sizes, shape.rows, context, shape.rows)
    read = machine.step_bytes(shape.sizes, shape.rows, context) / bandwidth
    bounded[flops / rate >= read] += max(flops / rate, read)
  return bounded[True], bounded[False]


def _make_decode(
  model: Model, params: Params, shape: Shape
) -> Callable[[], Rollout]:
  """Build a function that samples responses of full length."""
  count = shape.rows // _GROUP
  prompts = Prompts(
    tokens=jnp.full((count, _PROMPT), 3, jnp.int32),
    mask=jnp.ones((count, _PROMPT), jnp.float32),
    ids=jnp.arange(count, dtype=jnp.int32),
  )
  run = jax.jit(
    functools.partial(
      generate,
      model,
      sampling=Sampling(
        group_size=_GROUP,
        response_length=_RESPONSE,
        eos_ids=(),
        pad_id=0,
        sampler=make_sampler(),
      ),
    )
  )
  return functools.partial(run, params, prompts, jax.random.key(1))


def _make_update(
  model: Model, params: Params, rollout: Rollout
) -> Callable[[], object]:
  """Build a function that makes an update of GRPO.

  A first update is made here, so that none of the timed ones compiles.
  """
  optimizer = make_optimizer(
    control.no_control(),
    lambda count: 1e-3,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    max_grad_norm=1.0,
  )
  rows = rollout.tokens.shape[0]
  update = jax.jit(
    make_update(
      model,
      {"ppo_clip": objectives.ppo_clip(clip_low=0.2, clip_high=0.2)},
      aggregation.token_mean,
      optimizer,
      group_size=_GROUP,
      split=BatchSplit(
        num_microbatches=max(rows * _RESPONSE // _TOKENS_AT_ONCE, 1),
        rematerialise=False,
      ),
    ),
    donate_argnums=0,
  )
  state = init_state(jax.tree.map(jnp.copy, params), optimizer)
  signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], rows))
  batch = make_batch(rollout, Responses(rewards=signs, advantages=signs))

  def run():
    nonlocal state
    state, metrics = update(state, None, batch, jax.random.key(1))
    return state, metrics

  jax.block_until_ready(run())
  return run
