"""Every type that crosses a file's border. Read this and you know the system.

Shape letters: Q prompts, G responses per prompt (the group), B = Q * G rows,
P tokens of the prompt's bucket, T tokens of the response's bucket, L = P + T,
D hidden width, V vocabulary.

Prompts are padded on the left, so that every response starts at column P and
position t of a response array is always token P + t of its row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Protocol, dataclass_transform, overload

import jax
import numpy as np
import optax

Array = jax.Array | np.ndarray  # on the device | on the host
Params = Mapping[str, Any]  # nested dict of arrays: plain data
Metrics = Mapping[str, "Mean"]


@dataclass_transform(frozen_default=True)
def _pytree(cls):
  """Makes a frozen dataclass whose fields are all leaves of a pytree."""
  return jax.tree_util.register_dataclass(
    dataclasses.dataclass(frozen=True)(cls)
  )


# -- host side: text and scalars only ----------------------------------------


class Problem(NamedTuple):
  """One row of a data set."""

  prompt: str  # what the policy reads
  answer: Mapping[str, Any]  # what the verifier needs; never shown


class Verdict(NamedTuple):
  """What a verifier says of one response."""

  reward: float  # 1.0 right, 0.0 wrong
  reason: str  # one word or phrase, for logs: 'correct', 'unparseable', ...
  answer: str | None  # the normalised answer for maj@k; None: does not vote


Verifier = Callable[[Problem, str], Verdict]  # never raises, never hangs

# (problem, steps: a response cut into pieces) -> which of them are right
StepOracle = Callable[[Problem, Sequence[str]], list[bool]]


class Reasoning(NamedTuple):
  """What a judge of steps reads."""

  problem: Problem
  steps: Sequence[str]  # which joined are the response


# responses -> of each step of each, whether it is right. Never raises for what
# a response says
StepJudge = Callable[[Sequence[Reasoning]], list[list[bool]]]


# the distinct right responses to a problem that a learner may be shown: all
# that there are where they can be listed, else one; () where none is known
Solutions = Callable[[Problem], Sequence[str]]


class Family(NamedTuple):
  """Problems of one kind, at levels of difficulty, and their verifier."""

  name: str
  levels: Sequence[Mapping[str, int]]  # arguments of `problems`, easiest first
  problems: Callable[..., Iterable[Problem]]  # (**level) -> distinct prompts
  verify: Verifier
  characters: str  # all that prompts and right responses contain
  # whether two normalised answers mean the same; None: if they are equal
  equivalent: Callable[[str, str], bool] | None = None
  judge_steps: StepOracle | None = None  # None: it knows right answers alone
  solutions: Solutions = lambda problem: (problem.answer["solution"],)


class Task(NamedTuple):
  """A source of problems and the verifier that judges responses to them."""

  name: str
  load: Callable[[str], Any]  # split -> sequence of Problem (len, [i])
  verify: Verifier
  equivalent: Callable[[str, str], bool] | None = None  # as of a Family
  judge_steps: StepOracle | None = None  # likewise
  solutions: Solutions | None = None  # None: it knows no right response


# -- models -------------------------------------------------------------------


@_pytree
class Cache:
  """Keys and values of the tokens that a model has read."""

  layers: Any  # per layer: keys f[B, K, head, S] and values f[B, K, S, head]
  positions: Array  # i32[B, S], -1 = an empty or padded slot
  index: Array  # i32[], the next slot to write


class Apply(Protocol):
  """Runs a model on tokens i32[B, L] at positions i32[B, L].

  Returns hidden f[B, L, D] and, if there was a cache, the cache that has read
  the tokens as well. With in_place, which must not be differentiated, no second
  cache is made where the compiler can write into the first.
  """

  @overload
  def __call__(
    self,
    params: Params,
    tokens: Array,
    positions: Array,
    cache: None = None,
    *,
    in_place: bool = False,
  ) -> tuple[Array, None]: ...

  @overload
  def __call__(
    self,
    params: Params,
    tokens: Array,
    positions: Array,
    cache: Cache,
    *,
    in_place: bool = False,
  ) -> tuple[Array, Cache]: ...


class Model(NamedTuple):
  """A language model as functions of plain parameters.

  A position below 0 marks padding: no token attends to it. A position of 0
  begins an example: no token attends to what stands before its own.
  """

  init: Callable[..., Params]  # (key) -> params
  apply: Apply
  # (params, prompts i32[Q, P], their positions, responses i32[Q * G, T], their
  # positions) -> hidden of both; each response follows its prompt, read once
  apply_branches: Callable[..., tuple[Array, Array]]
  unembedding: Callable[
    [Params], Array
  ]  # the table f[V, D]: logits = hidden @ its transpose
  init_cache: Callable[..., Cache]  # (batch_size, length) -> empty Cache
  share_cache: Callable[..., Cache]  # (cache, times) -> each row, times over
  # (cache of S rows, prompts' cache, i32[N, s], bool[N, s]) -> the cache, whose
  # marked rows have read the prompt of that number among the device's, no more
  refill_cache: Callable[..., Cache]
  # (params) -> the same, as apply reads them fastest time after time
  for_decoding: Callable[[Params], Params] = lambda params: params


# -- the journey of a batch ---------------------------------------------------


@_pytree
class Prompts:
  """Q prompts on the device; their answers stay on the host."""

  tokens: Array  # i32[Q, P], left-padded
  mask: Array  # f32[Q, P], 1 = a token of the prompt
  ids: Array  # i32[Q], distinct; they seed the samples of a prompt


@_pytree
class Rollout:
  """What the sampler did; rows of one prompt are neighbours."""

  tokens: Array  # i32[B, L], prompt then response, 'pad' after the end
  positions: Array  # i32[B, L], -1 = padding
  response_mask: Array  # f32[B, T], 1 = sampled token, EOS included
  log_probs: Array  # f32[B, T], nats, as the sampler saw them
  entropy: Array  # f32[B, T], nats, as the sampler saw it
  truncated: Array  # f32[B], 1 = stopped by the length limit, no EOS


@_pytree
class Responses:
  """What is known of a rollout's responses: all that an advantage rule may see.

  A rule reads what it needs and returns other rewards, advantages or keep.
  """

  rewards: Array  # f32[Q, G], shaped so far
  correctness: Array | None = None  # f32[Q, G], the raw verdicts, 0 to 1
  log_probs: Array | None = None  # f32[Q, G], nats, mean over the response's
  # tokens, sampling policy
  lengths: Array | None = None  # f32[Q, G], tokens, EOS included
  truncated: Array | None = None  # f32[Q, G], 1 = ended by the length limit
  clusters: Array | None = None  # i32[Q, G], equal = answers that mean the
  # same, numbered within the group; -1 = does not count
  entropy: Array | None = None  # f32[], nats, token-mean, sampling policy
  rollout_step: Array | None = None  # i32[], rollout batches before this one
  advantages: Array | None = None  # f32[Q, G]; None until a baseline made them
  keep: Array | None = None  # f32[Q, G], 1 = its tokens count; None: all do
  metrics: Mapping[str, "Mean"] = dataclasses.field(default_factory=dict)


# what an advantage rule does: overlong penalty, baseline, SEED's factor, ...
AdvantageRule = Callable[[Responses], Responses]


@_pytree
class Batch:
  """One rollout batch, ready for the update."""

  tokens: Array  # i32[B, L]
  positions: Array  # i32[B, L]
  response_mask: Array  # f32[B, T], 1 = sampled token, EOS included
  keep: Array  # f32[B], 1 = a response that the loss counts
  old_log_probs: Array  # f32[B, T], nats, under the sampling policy
  old_entropy: Array  # f32[B, T], nats, under the sampling policy
  advantages: Array  # f32[B, T]
  step_ok: Array | None = None  # f32[B, T], as of ScoredTokens


@_pytree
class ScoredTokens:
  """All that an objective may see. Gradients flow to log_probs and entropy."""

  log_probs: Array  # f32[B, T], nats, current policy
  old_log_probs: Array  # f32[B, T], nats, sampling policy
  entropy: Array  # f32[B, T], nats, current policy
  old_entropy: Array  # f32[B, T], nats, sampling policy
  advantages: Array  # f32[B, T]
  mask: Array  # f32[B, T], 1 = a response token that counts
  ref_log_probs: Array | None = None  # f32[B, T], nats, reference policy
  step_ok: Array | None = None  # f32[B, T], 1 = of a step that was judged right


@_pytree
class Mean:
  """A metric as a sum and a count; divided once, when it is written."""

  total: Array  # f32[], or f32[bins] of a histogram
  count: Array  # f32[]


@_pytree
class Term:
  """One term of a loss, not yet reduced.

  Its aggregate is a weighted mean over tokens: `weight` says which tokens its
  denominator counts.
  """

  loss: Array  # f32[B, T], to be minimised
  weight: Array  # f32[B, T], 1 = counted


class TokenLoss(NamedTuple):
  """A composed objective before aggregation: all aggregates add."""

  terms: tuple[Term, ...]  # of the policy gradient: later members weigh them
  metrics: Metrics
  penalties: tuple[Term, ...] = ()  # KL, entropy: nobody weighs them


# (tokens, token_loss so far, coefficient f32[] of a controller if there is one,
# key) -> token_loss
Objective = Callable[[ScoredTokens, TokenLoss, Any, Array], TokenLoss]
# (loss f32[B, T], weight f32[B, T]) -> f32[]
Aggregation = Callable[[Array, Array], Array]


@_pytree
class TrainState:
  """All that an update changes."""

  params: Params
  opt_state: Any  # of optax.named_chain; the controller's under 'control'
  step: Array  # i32[], optimizer steps taken


class Controller(NamedTuple):
  """One scalar that drives a member of the chain."""

  # takes the keyword `entropy` f32[]; returns updates unchanged
  transform: optax.GradientTransformationExtraArgs
  # (state, entropy of the mini-batch at hand) -> f32[]
  coefficient: Callable[[Any, Array], Array]
  metrics: Callable[[Any, Array], Mapping[str, Array]]  # (state, entropy)
