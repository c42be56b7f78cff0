r"""SEED-GRPO: learn less from prompts whose answers disagree.

    python -m entrojax.main --config=configs/seed_grpo.py \
        --workdir=runs/seed_grpo

arXiv 2505.12346. The factor on the advantage falls with the semantic entropy of
the group's answers; the advantage is Dr.GRPO's.

Time: about 3 to 5 minutes on two cores, as `configs/seed_grpo.py:demo`.
Claim: the entropy falls less than under Dr.GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.2 ± 0.3 millinats per token: there
is no claim against GRPO.
"""

from configs import Method

METHOD = Method(
  title="SEED-GRPO",
  family="rewards and advantages",
  equation="A f(semantic entropy)",
  files=("advantages/seed_grpo.py", "entropy/semantic.py"),
  paper="2505.12346",
  statistics="group",
  claim="falls less than under Dr.GRPO",
  measured="+0.2 ± 0.3",
  settings={
    "advantage": ("dr_grpo", "seed_grpo"),
    "aggregation": "seq-mean-token-sum-norm",
  },
  on={"countdown": {"seed_grpo": {"alpha": 1.0}}},
  origins={
    "countdown": (
      "Guess: the strength in the released code is reported to be 0.0417, "
      "which changes an update by at most 4 %. A strength of 1 halves the "
      "update of a prompt whose answers all differ. After 200 rollout steps "
      "the entropy is 0.337 nats, under GRPO 0.351 (four seeds)."
    ),
  },
  why="its claim is against Dr.GRPO",
)
get_config = METHOD.get_config
