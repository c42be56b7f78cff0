"""Compute how a step changes the entropy of each token, to first order.

    H_t(theta)       entropy of the policy at token t, nats
    change_t         <grad H_t, step>, the derivative of H_t along the step

One pass gives the changes of all tokens, at the cost of a gradient. Their mean
over tokens is <grad H, step>, the first-order change of the mean entropy H, and
their sum over any group of tokens is exactly the share of this group.

Derivatives along a direction are usually computed in forward mode, which does
not pass through functions with a gradient of their own (jax.custom_vjp), such
as our dense layers and norms. But the gradient of sum_t u_t H_t is linear in u,
and the transpose of this linear function maps a step to the changes of all
tokens. Reverse mode and transposition pass through every function whose
gradient is made of ordinary operations. Fused TPU kernels cannot be transposed.

Shapes: B rows, T response tokens, L prompt and response tokens.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.system.sharding import split_rows
from entrojax.types import Array, Model, Params
from entrojax.update.scoring import score_in_microbatches


class TokenChanges(NamedTuple):
  """Tokens under one policy, and the derivative of their entropy."""

  log_probs: Array  # f32[B, T], nats
  entropy: Array  # f32[B, T], nats
  change: Array  # f32[B, T], nats, <grad H_t, step>


# (params, step, tokens i32[B, L], positions i32[B, L]) -> TokenChanges
MeasureTokens = Callable[[Params, Params, Array, Array], TokenChanges]


def make_token_changes(
  model: Model,
  *,
  response_length: int,
  group_size: int,
  temperature: float,
  num_microbatches: int,
  mesh: Mesh | None,
) -> MeasureTokens:
  """Build the function that measures tokens and their first-order changes.

  Args:
    model: the policy.
    response_length: T.
    group_size: G; G neighbouring rows have the same prompt.
    temperature: the sampling temperature, at which entropies are measured.
    num_microbatches: the rows are measured in this many parts, one after the
      other; a divisor of B.
    mesh: the mesh that the rows of each part are split over; None for a single
      device.
  """

  def measure(params, step, tokens, positions):
    def measure_rows(rows):
      def entropy_of(params):
        log_probs, entropy = score_in_microbatches(
          model,
          params,
          *rows,
          response_length=response_length,
          group_size=group_size,
          temperature=temperature,
          num_microbatches=1,
          rematerialise=False,
          mesh=mesh,
        )
        return entropy, log_probs

      entropy, change, log_probs = along(entropy_of, params, step)
      return TokenChanges(log_probs, entropy, change)

    rows = jax.tree.map(
      lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]),
      (tokens, positions),
    )
    rows = split_rows(rows, mesh, axis=1)
    parts = jax.lax.map(measure_rows, rows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)

  return measure


def along(
  function: Callable[[Params], tuple[Array, Array]], at: Params, step: Params
) -> tuple[Array, Array, Array]:
  """Compute the derivative of a function along a step, by reverse mode.

  Args:
    function: params -> (values f32[...], other arrays).
    at: the parameters at which it is differentiated.
    step: a tree of the same shapes.

  Returns:
    (values, derivative of the values along the step, other arrays).
  """
  values, pull_back, others = jax.vjp(function, at, has_aux=True)
  push_forward = jax.linear_transpose(
    lambda cotangents: pull_back(cotangents)[0], values
  )
  (change,) = push_forward(step)
  return values, jnp.asarray(change), others
