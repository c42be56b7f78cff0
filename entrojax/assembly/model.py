"""The model that a config names, and its sampler."""

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
from entrojax.rollouts.sampler import Generate, generate, greedy, make_sampler
from entrojax.rollouts.slots import generate_in_slots
from entrojax.system.sharding import by_row, num_row_shards, param_shardings
from entrojax.types import Model, Params, Rollout


class Policy(NamedTuple):
  """The model that is trained, and what of it is frozen."""

  model: Model
  base: Params | None  # of an adapter, which then are all parameters of model


class SpecialTokens(Protocol):
  """What decoding asks of a tokenizer."""

  @property
  def eos_ids(self) -> tuple[int, ...]: ...

  @property
  def pad_id(self) -> int: ...


def model_folder(path: str) -> Path:
  """Returns the folder of a model: `path` itself, or one that ships with us."""
  ships = path.startswith("bases/") and not Path(path).is_dir()
  folder = Path(__file__).parents[1] / path if ships else Path(path)
  if not folder.is_dir():
    raise ValueError(f"model.path: {path} is not a folder")
  return folder


def make_lora(config: Mapping[str, Any]) -> Lora | None:
  """Makes what config.lora describes; None where all weights are trained."""
  rank, alpha, projections = (
    config["lora"][key] for key in ("rank", "alpha", "projections")
  )
  return Lora(rank, alpha, tuple(projections)) if rank else None


def load_policy(
  config: Config, tokenizer: tokenizers.Tokenizer, mesh: Mesh
) -> tuple[DecoderConfig, Policy, Params]:
  """Returns sizes, policy and its parameters, which are read onto the mesh."""
  folder = model_folder(config.model.path)
  sizes = hugging_face.read_config(folder)
  if tokenizer.vocab_size > sizes.vocab_size:
    raise ValueError(
      f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, the "
      f"vocab_size of config.json is {sizes.vocab_size}"
    )
  adapter, dtype = make_lora(config), jnp.dtype(config.model.dtype)
  model = make_model(config, sizes, mesh)
  init = lambda key: lora.split(model.init(key))
  shapes = jax.eval_shape(init, jax.random.key(0))
  base_places, places = param_shardings(mesh, shapes)
  params = hugging_face.load_params(
    folder,
    sizes,
    # frozen weights are never added to: they need no more than the activations
    dtype=jnp.float32 if adapter is None else dtype,
    shardings=base_places,
  )
  if adapter is None:
    return sizes, Policy(model, None), params
  make = jax.jit(lambda key: init(key)[1], out_shardings=places)
  return sizes, Policy(model, params), make(jax.random.key(config.seed))


def make_model(config: Config, sizes: DecoderConfig, mesh: Mesh) -> Model:
  """Makes a decoder of these sizes, as config.model and config.lora say."""
  platform = mesh.devices.flat[0].platform
  if config.model.fused_attention and platform != "tpu":
    raise ValueError(
      "model.fused_attention is True, and the devices are of platform "
      f"{platform!r}: its kernels are a TPU's"
    )
  dtype = jnp.dtype(config.model.dtype)
  return decoder(
    sizes,
    dtype=dtype,
    scan_layers=config.model.scan_layers,
    rematerialise=config.model.rematerialise,
    query_chunk=config.model.query_chunk,
    fused_attention=config.model.fused_attention,
    lora=make_lora(config),
    mesh=mesh,
  )


def jit(
  make: Callable[[Model], Callable],
  policy: Policy,
  *,
  donate_first: bool = False,
  **options: Any,
) -> Callable:
  """Jits make(model), whose first argument is the model's parameters or state.

  Args:
    make: a model to a function of arrays.
    policy: its frozen base, if it has one, is an argument of the graph: a
      constant would be compiled into it.
    donate_first: donate the function's first argument.
    **options: of jax.jit.
  """
  donate = {"donate_argnums": 0 if policy.base is None else 1}
  options |= donate if donate_first else {}
  whole = make(policy.model)  # made here, so that errors come now
  if policy.base is None:
    return jax.jit(whole, **options)

  def run(base, *arguments):
    return make(lora.on_base(policy.model, base))(*arguments)

  return functools.partial(jax.jit(run, **options), policy.base)


def make_generate(
  config: Config,
  policy: Policy,
  tokens: SpecialTokens,
  mesh: Mesh,
  sampling: Mapping[str, Any],
  group_size: int,
) -> Generate:
  """Makes (params, prompts, key) -> `group_size` samples of each prompt."""
  if sampling["temperature"] > 0:
    temperature = sampling["temperature"]
    sampler = make_sampler(top_k=sampling["top_k"], top_p=sampling["top_p"])
  else:
    temperature, sampler = 1.0, greedy
  decode: Callable[..., Rollout] = generate
  if config.rollout.num_slots:
    decode = functools.partial(
      generate_in_slots,
      num_slots=config.rollout.num_slots,
      refill_every=config.rollout.refill_every,
      num_shards=num_row_shards(mesh),
    )
  return jit(
    lambda model: functools.partial(
      decode,
      model,
      group_size=group_size,
      response_length=config.rollout.response_length,
      eos_ids=tokens.eos_ids,
      pad_id=tokens.pad_id,
      temperature=temperature,
      sampler=sampler,
    ),
    policy,
    out_shardings=by_row(mesh),
  )
