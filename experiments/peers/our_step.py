"""Run entrojax's own step on the shared workload.

    python -m experiments.peers.our_step W1 float32

The second argument is float32 or bfloat16, the type of the operands of dense
products; on an accelerator it is the type of all activations. The parts are
those that entrojax.assembly.run builds, in the order of
entrojax.loop.rollout_step: prompts, rollout, text, verdicts, advantages,
update, and the metrics of the step on the host. Only the problems and their
verifier are the workload's own. The command is started by
experiments.peers.table.
"""

from collections.abc import Callable
from pathlib import Path
import sys
import tempfile

import jax
from ml_collections import ConfigDict as Config

from configs import default
from entrojax.assembly.run import Run, build
from entrojax.data import tokenizer
from entrojax.data.curriculum import Stages
from entrojax.data.prompt_stream import PromptStream
from entrojax.loop.rollout_step import verify_rollout
from entrojax.masking import finalize
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.rollouts.rewards import reward_metrics
from entrojax.types import Problem, Task, Verdict
from entrojax.update.train_step import make_batch
from experiments.peers import workload as shared

_TOKENS_AT_ONCE = 2048  # tokens of a micro-batch on a device, about


def make_config(
  workload: shared.Workload, folder: str, dtype: str = "float32"
) -> Config:
  """Return the settings of a run on the workload.

  Args:
    workload: the model and the sizes of a rollout batch.
    folder: the model folder.
    dtype: the type of the operands of dense products.
  """
  config = default.get_config()
  config.update_from_flattened_dict(
    {
      "model.path": folder,
      _key_of_type(): dtype,
      # only to build the run: with_problems puts the workload's problems there
      "task.name": "countdown",
      "rollout.num_prompts": workload.num_prompts,
      "rollout.group_size": workload.group_size,
      "rollout.prompt_length": workload.prompt_length,
      "rollout.response_length": workload.response_length,
      "optimizer.learning_rate": shared.LEARNING_RATE,
      "optimizer.max_grad_norm": shared.MAX_GRAD_NORM,
      "ppo_clip.clip_low": shared.CLIP,
      "ppo_clip.clip_high": shared.CLIP,
      "evaluation.split": "validation[:1]",
      **(
        _of_large_model(workload)
        if workload.is_large
        else _of_small_model(workload)
      ),
    }
  )
  return config


def _key_of_type() -> str:
  """Return the setting that makes a model fast in bfloat16 here."""
  is_cpu = jax.default_backend() == "cpu"
  return "model.product_dtype" if is_cpu else "model.dtype"


def _of_large_model(workload: shared.Workload) -> dict[str, object]:
  """Return the settings of a model that needs much memory.

  The backward pass computes each layer again from its input, which is kept.
  """
  return {
    "model.scan_layers": True,
    "model.rematerialise": True,
    "training.rematerialise": "layers",
    "training.num_microbatches": workload.num_microbatches,
  }


def _of_small_model(workload: shared.Workload) -> dict[str, object]:
  """Return the settings of a model whose activations fit into memory."""
  rows = workload.num_prompts * workload.group_size
  at_once = _TOKENS_AT_ONCE * jax.device_count()
  return {
    "training.num_microbatches": max(
      rows * workload.response_length // at_once, 1
    ),
    "training.rematerialise": False,
    # no prompt is longer than 8; TRL pads to the longest one of a batch
    "rollout.prompt_buckets": (8,),
  }


def decoder_config(sizes: shared.Sizes) -> DecoderConfig:
  """Return the sizes of the model, as our decoder takes them."""
  return DecoderConfig(
    vocab_size=sizes.vocabulary,
    hidden_size=sizes.width,
    intermediate_size=sizes.inner,
    num_hidden_layers=sizes.layers,
    num_attention_heads=sizes.heads,
    num_key_value_heads=sizes.kv_heads,
    head_dim=sizes.head,
  )


def write_model(folder: Path, sizes: shared.Sizes) -> None:
  """Write a model folder with random weights."""
  characters = tokenizer.character_tokenizer(sizes.characters)
  characters.save(str(folder / "tokenizer.json"))
  model = decoder_config(sizes)
  params = jax.jit(decoder(model).init)(jax.random.key(0))
  hugging_face.write_folder(
    folder, model, params, {"eos_token_id": 2, "pad_token_id": 0}
  )


def with_problems(run: Run, workload: shared.Workload, config: Config) -> Run:
  """Replace the problems and the verifier of a run by the workload's."""

  def verify(problem: Problem, response: str) -> Verdict:
    del problem
    return Verdict(workload.reward(response), "characters", None)

  prompts = [p for seed in range(64) for p in workload.prompts(seed)]
  stream = PromptStream(
    [Problem(prompt, {}) for prompt in prompts],
    tokenizer=run.data.tokenizer,
    num_prompts=workload.num_prompts,
    prompt_length=workload.prompt_length,
    prompt_buckets=config.rollout.prompt_buckets,
    seed=config.seed,
  )
  task = Task("characters", lambda split: (), verify)
  data = run.data._replace(task=task, stages=Stages((stream,), length=1))
  return run._replace(data=data)


def make_step(run: Run, turns: shared.Turns) -> Callable[[int], None]:
  """Build the function that makes rollout step number i."""
  state, key = run.state, jax.random.key(0)

  def sample(prompts, key):
    rollout = run.functions.generate(state.params, prompts, key)
    return rollout, jax.device_get(rollout)

  def update(batch, key):
    return jax.block_until_ready(
      run.functions.update(state, run.ref_params, batch, key)
    )

  sample = turns.timed("rollout", sample)
  update = turns.timed("update", update)

  def step(i: int) -> None:
    nonlocal state
    generate_key, update_key = jax.random.split(jax.random.fold_in(key, i))
    prompts, problems = next(run.data.stream)
    rollout, on_host = sample(prompts, generate_key)
    verified = verify_rollout(run.data, on_host, problems, i)
    step = i * run.settings.updates_per_rollout
    responses = run.functions.advantage(verified, step)
    state, metrics = update(make_batch(rollout, responses), update_key)
    finalize(metrics)
    numbers = reward_metrics(verified, jax.device_get(responses))
    turns.reward = numbers["critic/rewards/mean"]

  return step


def peak_of_device() -> float:
  """Return the most memory that the first device has held, in bytes.

  A CPU's device does not count it, so it is the process's there.
  """
  stats = jax.devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use") or shared.peak_of_process()


def main(name: str, dtype: str) -> None:
  """Make steps on the workload of this name whenever it is our turn."""
  workload, turns = shared.WORKLOADS[name], shared.Turns(peak_of_device)
  with tempfile.TemporaryDirectory() as folder:
    write_model(Path(folder), workload.sizes)
    config = make_config(workload, folder, dtype)
    run = with_problems(build(config), workload, config)
  step = make_step(run, turns)
  i = 0
  while turns.begin():
    step(i)
    turns.end()
    i += 1


if __name__ == "__main__":
  main(*sys.argv[1:])
