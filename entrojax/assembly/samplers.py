"""Build a sampler and its parameters, without the parts that train.

`build_evaluation` builds the samplers of evaluations, and `build_sampler` the
one of a run's rollouts. They are compiled when they are first called.
"""

from collections.abc import Collection, Mapping
import functools
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict as Config

from entrojax.assembly.check_rows import (
  check_evaluation_rows,
  check_rollout_rows,
)
from entrojax.assembly.model import Policy, load_policy, make_generate
from entrojax.data import tokenizer as tokenizers
from entrojax.rollouts.sampler import Generate
from entrojax.system import compilation_cache, hosts
from entrojax.system.sharding import by_row, make_mesh, num_row_shards
from entrojax.types import Array, Params, Prompts, Rollout


def build_evaluation(
  config: Config,
  folder: Path,
  tokenizer: tokenizers.Tokenizer,
  num_samples: Collection[int],
) -> tuple[Mapping[int, Generate], Params]:
  """Build the samplers of evaluations, without the parts that train.

  Args:
    config: checked by check_evaluation.
    folder: the model's folder.
    tokenizer: the tokenizer in that folder.
    num_samples: the numbers of samples of each prompt in these evaluations.

  Returns:
    For each number n, the jitted function (params, prompts, key) -> n samples
    of each prompt; and the model's parameters on the mesh.

  Raises:
    ValueError: a setting or the folder cannot work.
  """
  compilation_cache.enable()
  mesh = make_mesh(config.mesh)
  check_evaluation_rows(config, num_row_shards(mesh))
  _, policy, params = load_policy(config, folder, tokenizer, mesh)
  samplers = {
    n: make_sampler(config, policy, tokenizer, mesh, config.evaluation, n)
    for n in num_samples
  }
  return samplers, params


def build_sampler(
  config: Config, folder: Path, tokenizer: tokenizers.Tokenizer
) -> tuple[Generate, Params]:
  """Build the sampler of a run's rollouts, without the parts that train.

  Args:
    config: checked by check_offline.
    folder: the model's folder.
    tokenizer: the tokenizer in that folder.

  Returns:
    The jitted function (params, prompts, key) -> rollout.group_size samples of
    each prompt, and the model's parameters on the mesh.

  Raises:
    ValueError: a setting or the folder cannot work.
  """
  compilation_cache.enable()
  mesh = make_mesh(config.mesh)
  check_rollout_rows(config, num_row_shards(mesh))
  _, policy, params = load_policy(config, folder, tokenizer, mesh)
  generate = make_sampler(
    config, policy, tokenizer, mesh, config.rollout, config.rollout.group_size
  )
  return generate, params


def make_sampler(
  config: Config,
  policy: Policy,
  tokenizer: tokenizers.Tokenizer,
  mesh: Mesh,
  settings: Config,
  group_size: int,
) -> Generate:
  """Build a sampler that places prompts from the host on the mesh.

  See make_generate for the arguments. Equal settings share one graph.
  """
  generate = make_generate(
    config, policy, tokenizer, mesh, settings, group_size
  )

  @functools.wraps(generate)
  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    return generate(params, hosts.place(prompts, by_row(mesh)), key)

  return run
