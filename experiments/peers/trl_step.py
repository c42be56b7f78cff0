"""Run TRL's GRPOTrainer on the shared workload.

    python -m experiments.peers.trl_step W1 float32

With bfloat16 as its second argument, TRL trains in mixed precision. It uses a
GPU if there is one. This runs in an environment with torch, transformers and
trl. The command is started by experiments.peers.table.
"""

import os

os.environ.update(
  HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1"
)

import sys
import tempfile

from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
import torch
from transformers import (
  PreTrainedTokenizerFast,
  Qwen3Config,
  Qwen3ForCausalLM,
  TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer

from experiments.peers import workload as shared

_STEPS = 10_000  # more than there are turns


def make_tokenizer(sizes: shared.Sizes) -> PreTrainedTokenizerFast:
  """Build a tokenizer of single characters."""
  pad, bos, eos = shared.SPECIAL
  words = (*shared.SPECIAL, *sizes.characters)
  table = {word: i for i, word in enumerate(words)}
  backend = Tokenizer(models.WordLevel(table, unk_token=pad))
  backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
  backend.decoder = decoders.Fuse()
  return PreTrainedTokenizerFast(
    tokenizer_object=backend,
    pad_token=pad,
    bos_token=bos,
    eos_token=eos,
    padding_side="left",
  )


def make_model(sizes: shared.Sizes) -> Qwen3ForCausalLM:
  """Build the model, with random weights."""
  torch.manual_seed(0)
  return Qwen3ForCausalLM(
    Qwen3Config(
      vocab_size=sizes.vocabulary,
      hidden_size=sizes.width,
      intermediate_size=sizes.inner,
      num_hidden_layers=sizes.layers,
      num_attention_heads=sizes.heads,
      num_key_value_heads=sizes.kv_heads,
      head_dim=sizes.head,
      max_position_embeddings=512,
      rms_norm_eps=1e-6,
      tie_word_embeddings=True,
      pad_token_id=0,
      bos_token_id=1,
      eos_token_id=2,
    )
  )


class InTurn(TrainerCallback):
  """Ends a turn, logging included, when the next step begins."""

  def __init__(self, turns: shared.Turns):
    self._turns = turns

  def on_step_begin(self, args, state, control, **others):
    del args, control, others
    if state.global_step:
      self._turns.end()
    if not self._turns.begin():
      sys.exit(0)


def peak_of_device() -> float:
  """Return the most memory of the GPU, or else of the process, in bytes."""
  if torch.cuda.is_available():
    return float(torch.cuda.max_memory_allocated())
  return shared.peak_of_process()


def main(name: str, dtype: str) -> None:
  """Make steps on the workload of this name whenever it is TRL's turn."""
  workload = shared.WORKLOADS[name]
  turns = shared.Turns(peak_of_device)

  def reward(prompts, completions, **others):
    del prompts, others
    rewards = [workload.reward(text) for text in completions]
    turns.reward = sum(rewards) / len(rewards)
    return rewards

  rows = workload.num_prompts * workload.group_size
  prompts = [p for seed in range(64) for p in workload.prompts(seed)]
  with tempfile.TemporaryDirectory() as folder:
    trainer = GRPOTrainer(
      model=make_model(workload.sizes),
      processing_class=make_tokenizer(workload.sizes),
      reward_funcs=reward,
      train_dataset=Dataset.from_dict({"prompt": prompts}),
      args=GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=rows // workload.num_microbatches,
        gradient_accumulation_steps=workload.num_microbatches,
        num_generations=workload.group_size,
        max_completion_length=workload.response_length,
        max_steps=_STEPS,
        learning_rate=shared.LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=shared.MAX_GRAD_NORM,
        beta=0.0,
        epsilon=shared.CLIP,
        temperature=1.0,
        loss_type="grpo",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        bf16=dtype == "bfloat16",
        fp16=False,
        gradient_checkpointing=False,  # faster, and micro-batches fit
        disable_tqdm=True,
        dataloader_pin_memory=False,
      ),
    )
    trainer.add_callback(InTurn(turns))
    trainer._generate = turns.timed("rollout", trainer._generate)
    # the rest of a step is the update: loss, backward pass, optimizer, logging
    trainer._generate_and_score_completions = turns.timed(
      "before_update", trainer._generate_and_score_completions
    )
    trainer.train()


if __name__ == "__main__":
  main(*sys.argv[1:])
