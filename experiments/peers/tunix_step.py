"""Run Tunix's GRPO learner on the shared workload.

    python -m experiments.peers.tunix_step W1 float32

This runs in an environment with google-tunix. The command is started by
experiments.peers.table.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Iterator
import sys
import tempfile

from flax import nnx
import jax
import numpy as np
import optax
from tunix.models.qwen3 import model as qwen3
from tunix.rl import rl_cluster
from tunix.rl.grpo import grpo_learner
from tunix.rl.rollout import base_rollout
from tunix.sft import metrics_logger

from experiments.peers import workload as shared

_STEPS = 10_000  # more than there are turns


class Characters:
  """A tokenizer of single characters, with the methods that Tunix needs."""

  def __init__(self, sizes: shared.Sizes):
    self._words = (*("" for _ in shared.SPECIAL), *sizes.characters)
    self._ids = {word: i for i, word in enumerate(self._words) if word}

  def encode(self, text: str, **others) -> list[int]:
    del others
    return [self._ids[c] for c in text]

  def decode(self, ids, **others) -> str:
    del others
    return "".join(self._words[i] for i in ids)

  def bos_id(self) -> int:
    return 1

  def eos_id(self) -> int:
    return 2

  def pad_id(self) -> int:
    return 0


class Memory:
  """A metrics backend that keeps all values in memory."""

  def __init__(self) -> None:
    self.values: list[tuple[str, float]] = []

  def log_scalar(self, event, value, **others):
    del others
    self.values.append((event, float(value)))

  def close(self):
    pass


def make_model(sizes: shared.Sizes, mesh: jax.sharding.Mesh) -> qwen3.Qwen3:
  """Build the model, with random weights."""
  config = qwen3.ModelConfig(
    num_layers=sizes.layers,
    vocab_size=sizes.vocabulary,
    embed_dim=sizes.width,
    hidden_dim=sizes.inner,
    num_heads=sizes.heads,
    head_dim=sizes.head,
    num_kv_heads=sizes.kv_heads,
    rope_theta=10_000,
    norm_eps=1e-6,
    use_tied_embedding=True,
  )
  with jax.set_mesh(mesh):
    return qwen3.Qwen3(config, rngs=nnx.Rngs(params=0))


def make_cluster(
  workload: shared.Workload, mesh: jax.sharding.Mesh, folder: str
) -> rl_cluster.RLCluster:
  """Build Tunix's cluster, with actor and rollouts on the same device."""
  size = workload.num_prompts
  training = rl_cluster.RLTrainingConfig(
    actor_optimizer=optax.chain(
      optax.clip_by_global_norm(shared.MAX_GRAD_NORM),
      optax.adamw(shared.LEARNING_RATE, weight_decay=0.0),
    ),
    eval_every_n_steps=_STEPS,
    max_steps=_STEPS,
    mini_batch_size=size,
    train_micro_batch_size=size,
    rollout_micro_batch_size=size,
    compute_logps_micro_batch_size=size,
    metrics_logging_options=metrics_logger.MetricsLoggerOptions(
      log_dir=folder,
      flush_every_n_steps=1,
      backend_kwargs={"custom_backend": [Memory]},
    ),
  )
  rollout = base_rollout.RolloutConfig(
    max_tokens_to_generate=workload.response_length,
    max_prompt_length=workload.prompt_length,
    kv_cache_size=workload.prompt_length + workload.response_length + 8,
    temperature=1.0,
    top_p=1.0,
    top_k=workload.sizes.vocabulary,
  )
  roles = rl_cluster.Role
  return rl_cluster.RLCluster(
    actor=make_model(workload.sizes, mesh),
    reference=None,
    tokenizer=Characters(workload.sizes),
    cluster_config=rl_cluster.ClusterConfig(
      role_to_mesh=dict.fromkeys(
        (roles.ACTOR, roles.REFERENCE, roles.ROLLOUT), mesh
      ),
      rollout_engine="vanilla",
      offload_to_cpu=False,
      training_config=training,
      rollout_config=rollout,
    ),
  )


def main(name: str, dtype: str) -> None:
  """Make steps on the workload of this name whenever it is Tunix's turn."""
  if dtype != "float32":
    raise ValueError("Tunix is compared in float32 only")
  workload = shared.WORKLOADS[name]
  turns = shared.Turns()
  mesh = jax.sharding.Mesh(
    np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp")
  )

  def reward(prompts, completions, **others):
    del prompts, others
    rewards = [workload.reward(text) for text in completions]
    turns.reward = sum(rewards) / len(rewards)
    return rewards

  def batches() -> Iterator[dict[str, np.ndarray]]:
    for seed in range(_STEPS):
      if seed:
        turns.end()
      if not turns.begin():
        return
      yield {"prompts": np.array(workload.prompts(seed))}

  with tempfile.TemporaryDirectory() as folder:
    cluster = make_cluster(workload, mesh, folder)

    def until_done(function):
      def call(*arguments, **named):
        result = function(*arguments, **named)
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model, nnx.Param))
        return result

      return call

    cluster.generate = turns.timed("rollout", cluster.generate)
    cluster.update_actor = turns.timed(
      "update", until_done(cluster.update_actor)
    )
    grpo_learner.GRPOLearner(
      rl_cluster=cluster,
      reward_fns=reward,
      algo_config=grpo_learner.GRPOConfig(
        num_generations=workload.group_size,
        num_iterations=1,
        beta=0.0,
        epsilon=shared.CLIP,
      ),
    ).train(batches())


if __name__ == "__main__":
  main(*sys.argv[1:])
