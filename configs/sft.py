r"""Every setting of supervised fine-tuning, with its meaning and unit.

    python -m entrojax.sft --config=configs/sft.py --output=my_model \
        --config.model.path=SmolLM2-135M-Instruct --config.prompt.chat=True \
        --config.sft.files="('answers.jsonl',)"

Supervised fine-tuning learns from given responses. The settings that it shares
with reinforcement learning are explained in configs/default.py.

Time and result: not recorded for this file by itself. Both are recorded for the
three bases, in the headers of configs/warm_up_countdown.py,
warm_up_reasoning.py and warm_up_logic.py.
"""

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

from configs import default

_SHARED = ("seed", "model", "lora", "prompt", "mesh", "optimizer", "checkpoint")


def get_config() -> Config:
  """Return the settings, with no model and no examples chosen."""
  shared = default.get_config()
  config = Config({name: shared[name] for name in _SHARED})
  config.num_steps = 1000  # length of the run in optimizer steps
  config.sft = Config(
    {
      # tasks whose right answers are learned, as NAME[#LEVEL][:SPLIT][@FOLDER];
      # by default level 1 of the split train. If a task has traces, they are
      # learned instead; some of them are wrong
      "tasks": (),
      "files": (),  # files of examples: .parquet, .jsonl or .json
      "prompt_column": "prompt",  # column of the files with the prompt
      "response_column": "response",  # column of the files with the response
      # maximum number of right answers to one problem; if there are more, this
      # many are drawn at random, once
      "max_responses": 64,
      # tokens of a row, which holds several examples; longer examples are left
      # out and counted
      "row_length": 512,
      "num_rows": 32,  # rows in a batch
      # type of the weights that are written: float32 or bfloat16
      "dtype": "float32",
    }
  )
  config.new_model = Config(  # a model with random weights, without model.path
    {
      # all characters of its vocabulary; one token each
      "characters": config_dict.placeholder(str),
      # sizes, with the names of Hugging Face's config.json
      "hidden_size": 128,
      "intermediate_size": 384,
      "num_hidden_layers": 4,
      "num_attention_heads": 4,
      "num_key_value_heads": 2,
      "head_dim": 32,
    }
  )
  config.training = Config(
    {
      # parts that a batch is split into to save memory; the gradient still
      # covers the whole batch
      "num_microbatches": 1,
      # recompute a micro-batch's activations in the backward pass, so that only
      # one micro-batch's are in memory at a time
      "rematerialise": True,
    }
  )
  config.faults = Config(
    {
      # the run ends, saved, after this many steps in a row that were skipped
      # because a number was not finite
      "max_in_a_row": 5,
    }
  )
  config.log = Config(
    {
      # optimizer steps between lines where no terminal shows progress; the
      # files in the run directory get every step
      "every": 10,
      # Weights & Biases project; None: W&B is not used
      "wandb_project": config_dict.placeholder(str),
    }
  )
  return config
