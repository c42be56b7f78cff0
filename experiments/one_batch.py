"""Sample one batch, and show what each method would do with it; no training.

    batch = one_batch.sample(countdown.get_config("test"))
    one_batch.color(batch, one_batch.pushes(batch, "kl_cov"))
    print(one_batch.directions(batch))

A push is the factor with which a method's gradient moves the log-probability of
a token, before the first update, in units of one token of a token-mean loss: it
is the advantage for plain policy gradient. By the covariance identity of arXiv
2505.22617 the pushes tell where the entropy goes: it falls if tokens are pushed
up that are likelier than others. Methods that add a term in the entropy itself
push the entropy, too.

Sampler and policy are equal before the first update, so that clipping does
nothing yet. A controller's coefficient is what the argument says.
"""

from collections.abc import Collection, Sequence
import dataclasses
import io
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config
import numpy as np

import configs
from entrojax.assembly.methods import (
  make_aggregation,
  make_apply_rules,
  make_recipe,
)
from entrojax.assembly.run import build
from entrojax.entropy.covariance import predicted_entropy_change
from entrojax.loop.rollout_step import verify_rollout
from entrojax.objectives.loss import policy_loss
from entrojax.reporting.notebook import Table
from entrojax.types import Array, Responses, Rollout, ScoredTokens
from entrojax.update.train_step import make_batch

_COLUMNS = 24  # tokens in a row of the picture, at most


class OneBatch(NamedTuple):
  """A rollout batch: B responses of at most T tokens."""

  rollout: Rollout
  responses: Responses
  texts: Sequence[Sequence[str]]  # [B][T], the text of each token
  testbed: str


class Pushes(NamedTuple):
  """What a method does with a batch."""

  name: str
  log_probs: np.ndarray  # f32[B, T], the push of each log-probability
  entropy: float  # the push of the mean entropy, per unit of the loss
  scored: ScoredTokens  # what its objective has read


def sample(config: Config, testbed: str = "countdown") -> OneBatch:
  """Sample and verify one rollout batch of a config.

  Args:
    config: the settings of a run.
    testbed: whose numbers the methods take; the name of a config.
  """
  run = build(config)
  prompts, problems = next(run.data.stream)
  key = jax.random.key(config.seed)
  rollout = run.functions.generate(run.state.params, prompts, key)
  responses = verify_rollout(run.data, jax.device_get(rollout), problems, 0)
  length = rollout.response_mask.shape[1]
  ids = np.asarray(rollout.tokens)[:, -length:]
  decode = run.data.tokenizer.decode
  texts = [[decode([token]) or "⏎" for token in row] for row in ids.tolist()]
  return OneBatch(rollout, responses, texts, testbed)


def pushes(batch: OneBatch, method: str, *, coefficient: float = 0.3) -> Pushes:
  """Compute what a method's first update would do with each token.

  Args:
    batch: the batch.
    method: the name of a method's config.
    coefficient: what the method's controller would give, if it has one.

  Raises:
    ValueError: the method needs more than a batch has, such as the log-probs of
      a reference model.
  """
  config = configs.combine(method, batch.testbed)
  recipe, aggregate = make_recipe(config), make_aggregation(config)
  apply_rules = make_apply_rules(recipe.rules)
  made = make_batch(batch.rollout, apply_rules(batch.responses, 0))
  scored = ScoredTokens(
    log_probs=made.old_log_probs,
    old_log_probs=made.old_log_probs,
    entropy=made.old_entropy,
    old_entropy=made.old_entropy,
    advantages=made.advantages,
    mask=made.response_mask * made.keep[:, None],
  )

  def loss(log_probs: Array, entropy: Array) -> Array:
    changed = dataclasses.replace(scored, log_probs=log_probs, entropy=entropy)
    return policy_loss(
      recipe.objective, aggregate, changed, coefficient=coefficient
    )[0]

  by_log_prob, by_entropy = jax.grad(loss, (0, 1))(
    scored.log_probs, scored.entropy
  )
  count = jnp.sum(scored.mask)
  return Pushes(
    method,
    np.asarray(-by_log_prob * count),
    float(-jnp.sum(by_entropy)),
    scored,
  )


def directions(
  batch: OneBatch, methods: Collection[str] | None = None
) -> Table:
  """Build the table of where each method's first update moves the entropy.

  Args:
    batch: the batch.
    methods: names of methods' configs; None: all.
  """
  names = list(configs.methods()) if methods is None else methods
  lines = [f"{'method':22}{'by log-probs':>14}{'by entropy':>12}"]
  left_out = []
  for name in names:
    try:
      push = pushes(batch, name)
    except ValueError as error:
      left_out.append(f"  {name}: {str(error).partition(';')[0]}")
      continue
    mask = push.scored.mask
    change = predicted_entropy_change(
      push.scored.log_probs, jnp.asarray(push.log_probs), mask
    )
    direct = f"{push.entropy:+12.4f}" if push.entropy else f"{'-':>12}"
    lines.append(f"{name:22}{float(change):+14.4f}{direct}")
  if left_out:
    lines += ["", "left out, as they need more than one batch:", *left_out]
  return Table("\n".join(lines))


@dataclasses.dataclass(frozen=True)
class ColoredTokens:
  """Responses whose tokens have colours; a notebook shows and stores a PNG."""

  texts: Sequence[Sequence[str]]  # [rows][columns]
  values: np.ndarray  # [rows, columns], NaN = not a token
  title: str

  def __repr__(self) -> str:
    return f"tokens of {len(self.texts)} responses: {self.title}"

  def _repr_png_(self) -> bytes:
    """Draw a cell for each token: red = pushed up, blue = pushed down."""
    import matplotlib
    from matplotlib.figure import Figure

    rows, columns = self.values.shape
    largest = float(np.nanmax(np.abs(self.values))) or 1.0
    with matplotlib.rc_context({"text.parse_math": False}):
      figure = Figure(
        figsize=(1.6 + 0.42 * columns, 1.0 + 0.34 * rows), layout="constrained"
      )
      axes = figure.subplots()
      image = axes.imshow(
        self.values, cmap="coolwarm", vmin=-largest, vmax=largest, aspect="auto"
      )
      for row, column in zip(*np.nonzero(~np.isnan(self.values)), strict=True):
        axes.text(
          column, row, self.texts[row][column], ha="center", va="center"
        )
      axes.set_title(self.title, fontsize=10)
      axes.set_xlabel("token of the response")
      axes.set_ylabel("response")
      axes.set_xticks([])
      axes.set_yticks([])
      figure.colorbar(image, ax=axes)
      buffer = io.BytesIO()
      figure.savefig(buffer, format="png", dpi=90, facecolor="white")
    return buffer.getvalue()


def color(batch: OneBatch, push: Pushes, rows: int = 8) -> ColoredTokens:
  """Colour the tokens of the first responses by a method's pushes.

  Args:
    batch: the batch.
    push: the method's push, from the same batch.
    rows: the number of responses, one group after the other.
  """
  counted = np.asarray(push.scored.mask) > 0
  values = np.where(counted, push.log_probs, np.nan)[:rows, :_COLUMNS]
  texts = [row[:_COLUMNS] for row in batch.texts[:rows]]
  return ColoredTokens(texts, values, f"{push.name}: push of each token")
