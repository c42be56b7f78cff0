"""Claims about the fall of entropy, its law and what causes it."""

from experiments.claims.effects import (
  GRPO,
  LONG,
  early_fall,
  entropy_fall,
  entropy_gap,
  law_fit,
  law_forecast,
  law_over_budgets,
  mean_of,
  pass_gap,
  prediction,
  smallest_of,
)
from experiments.claims.verdicts import Claim
from experiments.tournament.judging import at_least

_SHORT = "answers have 11 tokens and the base 0.8 M weights, not 1,000 and 7 B"
_BATCH = (
  "the reward is of the training batch, whose difficulty moves entropy and "
  "reward together; the paper uses held-out accuracy"
)
_NATS = 0.02  # nats per token, a twenty-fifth of the base's entropy

CLAIMS = (
  Claim(
    "collapse",
    "Without control, the entropy collapses under GRPO.",
    "2505.22617",
    entropy_fall(LONG),
    0.3,
    f"{_SHORT}; 2,400 updates at a learning rate of 1.6e-4",
    at_least,
  ),
  Claim(
    "early_collapse",
    "Most of the fall of the entropy comes early in a run.",
    "2505.22617",
    early_fall(LONG),
    0.1,
    "the learning rate falls along a cosine; the paper's is constant",
    at_least,
  ),
  Claim(
    "law",
    "R = -a exp(H) + b describes a run of GRPO.",
    "2505.22617",
    law_fit(LONG, 0.7),
    0.0,
    _BATCH,
    at_least,
  ),
  Claim(
    "law_of_budgets",
    "R = -a exp(H) + b describes held-out accuracy over budgets of GRPO.",
    "2505.22617",
    law_over_budgets(0.9),
    0.0,
    "the points are the ends of annealed runs and not steps of one run; a "
    "straight line in H itself fits these seven points as well (R^2 0.97 to "
    "0.99)",
    at_least,
  ),
  Claim(
    "law_forecast",
    "The law of the first 15 % of a run forecasts the rest.",
    "2505.22617",
    law_forecast(LONG),
    0.5,
    f"{_BATCH}; 15 % of this run are nine parts with little fall",
    at_least,
  ),
  Claim(
    "covariance_positive",
    "The covariance of log-probability and advantage is positive.",
    "2505.22617",
    mean_of(GRPO, "covariance/mean"),
    0.0,
    _SHORT,
    at_least,
  ),
  Claim(
    "covariance_quadrants",
    "Probable tokens of right answers and rare tokens of wrong answers lower "
    "the entropy, the other two quadrants raise it.",
    "2510.10150",
    smallest_of(
      GRPO,
      {
        "covariance/positive_probable": 1,
        "covariance/positive_rare": -1,
        "covariance/negative_probable": -1,
        "covariance/negative_rare": 1,
      },
    ),
    0.0,
    "a token is probable from 0.5 on, which is near the mean, so the signs "
    "almost follow from the formula; this says little about the entropy itself",
    at_least,
  ),
  Claim(
    "covariance_predicts",
    "The covariance predicts the change of the entropy.",
    "2505.22617",
    prediction(LONG),
    0.5,
    "Adam moves all tokens' logits, and the prediction is for a tabular policy "
    "whose every logit moves alone",
    at_least,
  ),
  Claim(
    "positive_causes",
    "Positive advantages cause the collapse: training on right answers alone "
    "ends at a lower entropy than on wrong answers alone.",
    "2511.05993",
    entropy_gap("nsr", "psr"),
    0.05,
    _SHORT,
    at_least,
  ),
  Claim(
    "psr_collapses",
    "PSR lowers the entropy more than GRPO.",
    "2506.01347",
    entropy_gap(GRPO, "psr"),
    _NATS,
    "a right answer of this base is rare, so PSR has a quarter of the samples",
    at_least,
  ),
  Claim(
    "off_policy",
    "More updates on each rollout batch speed up the collapse: 16 against 1.",
    "2511.05993",
    entropy_gap("grpo,updates=1", "grpo,updates=16"),
    _NATS,
    "the learning rate is the same for both, so 16 updates also move farther",
    at_least,
  ),
  Claim(
    "few_prompts",
    "Less diverse prompts speed up the collapse: 64 against all of them.",
    "2511.05993",
    entropy_gap(GRPO, "grpo,prompts=64"),
    _NATS,
    "each of the 64 prompts is seen a hundred times, so this cannot tell a "
    "lack of diversity from repetition; they are the first ones, and not alike",
    at_least,
  ),
  Claim(
    "loose_clip",
    "Looser clip thresholds speed up the collapse: 0.9 against 0.05 on both "
    "sides.",
    "2511.05993",
    entropy_gap("grpo,clip=0.05", "grpo,clip=0.9"),
    _NATS,
    "ratios leave the usual range on one token in six hundred here",
    at_least,
  ),
  Claim(
    "epochs",
    "More PPO epochs lift rare right answers: two epochs against one.",
    "2506.02355",
    pass_gap("grpo,epochs=2", 64),
    0.02,
    "rare right answers are measured by pass@64, the paper proves theorems",
    at_least,
  ),
)
