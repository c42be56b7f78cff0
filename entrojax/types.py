"""The types that several parts of the package share. Read this file first.

A rollout step passes these along, in this order:

    Prompts -> Rollout -> Responses -> Batch -> ScoredTokens -> TokenLoss
            sampler    verifier     rules    model           objective

The word below an arrow names the part that does the main work of that step. The
rules fill the advantages of the Responses; the Batch then holds these and the
tokens of the Rollout. The file also has the types of tasks, judges, models,
metrics, controllers and the state of training.

Shape letters: Q prompts, G responses per prompt (the group), B = Q * G rows,
P length that prompts are padded to, T length that responses are padded to,
L = P + T, D hidden width, V vocabulary. An objective may see only a part of the
rows of a Batch. B is then the number of rows in this part.

Prompts are padded on the left. Every response therefore starts at column P,
and position t of a response array is always token P + t of its row.

Masks of tokens and responses are float32, and 1 means counted. Log-probs and
entropies are float32 and in nats.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import (
  Any,
  NamedTuple,
  Protocol,
  dataclass_transform,
  overload,
  runtime_checkable,
)

import jax
import numpy as np
import optax

Array = jax.Array | np.ndarray  # on the device | on the host
Params = Mapping[str, Any]  # nested dictionaries of arrays
Metrics = Mapping[str, "Mean"]


@dataclass_transform(frozen_default=True)
def _pytree(cls):
  """Build a frozen dataclass whose fields are all leaves of a pytree."""
  return jax.tree_util.register_dataclass(
    dataclasses.dataclass(frozen=True)(cls)
  )


# -- tasks: text and numbers on the host --------------------------------------


class Problem(NamedTuple):
  """One row of a data set."""

  prompt: str  # the text that the policy reads
  answer: Mapping[str, Any]  # for the verifier; the policy never sees it


class Verdict(NamedTuple):
  """The verifier's result for one response."""

  reward: float  # 1.0 right, 0.0 wrong
  reason: str  # one word or phrase, for logs: 'correct', 'unparseable', ...
  answer: str | None  # the normalised answer for maj@k; None does not vote
  # named summands of the reward, or other measures of the response, for logs
  # and for advantage rules
  parts: Mapping[str, float] = {}
  failed: bool = False  # the verifier raised or took too long


# (problem, response) -> verdict; it never raises and never hangs
Verifier = Callable[[Problem, str], Verdict]


@runtime_checkable
class BatchVerifier(Protocol):
  """A Verifier that verifies a batch faster than its responses one by one."""

  def __call__(self, problem: Problem, response: str) -> Verdict: ...

  def batch(
    self, problems: Sequence[Problem], responses: Sequence[str]
  ) -> list[Verdict]:
    """Verify response i to problem i, for every i; a problem may be repeated.

    Single calls would give the same verdicts, except that a response may fail
    because the time limit of the whole batch has passed.
    """


# (problem, the response cut into steps) -> whether each step is right
StepOracle = Callable[[Problem, Sequence[str]], list[bool]]


class Reasoning(NamedTuple):
  """A response cut into steps, with its problem: the input of a step judge."""

  problem: Problem
  steps: Sequence[str]  # their concatenation is the response


# responses -> for each response, whether each of its steps is right, or None
# if the judge has no verdict; it never raises because of a response's text
StepJudge = Callable[[Sequence[Reasoning]], Sequence[list[bool] | None]]


# (problem) -> distinct right responses that a learner may be shown: all of them
# where they can be listed, otherwise one; () if no right response is known
Solutions = Callable[[Problem], Sequence[str]]


class Summary(NamedTuple):
  """A family's row of the table in entrojax/tasks/README.md."""

  problem: str  # the question, in a few words
  prompt: str  # an example
  response: str  # a right response to it
  levels: str  # what grows with the level
  accepted: str = "this response alone"  # which responses are right


class Family(NamedTuple):
  """A kind of problem at several levels of difficulty, with its verifier."""

  name: str
  levels: Sequence[Mapping[str, int]]  # arguments of `problems`, easiest first
  problems: Callable[..., Iterable[Problem]]  # (**level) -> distinct prompts
  verify: Verifier
  characters: str  # every character of the prompts and of right responses
  # whether two normalised answers mean the same; None: only if they are equal
  equivalent: Callable[[str, str], bool] | None = None
  judge_steps: StepOracle | None = None  # None: steps cannot be judged
  solutions: Solutions = lambda problem: (problem.answer["solution"],)
  # distinct responses that a base learns from, wrong ones included; None: the
  # solutions
  traces: Solutions | None = None
  summary: Summary | None = None  # None: a family of another package


class Task(NamedTuple):
  """A source of problems, and the verifier for responses to them."""

  name: str
  load: Callable[[str], Any]  # split -> sequence of Problem (len, [i])
  verify: Verifier
  # whether two normalised answers mean the same; None: only if they are equal
  equivalent: Callable[[str, str], bool] | None = None
  judge_steps: StepOracle | None = None  # None: steps cannot be judged
  solutions: Solutions | None = None  # None: no right response is known
  # distinct responses that a base learns from, wrong ones included; None: the
  # solutions
  traces: Solutions | None = None


# -- models -------------------------------------------------------------------


@_pytree
class Cache:
  """The keys and values of the tokens that a model has read.

  A row of the cache has S slots, one per token. The rows of prompts may stand
  in a cache of their own, which is not written any more.
  """

  layers: Any  # per layer: keys f[B, K, head, S] and values f[B, K, S, head]
  positions: Array  # i32[B, S], -1 = an empty or padded slot
  index: Array  # i32[], the next slot to write
  filled: Array  # i32[], no slot from this one on has been written
  # Q rows, each read before B / Q neighbouring rows of this cache; None: there
  # is nothing before the rows
  prompts: "Cache | None" = None


class Apply(Protocol):
  """Run a model on tokens i32[B, L] at positions i32[B, L].

  It returns the hidden states f[B, L, D]. Called with a cache, it also returns
  the cache that holds these tokens too; otherwise the second result is None.
  With in_place=True the compiler may write into the cache that was passed
  instead of making a second one. Do not differentiate such a call.
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
  begins an example: its tokens do not attend to anything before it in the row.
  """

  init: Callable[..., Params]  # (key) -> params
  apply: Apply
  # (params, prompts i32[Q, P], their positions, responses i32[Q * G, T], their
  # positions) -> hidden states of the prompts and of the responses; each prompt
  # is read once, and its G responses continue from it
  apply_branches: Callable[..., tuple[Array, Array]]
  # (params) -> the table f[V, D]: logits = hidden @ its transpose
  unembedding: Callable[[Params], Array]
  init_cache: Callable[..., Cache]  # (batch_size, length) -> empty cache
  share_cache: Callable[..., Cache]  # (cache, times) -> every row repeated
  # (cache of Q prompts, G, T) -> a cache for G continuations of each prompt, of
  # T tokens each, which share the prompt's keys and values
  continue_cache: Callable[..., Cache]
  # (cache of S rows, cache of the prompts, numbers i32[N, s], marks bool[N, s])
  # -> the cache in which each marked row holds one prompt and nothing else;
  # N devices have s = S / N rows each, and numbers count a device's own prompts
  refill_cache: Callable[..., Cache]
  # (params) -> params in the layout that repeated decoding steps read fastest
  for_decoding: Callable[[Params], Params] = lambda params: params


# -- a rollout step: from prompts to a batch ----------------------------------


@_pytree
class Prompts:
  """Q prompts as tokens. Their answers stay on the host."""

  tokens: Array  # i32[Q, P], left-padded
  mask: Array  # f32[Q, P], 1 = a token of the prompt
  ids: Array  # i32[Q], distinct; they seed the samples of each prompt


@_pytree
class Rollout:
  """The sampled responses. Rows of one prompt are neighbours."""

  tokens: Array  # i32[B, L], prompt, response, then pad tokens
  positions: Array  # i32[B, L], -1 = padding
  response_mask: Array  # f32[B, T], 1 = a sampled token, EOS included
  log_probs: Array  # f32[B, T], nats, as the sampler computed them
  entropy: Array  # f32[B, T], nats, as the sampler computed it
  truncated: Array  # f32[B], 1 = ended by the length limit, without an EOS


@_pytree
class Responses:
  """Everything about a rollout's responses that an advantage rule may read.

  A rule returns a copy with other rewards, advantages or keep.
  """

  rewards: Array  # f32[Q, G], with the shaping of the rules applied so far
  correctness: Array | None = None  # f32[Q, G], the raw verdicts, 0 to 1
  log_probs: Array | None = None  # f32[Q, G], nats, mean over the tokens of the
  # response, under the policy that sampled it
  lengths: Array | None = None  # f32[Q, G], tokens, EOS included
  truncated: Array | None = None  # f32[Q, G], 1 = ended by the length limit
  failed: Array | None = None  # f32[Q, G], 1 = its reward could not be computed
  # name -> f32[Q, G], the parts of the verdicts
  parts: Mapping[str, Array] = dataclasses.field(default_factory=dict)
  clusters: Array | None = None  # i32[Q, G], equal = answers that mean the
  # same, numbered within the group; -1 = does not count
  entropy: Array | None = None  # f32[], nats, token-mean, under that policy
  entropies: Array | None = None  # f32[Q, G], nats, the same of each response
  rollout_step: Array | None = None  # i32[], rollout batches before this one
  advantages: Array | None = None  # f32[Q, G]; None before the baseline rule
  keep: Array | None = None  # f32[Q, G], 1 = its tokens count; None: all do
  metrics: Mapping[str, "Mean"] = dataclasses.field(default_factory=dict)


# one step from rewards to advantages: an overlong penalty, a baseline, ...
AdvantageRule = Callable[[Responses], Responses]

# all rules of a run; a schedule of a rule is read at the optimizer steps so far
ApplyRules = Callable[[Responses, Array | int], Responses]


@_pytree
class Batch:
  """One rollout batch, ready for the update."""

  tokens: Array  # i32[B, L]
  positions: Array  # i32[B, L], -1 = padding
  response_mask: Array  # f32[B, T], 1 = a sampled token, EOS included
  keep: Array  # f32[B], 1 = a response that the loss counts
  old_log_probs: Array  # f32[B, T], nats, under the policy that sampled
  old_entropy: Array  # f32[B, T], nats, under the policy that sampled
  advantages: Array  # f32[B, T]
  step_ok: Array | None = None  # f32[B, T], 1 = a token of a step judged right
  # f32[B], nats, one number for all rows: added to the mean entropy of the
  # batch or a mini-batch, it gives the mean over everything sampled; None: 0
  entropy_offset: Array | None = None


# -- the update: from tokens to a loss ----------------------------------------


class Statistic(NamedTuple):
  """A number of a token's distribution that an objective may ask for.

  entropy/statistics.py lists them. An objective declares what it reads with
  objectives/reading.py.
  """

  name: str
  parameter: float = 0.0  # such as the k of the k largest log-probs
  old: bool = False  # True: under the sampling policy; False: the current one


@_pytree
class ScoredTokens:
  """Everything that an objective may read.

  Gradients flow to log_probs, entropy and the statistics under the current
  policy only.
  """

  log_probs: Array  # f32[B, T], nats, current policy
  old_log_probs: Array  # f32[B, T], nats, sampling policy
  entropy: Array  # f32[B, T], nats, current policy
  old_entropy: Array  # f32[B, T], nats, sampling policy
  advantages: Array  # f32[B, T]
  mask: Array  # f32[B, T], 1 = a response token that counts
  ref_log_probs: Array | None = None  # f32[B, T], nats, reference policy
  step_ok: Array | None = None  # f32[B, T], 1 = a token of a step judged right
  # f32[B, T], nats, the mean of old_entropy over all rows of the rollout batch,
  # plus the batch's entropy_offset; the same number everywhere
  rollout_entropy: Array | None = None
  # what members of the chain have declared, f32[B, T] or f32[B, T, k]
  statistics: Mapping[Statistic, Array] = dataclasses.field(
    default_factory=dict
  )


@_pytree
class Mean:
  """A metric as a sum and a count. They are divided when it is written."""

  total: Array  # f32[], or f32[bins] for a histogram
  count: Array  # f32[]


@_pytree
class Term:
  """One term of a loss, not yet reduced to a number.

  An aggregation reduces it to a weighted mean over tokens.
  """

  loss: Array  # f32[B, T], to be minimised
  weight: Array  # f32[B, T], 1 = a token that the denominator counts
  # f32[B, T], 1 = a token without a gradient, such as one that PPO clips; None:
  # the member that added the term does not say
  stopped: Array | None = None


class TokenLoss(NamedTuple):
  """A composed objective before aggregation.

  The loss is the sum of all its aggregated terms.
  """

  terms: tuple[Term, ...]  # the policy gradient; later members reweight them
  metrics: Metrics
  penalties: tuple[Term, ...] = ()  # KL, entropy: no member reweights these


# (tokens, token_loss so far, the controller's coefficient f32[] if there is a
# controller, key) -> token_loss
Objective = Callable[[ScoredTokens, TokenLoss, Any, Array], TokenLoss]
# (loss f32[B, T], weight f32[B, T]) -> f32[]
Aggregation = Callable[[Array, Array], Array]


@_pytree
class TrainState:
  """Everything that an update changes."""

  params: Params
  opt_state: Any  # of optax.named_chain; the controller's is at 'control'
  step: Array  # i32[], optimizer steps taken


class Controller(NamedTuple):
  """A scalar coefficient that drives one member of the objective chain."""

  # its update takes the keyword `entropy` f32[] and returns updates unchanged
  transform: optax.GradientTransformationExtraArgs
  # (state, entropy of the current mini-batch) -> f32[]
  coefficient: Callable[[Any, Array], Array]
  # (state, entropy of the current mini-batch) -> name -> f32[]
  metrics: Callable[[Any, Array], Mapping[str, Array]]
