"""Every setting of supervised fine-tuning, with its unit.

    python -m entrojax.sft --config=configs/sft.py --output=my_model \
        --config.model.path=SmolLM2-135M-Instruct --config.prompt.chat=True \
        --config.sft.files="('answers.jsonl',)"

What a run of reinforcement learning has too is set in configs/default.py.
"""

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

from configs import default

_SHARED = ("seed", "model", "lora", "prompt", "mesh", "optimizer", "checkpoint")


def get_config() -> Config:
  """Returns the settings, with no model and no examples chosen."""
  shared = default.get_config()
  config = Config({name: shared[name] for name in _SHARED})
  config.num_steps = 1000  # optimizer steps of the run
  config.sft = Config(
    {
      "tasks": (),  # NAME[#LEVEL][:SPLIT][@FOLDER]; level 1, train by default
      "files": (),  # parquet, jsonl, json
      "prompt_column": "prompt",  # of files
      "response_column": "response",
      "max_responses": 64,  # to a prompt; of more so many are drawn, once
      "row_length": 512,  # tokens; longer examples are left out
      "num_rows": 32,  # of a batch
      "dtype": "float32",  # of the weights that are written; bfloat16
    }
  )
  config.new_model = Config(  # where model.path is not set
    {
      "characters": config_dict.placeholder(str),  # its vocabulary
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
      "num_microbatches": 1,  # parts of a batch run one after another
      "rematerialise": True,  # hold the activations of one part at a time
    }
  )
  config.log = Config(
    {
      "every": 10,  # steps between plain lines; the files get all
      "wandb_project": config_dict.placeholder(str),  # None: no W&B
    }
  )
  return config
