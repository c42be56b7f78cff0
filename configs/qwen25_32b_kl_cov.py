r"""KL-Cov on Qwen2.5-32B, at the paper's shapes, for a TPU slice.

    python -m experiments.rehearse --config=configs/qwen25_32b_kl_cov.py \
        --topology=v5p:8x8x4
    python -m entrojax.main --distributed --workdir=runs/32b_kl_cov \
        --config=configs/qwen25_32b_kl_cov.py \
        --config.model.path=Qwen2.5-32B --config.task.data_dir=data

arXiv 2505.22617, as in the authors' script for 32B:

  prompts x responses of a rollout    256 x 8
  updates on a rollout                8, of 32 prompts x 8 responses
  prompt, response in tokens          2,048, 8,192
  penalised tokens, coefficient       0.02 %, 1; no clipping
  learning rate                       1e-6, constant
  groups all right or all wrong       replaced, at most 10 batches
  aggregation                         token-mean

The number of samples of an evaluation and the run's length are ours.

Time: the rehearsal, the first command, compiles for about ten minutes. The run
has not been executed on TPUs.
Measured (by the rehearsal, for v5p:8x8x4, with prompts of 1,024 tokens): 22.2
GB per device for the update and 11.5 GB for decoding, of 102 GB.
"""

from ml_collections import ConfigDict as Config

from configs import default


def get_config() -> Config:
  """Return the settings of the paper's run."""
  config = default.get_config()
  config.num_rollout_steps = 300
  config.model.update(
    {
      "path": "Qwen2.5-32B",
      "dtype": "bfloat16",
      "scan_layers": True,
      "rematerialise": True,
      "query_chunk": 512,  # for the prompts, which are read into a cache
      "fused_attention": True,
    }
  )
  config.task.name = "math/dapo"
  config.prompt.template = "dapo"
  config.mesh = (1, -1, 8)
  config.rollout.update(
    {
      "num_prompts": 256,
      "group_size": 8,
      "prompt_length": 2048,
      "response_length": 8192,
      "num_slots": 1024,
    }
  )
  config.dynamic_sampling.enabled = True
  config.objective = ("kl_cov",)
  config.kl_cov.fraction = 2e-4
  config.training.update({"updates_per_rollout": 8, "num_microbatches": 1})
  config.optimizer.learning_rate = 1e-6
  config.evaluation.update({"num_samples": 32, "prompts_per_batch": 32})
  return config
