"""Claims about methods that slow the fall of entropy or keep coverage."""

import configs
from experiments.claims.effects import (
  GRPO,
  entropy_gap,
  gain,
  pass_gap,
)
from experiments.claims.verdicts import Claim
from experiments.tournament.judging import at_least, within

_NATS = 0.02  # nats per token, a twenty-fifth of the base's entropy
_RARE_CLIP = (
  "after four updates on a batch, 0.2 % of the tokens leave the clip range "
  "here; the papers make sixteen and more"
)
_SELECTION = (
  "a mini-batch has 700 tokens and not millions, so the selected share is {} "
  "times the paper's"
)
_SCALE = "nothing but the scale"
_DYNAMIC = (
  "without long answers the overlong penalty hardly acts; dynamic sampling "
  "samples twice as many responses as GRPO here"
)
_FROM_BASE = (
  "the base samples right answers to 96 % of the prompts within 64 tries, so "
  "there is little left to gain"
)

# method -> how the test differs from its paper's setting, if not in scale alone
_DIFFERS = {
  "clip_higher": _RARE_CLIP,
  "cispo": _RARE_CLIP,
  "ce_gppo": _RARE_CLIP,
  "erc": _RARE_CLIP,
  "gmpo": _RARE_CLIP,
  "bapo": f"{_RARE_CLIP}; with so few, its thresholds never move",
  "dapo": (
    f"{_RARE_CLIP}; dynamic sampling leaves only groups that are partly right, "
    "so each update moves farther"
  ),
  "clip_cov": _SELECTION.format("a hundred"),
  "kl_cov": _SELECTION.format("ten"),
  "sent_token": "a mini-batch has 700 tokens",
  "sent": "two stages of 100 rollout steps, and all prompts are alike in kind",
  "siren": (
    "the vocabulary has 22 tokens and not 150,000; with sixteen times the "
    "coefficient the entropy ends 0.04 nats higher (one seed)"
  ),
  "steer": (
    "a mini-batch has 700 tokens, whose weights lie between 0.8 and 1; smaller "
    "weights do not keep more entropy either (one seed)"
  ),
  "unlikeliness": "with the paper's KL penalty and two epochs",
  "entropy_bonus": "the coefficient is five times the usual 1e-3",
  "reference_kl": "the coefficient is a guess, slightly above the paper's",
}
_LESS = ("falls less", "falls more slowly")  # of a method's record
# methods whose claim was added here when some of their runs were known
_LATER = (
  *("bapo", "dapo", "gmpo", "grpo_s", "lp_reg", "pass_at_k", "sent", "simko"),
  *("starter", "unbiased_kl"),
)


def _slowing() -> list[str]:
  """List the methods that claim to slow the fall of entropy."""
  return [
    name
    for name, method in configs.methods().items()
    if method.claim in _LESS and method.testbed == "countdown"
  ]


def _slower(method: str) -> Claim:
  """Return the claim that a method ends at a higher entropy than GRPO."""
  record = configs.methods()[method]
  return Claim(
    f"slower_{method}",
    f"The entropy falls less under {record.title} than under GRPO.",
    record.paper,
    entropy_gap(method),
    _NATS,
    _DIFFERS.get(method, _SCALE),
    at_least,
    blind=method not in _LATER,
  )


CLAIMS = (
  *map(_slower, _slowing()),
  Claim(
    "top_20_equals_all",
    "Training on the fifth of tokens of highest entropy is as good as training "
    "on all tokens.",
    "2506.01939",
    pass_gap("top_entropy", 1, "clip_higher"),
    0.02,
    "an answer has two or three such tokens here",
    within,
  ),
  Claim(
    "bottom_80_fails",
    "Training on the four fifths of tokens of lowest entropy gains less.",
    "2506.01939",
    pass_gap("clip_higher", 1, "top_entropy,low,fraction=0.8"),
    0.02,
    _SCALE,
    at_least,
  ),
  Claim(
    "nsr_keeps_coverage",
    "NSR keeps the base's pass@64.",
    "2506.01347",
    gain("nsr", "pass@64"),
    0.02,
    "without positive samples a small model may forget the form of an answer",
    within,
  ),
  Claim(
    "nsr_beats_grpo",
    "NSR has a higher pass@64 than GRPO.",
    "2506.01347",
    pass_gap("nsr", 64),
    0.02,
    _FROM_BASE,
    at_least,
  ),
  Claim(
    "w_reinforce_beats_grpo",
    "W-REINFORCE has a higher pass@64 than GRPO.",
    "2506.01347",
    pass_gap("w_reinforce", 64),
    0.02,
    _FROM_BASE,
    at_least,
  ),
  Claim(
    "w_reinforce_keeps_accuracy",
    "W-REINFORCE is as good as GRPO in pass@1.",
    "2506.01347",
    pass_gap("w_reinforce", 1),
    0.02,
    "right answers have a tenth of the weight, at the same learning rate",
    within,
  ),
  Claim(
    "psr_loses_coverage",
    "PSR has a lower pass@64 than GRPO.",
    "2506.01347",
    pass_gap(GRPO, 64, "psr"),
    0.02,
    _FROM_BASE,
    at_least,
  ),
  Claim(
    "unlikeliness_rare",
    "The unlikeliness reward alone lifts rare right answers: pass@64 above "
    "GRPO's.",
    "2506.02355",
    pass_gap("unlikeliness,epochs=1", 64),
    0.02,
    "rare right answers are measured by pass@64, the paper proves theorems",
    at_least,
  ),
  Claim(
    "dapo_gains",
    "DAPO has a higher pass@1 than GRPO after as many updates.",
    "2503.14476",
    pass_gap("dapo", 1),
    0.01,
    _DYNAMIC,
    at_least,
  ),
  Claim(
    "dapo_gains_per_response",
    "DAPO has a higher pass@1 than GRPO after as many responses.",
    "2503.14476",
    pass_gap("dapo", 1, "grpo,steps=400"),
    0.01,
    f"{_DYNAMIC}, so it is compared with GRPO after twice as many steps",
    at_least,
    blind=False,
  ),
  Claim(
    "entropy_advantage_coverage",
    "Entropy as advantage raises pass@64 above GRPO's.",
    "2506.14758",
    pass_gap("entropy_advantage", 64),
    0.02,
    _SCALE,
    at_least,
  ),
  Claim(
    "clip_cov_gains",
    "Clip-Cov has a higher pass@1 than GRPO at an equal budget.",
    "2505.22617",
    pass_gap("clip_cov", 1),
    0.01,
    "200 rollout steps, long before GRPO stops learning; the paper's gain "
    "comes after GRPO has stopped",
    at_least,
  ),
  Claim(
    "kl_cov_gains",
    "KL-Cov has a higher pass@1 than GRPO at an equal budget.",
    "2505.22617",
    pass_gap("kl_cov", 1),
    0.01,
    "200 rollout steps, long before GRPO stops learning; the paper's gain "
    "comes after GRPO has stopped",
    at_least,
  ),
  Claim(
    "seed_keeps_entropy",
    "SEED-GRPO, which damps uncertain prompts, keeps more entropy than "
    "Dr.GRPO.",
    "2505.12346",
    entropy_gap("seed_grpo", "dr_grpo"),
    _NATS,
    "clusters are of 8 answers of 11 tokens; the strength is set to 1",
    at_least,
  ),
  Claim(
    "seed_gains",
    "SEED-GRPO has a higher pass@1 than Dr.GRPO.",
    "2505.12346",
    pass_gap("seed_grpo", 1, "dr_grpo"),
    0.01,
    "clusters are of 8 answers of 11 tokens; the strength is set to 1",
    at_least,
  ),
  Claim(
    "sent_curriculum",
    "SENT's curriculum helps: SENT has a higher pass@1 than its token level "
    "alone.",
    "2512.04359",
    pass_gap("sent", 1, "sent_token"),
    0.01,
    "two stages of 100 rollout steps, and all prompts are alike in kind",
    at_least,
  ),
  Claim(
    "sent_token_level",
    "SENT's token level helps: SENT has a higher pass@1 than its curriculum "
    "alone.",
    "2512.04359",
    pass_gap("sent", 1, "grpo,curriculum"),
    0.01,
    "two stages of 100 rollout steps, and all prompts are alike in kind",
    at_least,
  ),
)
