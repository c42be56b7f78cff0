"""What a function that builds a method declares about that method.

A factory of an objective, of an advantage rule or of a controller may stand
below one of the three classes of this file:

    @ObjectiveTraits(kind="surrogate", inert_on_policy=True)
    def my_loss(*, clip: float = 0.2) -> Objective: ...

The decorator returns the function itself, with the traits attached to it.
Checks of a config read them with `traits_of`, so that no check decides by the
name of a function. A function without traits works too. It may do anything, so
the checks that need to know more leave it alone.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeVar

_Function = TypeVar("_Function", bound=Callable)


class Surroundings(NamedTuple):
  """The settings of a run that the settings of a method may have to fit."""

  response_length: int  # tokens, the longest response
  target: float | None  # the entropy that a controller holds, nats per token
  # 'section.leaf' -> bound of the ratio, of the surrogates that clip tokens;
  # clip_low, clip_high and dual_clip; dual_clip may be None
  clip_range: Mapping[str, float | None]
  temperature: float  # of the rollouts, above 0


# (the function's own settings, surroundings) -> None; raises ValueError if they
# do not fit, with the names of both settings
Check = Callable[[Mapping[str, Any], Surroundings], None]


# (the function's own settings) -> whether they do something
Question = Callable[[Mapping[str, Any]], bool]


def unequal(*pairs: tuple[str, str]) -> Question:
  """Ask whether two settings differ, for any of some pairs of names."""
  return lambda settings: any(
    settings.get(one) != settings.get(other) for one, other in pairs
  )


def other_than(**values: Any) -> Question:
  """Ask whether any of some settings differs from a value."""
  return lambda settings: any(
    settings.get(name, value) != value for name, value in values.items()
  )


UNEQUAL_CLIP = unequal(("clip_low", "clip_high"))


class _Traits:
  """A class whose instances decorate functions."""

  def __call__(self, function: _Function) -> _Function:
    """Attach these traits to a function, and return it."""
    function.traits = self  # type: ignore[attr-defined]
    return function


@dataclasses.dataclass(frozen=True)
class ObjectiveTraits(_Traits):
  """Traits of a member of the objective chain.

  Attributes:
    kind: a surrogate begins a chain, because it adds the policy gradient. A
      transform reweights the terms of earlier members. A term is reweighted by
      later transforms, and a penalty by none.
    driven: it reads the coefficient of a controller.
    inert_on_policy: it compares the policy with the one that sampled, so with
      one update per rollout it has nothing to compare.
    aggregation: the only aggregation with which it is the objective of its
      paper; None: it takes any.
    clips_tokens: a token has no gradient, or a bounded one, if its ratio lies
      beyond 1 - clip_low or 1 + clip_high.
    weighs_right: it weighs right responses against wrong ones.
    reads_steps: it reads which steps of a response are right.
    entropies: names of its settings that are compared with the policy's
      entropy, nats per token.
    gated_by_rollout: its gate reads the entropy of the rollout, which does not
      change if rollouts are recorded.
    compares_entropies: it compares each token's entropy with the entropy that
      the sampler computed.
    acts_on_entropy: whether a surrogate with these settings raises or lowers
      the entropy by design, as unequal clip bounds do.
    check: compares its settings with the settings of the run.
  """

  kind: Literal["surrogate", "transform", "term", "penalty"]
  driven: bool = False
  inert_on_policy: bool = False
  aggregation: str | None = None
  clips_tokens: bool = False
  weighs_right: bool = False
  reads_steps: bool = False
  entropies: tuple[str, ...] = ()
  gated_by_rollout: bool = False
  compares_entropies: bool = False
  acts_on_entropy: Question = UNEQUAL_CLIP
  check: Check | None = None


@dataclasses.dataclass(frozen=True)
class RuleTraits(_Traits):
  """Traits of an advantage rule.

  Attributes:
    kind: a shaping rule changes rewards and stands before the baseline, which
      turns rewards into advantages. A later rule changes advantages. A filter
      leaves responses out, and stands anywhere.
    raw_sides: for a rule that learns from the raw verdicts, without comparing
      the responses of a group: the responses that it learns from, "right",
      "wrong" or both.
    ignores_rewards: it reads the raw verdicts, so that a rule that shapes
      rewards would do nothing.
    keeps_one_sign: it leaves out all responses of one sign of advantage.
    centres: it subtracts a mean from the advantages.
    mixes_groups: the advantages of a group depend on other groups.
    about_overlong: it decides what responses that are too long cost.
    reads_clusters: it reads the clusters of answers with the same meaning.
    length: name of the setting that says after how many rollout steps its
      numbers stop moving; "": they do not move.
    entropies: names of its settings that are compared with the policy's
      entropy, nats per token.
    gated_by_rollout: its gate reads the entropy of the rollout, which does not
      change if rollouts are recorded.
    check: compares its settings with the settings of the run.
  """

  kind: Literal["shaping", "baseline", "later", "filter"]
  raw_sides: tuple[str, ...] = ()
  ignores_rewards: bool = False
  keeps_one_sign: bool = False
  centres: bool = False
  mixes_groups: bool = False
  about_overlong: bool = False
  reads_clusters: bool = False
  length: str = ""
  entropies: tuple[str, ...] = ()
  gated_by_rollout: bool = False
  check: Check | None = None


@dataclasses.dataclass(frozen=True)
class ControllerTraits(_Traits):
  """Traits of a controller.

  Attributes:
    drives: names of the members that can use its coefficient; a chain has one
      of them. (): it drives none, and every coefficient is 0.
    length: names of the settings whose product says after how many optimizer
      steps its coefficient stops moving by itself; (): it follows the entropy.
  """

  drives: tuple[str, ...] = ()
  length: tuple[str, ...] = ()


def traits_of(function: Callable) -> Any:
  """Return the traits of a function; None if it declares none."""
  return getattr(function, "traits", None)


def public_functions(module: ModuleType) -> dict[str, Callable]:
  """Return the public functions of a room, by name, in the order of imports.

  Args:
    module: a room such as entrojax.objectives. Functions that it imports from
      other rooms are left out.
  """
  return {
    name: value
    for name, value in vars(module).items()
    if inspect.isfunction(value)
    and not name.startswith("_")
    and value.__module__.startswith(module.__name__)
  }
