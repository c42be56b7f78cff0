"""The supervised warm-up that made entrojax/bases/logic.

python -m entrojax.sft --config=configs/warm_up_logic.py --output=runs/logic
"""

from ml_collections import ConfigDict as Config

from configs import sft

# all that prompts and right responses of the families contain
CHARACTERS = (
  " ()*+,-./0123456789:;<=>?ABCDEFGHT[]abcdefghijklmnopqrstuvwxyz{|}~&"
)
# 8,192 problems each, of arithmetic_chain#1 fewer; the longer chains twice
TASKS = (
  *("arithmetic_chain#1", "arithmetic_chain#2", "arithmetic_chain#2"),
  *("arithmetic_chain#3", "arithmetic_chain#3"),
  *("sudoku#1", "sudoku#2", "knights_and_knaves#1", "propositional_logic#1"),
  *("dyck#1", "word_sorting#1", "n_queens#1"),
)


def get_config() -> Config:
  """Returns the warm-up's settings."""
  config = sft.get_config()
  config.update(
    {
      "num_steps": 1000,  # 2 epochs
      "new_model": {
        "characters": CHARACTERS,
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
      },
      "sft": {
        "tasks": TASKS,
        "row_length": 64,
        "num_rows": 64,
        "dtype": "bfloat16",
      },
      "training": {"num_microbatches": 1, "rematerialise": False},
      "optimizer": {
        "learning_rate": 3e-3,
        "warmup_steps": 200,
        "decay_steps": 3500,  # the end comes first: a base that is not sure
        "end_fraction": 0.02,
        "b2": 0.98,
        "weight_decay": 0.01,
      },
      "checkpoint": {"every": 500},
      "log": {"every": 100},
    }
  )
  return config
