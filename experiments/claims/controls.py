"""Claims about methods that hold a target, and about one curve or many."""

from experiments.claims.effects import (
  Effect,
  height,
  miss,
  pass_gap,
  worse_miss,
)
from experiments.claims.verdicts import Claim
from experiments.tournament.judging import Test, at_least, within

_NEAR = 0.03  # nats per token
_LOW = 0.36  # nats, 70 % of the base's entropy
_ENTROPIC = f"entropic,target={_LOW:g}"
_PROJECTION = f"projection,target={_LOW:g}"
_GAINS = "the gains of the controller are guesses for this base"
_FINAL = (
  "one evaluation at the end, on held-out prompts; the papers show the "
  "training entropy of the whole run"
)


def _control(
  name: str,
  text: str,
  source: str,
  effect: Effect,
  margin: float,
  test: Test,
  differs: str = f"{_GAINS}; {_FINAL}",
) -> Claim:
  return Claim(name, text, source, effect, margin, differs, test)


CLAIMS = (
  _control(
    "entropic_holds",
    "EntroPIC holds its target, with four updates per rollout.",
    "2511.15248",
    miss("entropic", 0.5),
    _NEAR,
    within,
  ),
  _control(
    "entropic_holds_on_policy",
    "EntroPIC holds its target on-policy, with one update per rollout.",
    "2511.15248",
    miss("entropic,updates=1", 0.5),
    _NEAR,
    within,
  ),
  _control(
    "entropic_holds_off_policy",
    "EntroPIC holds its target off-policy, with 16 updates per rollout.",
    "2511.15248",
    miss("entropic,updates=16", 0.5),
    _NEAR,
    within,
  ),
  _control(
    "p_alone_fails",
    "P control alone ends farther from the target than PI control.",
    "2511.15248",
    worse_miss("entropic,ki=0", "entropic", 0.5),
    0.02,
    at_least,
    "the proportional gain of 3 is large, and the base starts at the target",
  ),
  _control(
    "entropic_gains",
    "EntroPIC has a higher pass@1 than GRPO at an equal budget.",
    "2511.15248",
    pass_gap("entropic", 1),
    0.01,
    at_least,
    "the target is the base's entropy, and 200 rollout steps end long before "
    "GRPO stops learning",
  ),
  _control(
    "low_target_gains",
    "EntroPIC with a target of 70 % of the base's entropy has a higher pass@1 "
    "than GRPO at an equal budget.",
    "2511.15248",
    pass_gap(_ENTROPIC, 1),
    0.01,
    at_least,
    "200 rollout steps end long before GRPO stops learning",
  ),
  _control(
    "adaptive_entropy_holds",
    "Skywork-OR1's adaptive coefficient keeps the entropy at its target.",
    "2505.22312",
    miss("adaptive_entropy", 0.4),
    _NEAR,
    within,
    "its coefficient is at most 5e-3, and 800 updates leave it little time",
  ),
  _control(
    "positive_reweighting_holds",
    "Positive-advantage reweighting holds a target of entropy.",
    "2511.05993",
    miss("positive_reweighting", 0.4),
    _NEAR,
    within,
    f"the target is a guess, 78 % of the base's entropy; {_FINAL}",
  ),
  _control(
    "entrocraft_holds",
    "Entrocraft keeps the entropy in its band, at whose middle it ends.",
    "2604.26326",
    miss("entrocraft", 0.425),
    _NEAR,
    within,
    "the band moves down by 0.1 nats within 200 rollout steps",
  ),
  _control(
    "projection_holds",
    "The projection holds a target of 70 % of the base's entropy.",
    "ours",
    miss(_PROJECTION, _LOW),
    _NEAR,
    within,
    "one evaluation at the end, on held-out prompts; GRPO, which has no "
    "target, ends within this margin as well",
  ),
  _control(
    "projection_is_cheaper",
    "The projection holds this target at a smaller cost in pass@1 than "
    "EntroPIC.",
    "ours",
    pass_gap(_PROJECTION, 1, _ENTROPIC),
    0.01,
    at_least,
    "the two may end at different entropies",
  ),
  _control(
    "entropic_above_curve",
    "EntroPIC with a target of 70 % of the base's entropy is above GRPO's "
    "curve at equal entropy after 200 rollout steps.",
    "ours",
    height(_ENTROPIC),
    0.01,
    at_least,
    "one seed with 600 rollout steps had suggested it; with 600 steps and "
    "three seeds it is above, by 0.036 [0.023, 0.048] (the tournament's page)",
  ),
  _control(
    "clip_cov_above_curve",
    "Clip-Cov is above GRPO's curve at equal entropy.",
    "ours",
    height("clip_cov"),
    0.01,
    at_least,
    "one seed with 600 rollout steps had suggested it; with 600 steps and "
    "three seeds it is above, by 0.033 [0.012, 0.053] (the tournament's page)",
  ),
  _control(
    "clip_cov_coverage_above_curve",
    "Clip-Cov has more pass@64 than GRPO's curve at equal entropy.",
    "ours",
    height("clip_cov", "pass@64"),
    0.01,
    at_least,
    "one seed with 600 rollout steps had suggested it; with 600 steps and "
    "three seeds it is undecided, +0.004 [-0.027, 0.035] (the tournament's "
    "page)",
  ),
)
