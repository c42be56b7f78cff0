"""Build the model that a config names, its parameters and its sampler.

`load_policy` loads the model and, with LoRA, adds the adapter that is trained.
`make_generate` builds the sampler. `jit` and its relatives jit a function of
the model: the frozen base under an adapter becomes an argument of the graph.
Runs of one process that have a model or a sampler in common share its graph.
"""

from collections.abc import Callable, Mapping
import functools
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config

from entrojax.data import tokenizer as tokenizers
from entrojax.models import DecoderConfig, Lora, decoder, hugging_face, lora
from entrojax.models.kept import AUTO
from entrojax.rollouts.sampler import (
  Generate,
  Sampling,
  generate,
  greedy,
  make_sampler,
)
from entrojax.rollouts.slots import generate_in_slots
from entrojax.system.sharding import by_row, num_row_shards, param_shardings
from entrojax.types import Model, Params, Rollout

# Runs of one process that have a model, a sampler or an update in common share
# its compiled graph. At most this many of each are kept.
NUM_SHARED = 16


class Policy(NamedTuple):
  """The trained model and, with LoRA, its frozen base."""

  model: Model  # with LoRA, its parameters are the adapter's alone
  base: Params | None  # the frozen weights under an adapter; None: no adapter


class SpecialTokens(Protocol):
  """The tokens that decoding needs to know; a Tokenizer has them."""

  @property
  def eos_ids(self) -> tuple[int, ...]: ...

  @property
  def pad_id(self) -> int: ...


def model_folder(path: str) -> Path:
  """Resolve model.path to a folder.

  Args:
    path: a folder, or "bases/NAME" for a base model that comes with entrojax.

  Raises:
    ValueError: there is no such folder.
  """
  ships = path.startswith("bases/") and not Path(path).is_dir()
  folder = Path(__file__).parents[1] / path if ships else Path(path)
  if not folder.is_dir():
    raise ValueError(f"model.path: {path} is not a folder")
  return folder


def make_lora(config: Mapping[str, Any]) -> Lora | None:
  """Read config.lora; None if all weights are trained."""
  rank, alpha, projections = (
    config["lora"][key] for key in ("rank", "alpha", "projections")
  )
  return Lora(rank, alpha, tuple(projections)) if rank else None


def load_policy(
  config: Config, folder: Path, tokenizer: tokenizers.Tokenizer, mesh: Mesh
) -> tuple[DecoderConfig, Policy, Params]:
  """Load the policy of a model folder onto the mesh.

  Args:
    config: a checked config; config.model and config.lora describe the policy.
    folder: the model's folder.
    tokenizer: the tokenizer in that folder.
    mesh: where the parameters are placed.

  Returns:
    The sizes, the policy, and its trainable parameters.

  Raises:
    ValueError: the folder cannot be used; the message names it.
  """
  sizes = hugging_face.read_config(folder)
  if tokenizer.vocab_size > sizes.vocab_size:
    raise ValueError(
      f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, the "
      f"vocab_size of config.json is {sizes.vocab_size}"
    )
  _check_lengths(config, sizes, folder)
  adapter, dtype = make_lora(config), jnp.dtype(config.model.dtype)
  model = make_model(config, sizes, mesh)
  init = lambda key: lora.split(model.init(key))
  shapes = jax.eval_shape(init, jax.random.key(0))
  base_places, places = param_shardings(mesh, shapes)
  params = hugging_face.load_params(
    folder,
    sizes,
    # no update is added to frozen weights, so the activations' type suffices
    dtype=jnp.float32 if adapter is None else dtype,
    shardings=base_places,
  )
  if adapter is None:
    return sizes, Policy(model, None), params
  make = jax.jit(lambda key: init(key)[1], out_shardings=places)
  return sizes, Policy(model, params), make(jax.random.key(config.seed))


def _check_lengths(config: Config, sizes: DecoderConfig, folder: Path) -> None:
  """Raise ValueError if a row is longer than the model's context."""
  keys = ["sft.row_length"]
  if "rollout" in config:
    keys = ["rollout.prompt_length", "rollout.response_length"]
  sections = (key.split(".") for key in keys)
  lengths = [config[section][leaf] for section, leaf in sections]
  if sum(lengths) > sizes.context_length:
    raise ValueError(
      f"{' + '.join(keys)} = {sum(lengths)} tokens, and {folder} was made for "
      f"at most {sizes.context_length} (max_position_embeddings of "
      "config.json, or its rope_scaling if that has the type yarn)"
    )


def make_model(config: Config, sizes: DecoderConfig, mesh: Mesh) -> Model:
  """Build a decoder.

  Args:
    config: config.model and config.lora describe it.
    sizes: the decoder's sizes.
    mesh: the devices that run the decoder.

  Raises:
    ValueError: the devices cannot run the decoder.
  """
  platform = mesh.devices.flat[0].platform
  if config.model.fused_attention and platform != "tpu":
    raise ValueError(
      "model.fused_attention is True, which needs TPUs, and the devices are of "
      f"platform {platform!r}: set it to False"
    )
  # a model that is not trained has no backward pass to choose for
  kept = config.model.rematerialise
  return _share_decoder(
    sizes,
    dtype=jnp.dtype(config.model.dtype),
    product_dtype=jnp.dtype(config.model.product_dtype),
    scan_layers=config.model.scan_layers,
    rematerialise=True if kept == AUTO else kept,
    query_chunk=config.model.query_chunk,
    fused_attention=config.model.fused_attention,
    lora=make_lora(config),
    mesh=mesh,
  )


_share_decoder = functools.lru_cache(maxsize=NUM_SHARED)(decoder)


def jit(
  make: Callable[[Model], Callable], policy: Policy, **options: Any
) -> Callable:
  """Jit make(model), a function whose first argument is parameters or state.

  Args:
    make: maps a model to a function of arrays.
    policy: the model. A frozen base becomes an argument of the graph, because a
      constant would be compiled into it.
    **options: passed to `jit_unbound`.
  """
  has_base = policy.base is not None
  return bind(
    jit_unbound(make, policy.model, has_base=has_base, **options), policy
  )


def bind(run: Callable, policy: Policy) -> Callable:
  """Give a function of `jit_unbound` the frozen base of a policy, if any."""
  if policy.base is None:
    return run
  return functools.partial(run, policy.base)


def jit_unbound(
  make: Callable[[Model], Callable],
  model: Model,
  *,
  has_base: bool,
  donate_first: bool = False,
  **options: Any,
) -> Callable:
  """Jit make(model) as a function that takes the frozen base first, if any.

  Args:
    make: maps a model to a function of arrays.
    model: the model; with `has_base`, its parameters are an adapter.
    has_base: whether there is a frozen base.
    donate_first: whether to donate the first argument after the base.
    **options: passed to jax.jit.
  """
  options |= {"donate_argnums": int(has_base)} if donate_first else {}
  whole = make(model)  # here, so that errors appear before the first call
  if not has_base:
    return jax.jit(whole, **options)

  def run(base, *arguments):
    return make(lora.on_base(model, base))(*arguments)

  return jax.jit(run, **options)


def make_generate(
  config: Config,
  policy: Policy,
  tokens: SpecialTokens,
  mesh: Mesh,
  settings: Mapping[str, Any],
  group_size: int,
) -> Generate:
  """Build the jitted sampler (params, prompts, key) -> rollout.

  Args:
    config: config.rollout has the response length and the slots.
    policy: the model.
    tokens: the tokens that end and that fill a response.
    mesh: the mesh that the rows of responses are split over.
    settings: temperature (0 = greedy, None = the rollout's), top_k and top_p:
      config.rollout or config.evaluation.
    group_size: samples of each prompt.
  """
  sampling = make_sampling(config, tokens, settings, group_size)
  slots = None
  if config.rollout.num_slots:
    slots = (config.rollout.num_slots, config.rollout.refill_every)
  run = _jit_sampler(
    policy.model, sampling, slots, mesh, has_base=policy.base is not None
  )
  return bind(run, policy)


def make_sampling(
  config: Config,
  tokens: SpecialTokens,
  settings: Mapping[str, Any],
  group_size: int,
) -> Sampling:
  """Read how responses are sampled; see `make_generate` for the arguments."""
  temperature = settings["temperature"]
  if temperature is None:
    temperature = config.rollout.temperature
  if temperature > 0:
    sampler = make_sampler(top_k=settings["top_k"], top_p=settings["top_p"])
  else:
    temperature, sampler = 1.0, greedy
  return Sampling(
    group_size=group_size,
    response_length=config.rollout.response_length,
    eos_ids=tuple(tokens.eos_ids),
    pad_id=tokens.pad_id,
    sampler=sampler,
    temperature=temperature,
  )


@functools.lru_cache(maxsize=NUM_SHARED)
def _jit_sampler(
  model: Model,
  sampling: Sampling,
  slots: tuple[int, int] | None,
  mesh: Mesh,
  *,
  has_base: bool,
) -> Callable[..., Rollout]:
  """Jit a sampler once for all runs of this process that sample alike.

  Args:
    model: the policy.
    sampling: the settings that both kinds of sampler need.
    slots: (number of slots, steps between refills); None: decode all rows
      until the longest has ended.
    mesh: the mesh that the rows of responses are split over.
    has_base: whether the first argument is the frozen base of an adapter.
  """
  decode: Callable[..., Rollout] = generate
  if slots is not None:
    num_slots, refill_every = slots
    decode = functools.partial(
      generate_in_slots,
      num_slots=num_slots,
      refill_every=refill_every,
      num_shards=num_row_shards(mesh),
    )
  return jit_unbound(
    lambda model: functools.partial(decode, model, sampling=sampling),
    model,
    has_base=has_base,
    out_shardings=by_row(mesh),
  )
