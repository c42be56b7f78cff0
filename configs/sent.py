r"""SENT: a curriculum by semantic entropy, and a KL penalty.

    python -m entrojax.prompt_entropy --config=configs/sent.py \
        --output=runs/countdown_prompts.jsonl
    python -m entrojax.main --config=configs/sent.py --workdir=runs/sent

arXiv 2512.04359. The first command measures, once, the semantic entropy of the
base model's answers to each training prompt; two expressions of the same value
count as one answer. The second command trains in two stages, first on the half
of the prompts with low semantic entropy and then on the other half, with the
penalty of configs/sent_token.py.

Time: the second command takes about 3 to 5 minutes on two cores, as
`configs/sent.py:demo`; the time of the first is not recorded.
Claim: the entropy falls less than under GRPO.
Measured: without its curriculum, see configs/sent_token.py.
"""

from ml_collections import ConfigDict as Config

from configs import Method, num_rollout_steps, run_length, sent_token


def settings(config: Config) -> dict:
  """Return the token level's settings, and two stages of prompts."""
  task = config.task.name.replace("/", "_")
  return {
    **sent_token.SETTINGS,
    "clusters": {"equality": "verified"},
    "curriculum": {
      # the file that entrojax.prompt_entropy writes
      "table": f"runs/{task}_prompts.jsonl",
      "steps_per_stage": num_rollout_steps(config) // 2,
    },
    # each stage has its own schedule
    "optimizer": {"decay_steps": run_length(config) // 2},
  }


METHOD = Method(
  title="SENT",
  family="distance to the base",
  equation="the token level, on prompts from low to high semantic entropy",
  files=("data/curriculum.py", "prompt_entropy.py", "objectives/sent.py"),
  paper="2512.04359",
  statistics="mini-batch",
  claim="falls less",
  measured="as sent_token, without the curriculum",
  settings=settings,
  on=sent_token.ON,
  origins={"countdown": "As configs/sent_token.py."},
  direction=1,
  overrides={"curriculum.table": None},
  why="without its curriculum: all methods get the same batches",
)
get_config = METHOD.get_config
