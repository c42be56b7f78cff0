"""Estimate the memory of a run on one device from shapes, before compiling.

    estimate(config)

The parts are those that hold for long: weights, optimizer, gradients, the cache
of keys and values while decoding, what the backward pass keeps, and logits. The
compiler decides on the rest; experiments.rehearse asks it. An estimate that
leaves less than a fifth of the device free is too tight.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config

from entrojax.assembly.model import make_model
from entrojax.models import DecoderConfig, lora
from entrojax.models.kept import LAYERS
from entrojax.reporting.notebook import Table
from entrojax.rollouts.sampler import keeps_prompts
from entrojax.system.sharding import make_mesh
from experiments.model_sizes import sizes_of

_LOGITS = 2**24  # elements of a chunk of logits, float32; see token_stats.py


def parts(config: Config, sizes: DecoderConfig) -> dict[str, float]:
  """Return the bytes of each part of a run on one device.

  Decoding and the update follow each other, so that the peak is the weights and
  the optimizer with the larger of the two.
  """
  config = config.copy_and_resolve_references()
  config.model.fused_attention = False  # shapes do not depend on it
  mesh = make_mesh((1, 1, 1), jax.devices()[:1])
  model = make_model(config, sizes, mesh)
  base, trained = jax.eval_shape(
    lambda key: lora.split(model.init(key)), jax.random.key(0)
  )
  if not config.lora.rank:
    base, trained = {}, base
  width = jnp.dtype(config.model.dtype).itemsize
  moment = jnp.dtype(config.optimizer.mu_dtype).itemsize
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  rollout, rows = config.rollout, _rows(config)
  length = rollout.prompt_length + rollout.response_length
  slots = min(rollout.num_slots or rows, rows)
  # with a slot for each response, a long prompt stands in the cache once
  is_kept = slots == rows and keeps_prompts(rollout.prompt_length)
  places = rollout.response_length if is_kept else length
  layers, hidden = sizes.num_hidden_layers, sizes.hidden_size
  cache = 2 * layers * sizes.num_key_value_heads * sizes.head_dim  # of a place
  mini = rows * length // config.training.updates_per_rollout
  micro = mini / config.training.num_microbatches
  inputs = hidden * width * layers  # of all layers, for one token
  kept = micro * inputs
  if not config.model.rematerialise:
    kept *= 4 + 3 * sizes.intermediate_size / hidden
  of_all = mini * inputs if config.training.rematerialise == LAYERS else 0
  return {
    "frozen base": width * count(base),
    "trained weights": 4 * count(trained),
    "optimizer": (4 + moment) * count(trained),
    "update: gradients": 8 * count(trained),
    "update: activations of a micro-batch": kept,
    "update: inputs of layers, all micro-batches": of_all,
    "update: logits of a chunk": 2 * 4 * _LOGITS,
    "decoding: keys and values": width * slots * places * cache,
    "decoding: those of the prompts": (
      width * rollout.num_prompts * rollout.prompt_length * cache
    ),
    "decoding: logits of a step": 2 * 4 * slots * sizes.vocab_size,
  }


def peak(sizes: dict[str, float]) -> float:
  """Return the bytes at the peak: the lasting parts and the larger phase."""
  phase = lambda name: sum(v for k, v in sizes.items() if k.startswith(name))
  lasting = sum(sizes.values()) - phase("update") - phase("decoding")
  return lasting + max(phase("update"), phase("decoding"))


def estimate(config: Config) -> Table:
  """Build the table of a run's memory on the first device."""
  sizes = parts(config, sizes_of(config.model.path))
  lines = [f"{name:44}{size / 1e9:8.2f} GB" for name, size in sizes.items()]
  lines.append(f"{'peak':44}{peak(sizes) / 1e9:8.2f} GB")
  limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
  if limit:
    lines.append(f"{'of the device':44}{limit / 1e9:8.2f} GB")
  return Table("\n".join(lines))


def _rows(config: Config) -> int:
  """Return the rows of a rollout batch."""
  return config.rollout.num_prompts * config.rollout.group_size
