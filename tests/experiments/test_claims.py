"""Verdicts on claims: the rule around its thresholds, and the effects."""

import numpy as np
import pytest

import configs
from entrojax.reporting.differences import Interval
from experiments.claims import causes, effects, second_base
from experiments.claims.all_claims import CLAIMS, find
from experiments.claims.page import page, print_table
from experiments.claims.verdicts import (
  NO_NUMBER,
  SEEDS_MISSING,
  Claim,
  Effect,
  verdict,
)
from experiments.tournament import entries
from experiments.tournament.judging import (
  HELD,
  NOT_HELD,
  OPEN,
  at_least,
  within,
)
from experiments.tournament.rule import BUDGETS, SEEDS
from tests.helpers.kept_lines import by_name, invented


@pytest.mark.parametrize(
  ("mean", "half", "expected"),
  [
    (0.1, 0.05, HELD),  # the mean is the margin
    (0.099, 0.05, OPEN),  # it is below, but the margin is not excluded
    (0.1, 0.1, OPEN),  # the interval touches zero
    (0.2, 0.19, HELD),
    (0.05, 0.05, OPEN),  # the interval touches the margin
    (0.05, 0.049, NOT_HELD),
    (-0.5, 0.1, NOT_HELD),
    (float("nan"), 0.1, OPEN),
  ],
)
def test_a_claim_of_a_difference(mean, half, expected):
  assert at_least(Interval(mean, mean - half, mean + half), 0.1) == expected


@pytest.mark.parametrize(
  ("mean", "half", "expected"),
  [
    (0.0, 0.09, HELD),
    (0.0, 0.1, OPEN),  # the interval touches the margins
    (0.05, 0.04, HELD),
    (0.2, 0.1, OPEN),
    (0.2, 0.09, NOT_HELD),
    (-0.2, 0.09, NOT_HELD),
    (float("nan"), 0.1, OPEN),
  ],
)
def test_a_claim_of_no_difference(mean, half, expected):
  assert within(Interval(mean, mean - half, mean + half), 0.1) == expected


def test_without_an_effect_a_claim_is_not_run():
  effect = Effect("", (), lambda lines: None)
  claim = Claim("a", "", "", effect, 0.1, "", at_least)
  assert verdict(claim, {}) == (SEEDS_MISSING, None)


# -- effects ------------------------------------------------------------------


def lines_of(**values):
  """Return lines of entries with seeds 0 to 2; values: (entropy, pass@1)."""
  return by_name(
    [
      invented(entry.replace("_steps_", ",steps="), seed, *own)
      for entry, own in values.items()
      for seed in SEEDS
    ]
  )


def test_a_gap_is_one_entry_minus_another():
  lines = lines_of(nsr=(0.45, 0.25), psr=(0.3, 0.5))
  assert effects.entropy_gap("nsr", "psr").measure(lines).mean == (
    pytest.approx(0.15)
  )
  # 16 and 32 of 64 samples are right
  assert effects.pass_gap("psr", 1, "nsr").measure(lines).mean == 0.25
  shifted = effects.pass_gap("psr", 1, "nsr", shift=0.5).measure(lines)
  assert shifted == pytest.approx((0.75, 0.75, 0.75))


def test_what_never_acted_has_no_effect_on_the_entropy():
  lines = lines_of(bapo=(0.45, 0.25), psr=(0.3, 0.5), grpo=(0.45, 0.25))
  same = effects.entropy_gap("bapo", "grpo").measure(lines)
  assert np.isnan(same.mean)
  claim = Claim(
    "a", "", "", effects.entropy_gap("bapo", "grpo"), 0.1, "", within
  )
  assert verdict(claim, lines)[0] == NO_NUMBER
  assert np.isfinite(effects.entropy_gap("psr", "grpo").measure(lines).mean)


def test_an_effect_with_a_zero_of_its_own_is_shown_as_its_value():
  claim = Claim(
    "law", "A law.", "ours", effects.law_over_budgets(0.9), 0, "", at_least
  )
  text, _ = page([claim], budgets(), {})
  assert "| 1.000 [1.000, 1.000], against 0.9 |" in text
  assert "0 are of papers, 0 the survey's and 1 our own." in text


def test_an_effect_waits_for_all_seeds():
  lines = lines_of(nsr=(0.45, 0.25), psr=(0.3, 0.5))
  del lines["psr,seed=2"]
  assert effects.entropy_gap("nsr", "psr").measure(lines) is None
  assert effects.pass_gap("nsr", 1, "psr").measure(lines) is None
  assert effects.miss("psr", 0.3).measure(lines) is None
  assert effects.height("psr").measure(lines) is None


def test_a_seed_counts_if_all_entries_have_it():
  lines = lines_of(nsr=(0.45, 0.25), psr=(0.3, 0.5))
  more = {name: invented(name, 3, 0.45, 0.25) for name in ("nsr", "psr")}
  lines["nsr,seed=3"] = more["nsr"]
  gap = effects.entropy_gap("nsr", "psr")
  assert gap.measure(lines).mean == pytest.approx(0.15)
  lines["psr,seed=3"] = more["psr"]._replace(end=more["psr"].end | {"a": 1.0})
  assert gap.measure(lines).mean == pytest.approx(0.15 * 3 / 4)
  accuracy = effects.pass_gap("psr", 1, "nsr")
  assert accuracy.measure(lines).mean == pytest.approx(0.25 * 3 / 4)


def test_changes_and_distances_from_a_target():
  lines = lines_of(nsr=(0.4, 0.25), psr=(0.3, 0.5))
  measure = lambda effect: effect.measure(lines).mean
  assert measure(effects.miss("nsr", 0.5)) == pytest.approx(-0.1)
  worse = effects.worse_miss("psr", "nsr", 0.5)
  assert measure(worse) == pytest.approx(0.1)
  assert measure(effects.gain("nsr", "pass@1")) == pytest.approx(0.05)
  # from 0.5 nats to 0.3
  assert measure(effects.entropy_fall("psr")) == pytest.approx(0.4)


def budgets():
  """Return GRPO's runs, whose pass@1 is linear in exp(entropy)."""
  ends = {n: 0.5 - n / 2000 for n in BUDGETS}
  line = lambda h: 0.2 + np.exp(0.5) - np.exp(h)
  own = {f"grpo_steps_{n}": (h, line(h)) for n, h in ends.items()}
  return lines_of(**own)


def test_a_law_over_budgets_is_a_perfect_fit_of_a_line():
  interval = effects.law_over_budgets(0.9).measure(budgets())
  assert interval == pytest.approx((0.1, 0.1, 0.1))


def test_a_height_beyond_the_curve_is_undecided():
  lines = budgets() | lines_of(nsr=(0.6, 0.9))
  effect = effects.height("nsr").measure(lines)
  assert np.isnan(effect.mean)
  assert at_least(effect, 0.01) == OPEN


def courses(**course):
  """Return lines of an entry with these training metrics."""
  return by_name([invented("grpo", s, course=course) for s in SEEDS])


def test_the_law_of_a_run_is_fitted_and_forecast():
  entropy = np.linspace(0.5, 0.2, 60)
  reward = 0.9 - 0.3 * np.exp(entropy)
  own = {"actor/entropy": entropy, "critic/rewards/mean": reward}
  lines = courses(**{name: x.tolist() for name, x in own.items()})
  fit = effects.law_fit("grpo", 0.7).measure(lines)
  assert fit.mean == pytest.approx(0.3, abs=1e-6)
  saved = effects.law_forecast("grpo").measure(lines)
  assert saved.mean == pytest.approx(1.0, abs=1e-6)
  # the fall is even, so the half has half of it
  early = effects.early_fall("grpo").measure(lines)
  assert early.mean == pytest.approx(0.0, abs=0.02)


def test_a_law_needs_an_entropy_that_moves():
  entropy = np.linspace(0.25, 0.18, 60)
  reward = 0.9 - 0.3 * np.exp(entropy)
  own = {"actor/entropy": entropy, "critic/rewards/mean": reward}
  lines = courses(**{name: x.tolist() for name, x in own.items()})
  for effect in (effects.law_fit("grpo", 0.7), effects.law_forecast("grpo")):
    claim = Claim("a", "", "", effect, 0.1, "", at_least)
    assert verdict(claim, lines)[0] == NO_NUMBER


def test_a_prediction_is_correlated_with_the_fall_in_each_part():
  falls = np.linspace(0.01, 0.001, 60)
  entropy = 0.5 - np.cumsum(falls)
  predicted = -np.linspace(0.01, 0.001, 10)
  lines = courses(
    **{
      "actor/entropy": entropy.tolist(),
      "covariance/predicted_change": predicted.tolist(),
    }
  )
  lines = {name: line._replace(steps=600) for name, line in lines.items()}
  interval = effects.prediction("grpo").measure(lines)
  assert interval.mean == pytest.approx(1.0, abs=1e-3)


def test_the_weakest_quadrant_decides():
  lines = courses(**{"a": [0.2, 0.4, None], "b": [-0.1, -0.1, -0.1]})
  assert effects.mean_of("grpo", "a").measure(lines).mean == pytest.approx(0.3)
  signs = {"a": 1, "b": -1}
  weakest = effects.smallest_of("grpo", signs).measure(lines)
  assert weakest.mean == pytest.approx(0.1)


# -- all claims ---------------------------------------------------------------


def test_every_claim_needs_entries_of_the_tournament_with_three_seeds():
  assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 24
  all_entries = entries.entries("countdown")
  names = {entry.name for entry in all_entries if len(entry.seeds) >= 3}
  for claim in CLAIMS:
    assert set(claim.effect.entries) <= names, claim.name
    assert bool(claim.effect.entries) != bool(claim.command), claim.name
    assert claim.margin >= 0, claim.name
    assert claim.differs, claim.name


def test_every_method_that_is_to_slow_the_fall_is_a_claim():
  methods = configs.methods()
  own = {name for name, m in methods.items() if m.claim == "falls less"}
  assert own
  assert {f"slower_{name}" for name in own} <= {claim.name for claim in CLAIMS}


def test_the_notes_of_the_reasoning_base_are_of_claims():
  names = {claim.name for claim in second_base.comparable(CLAIMS)}
  assert second_base.DIFFERS.keys() <= names


def test_an_unknown_claim_is_refused_with_the_nearest_name():
  assert find("law").name == "law"
  with pytest.raises(ValueError, match="did you mean 'psr_collapses'"):
    find("psr_colapses")


def test_the_page_has_every_claim_below_its_verdict():
  lines = lines_of(nsr=(0.45, 0.25), psr=(0.3, 0.5))
  text, figure = page(CLAIMS, lines, {})
  head, held, rest = text.partition("## Held")
  assert "1 held" in head
  assert "**positive_causes**" in held + rest.partition("##")[0]
  assert "+0.150 [+0.150, +0.150]" in rest
  assert all(f"**{claim.name}**" in text for claim in CLAIMS)
  assert figure is not None and figure.rstrip().endswith("</svg>")
  rows = list(print_table(CLAIMS, lines, {}))
  split = rows.index("\non the reasoning base:")
  assert split == len(CLAIMS)
  assert len(rows) == split + 1 + len(second_base.comparable(CLAIMS))


# -- the reasoning base -------------------------------------------------------


def test_the_reasoning_base_has_the_counterparts_of_the_claims_entries():
  here = second_base.names_on_countdown()
  names = {entry.name for entry in entries.entries("reasoning")}
  assert names >= here.keys()
  there = {entry.name for entry in entries.entries("countdown")}
  assert there >= set(here.values())
  assert here["grpo,steps=40"] == "grpo,steps=200"
  assert here["entropic,target=0.16"] == "entropic,target=0.36"


def test_claims_with_a_number_of_nats_are_not_repeated():
  own = {claim.name for claim in second_base.comparable(CLAIMS)}
  assert {"slower_clip_cov", "top_20_equals_all", "low_target_gains"} <= own
  assert not own & {"entropic_holds", "p_alone_fails", "projection_holds"}
  assert not own & {"bcpg_nsa", "slower_cispo", "clip_cov_above_curve"}


def test_a_claim_is_repeated_with_the_entries_of_the_reasoning_base():
  lines = by_name(
    invented(entry, seed, entropy)
    for seed in SEEDS
    for entry, entropy in (("grpo,steps=40", 0.17), ("clip_cov", 0.3))
  )
  claim = find("slower_clip_cov")
  assert verdict(claim, lines)[0] == SEEDS_MISSING
  own, effect = verdict(claim, second_base.renamed(lines))
  assert own == HELD
  assert effect.mean == pytest.approx(0.13)
  text, _ = page([claim], {}, lines)
  row = next(
    x for x in text.splitlines() if "**slower_clip_cov**" in x and "held" in x
  )
  assert "| – | seeds missing | +0.130 [+0.130, +0.130] | held |" in row


@pytest.mark.parametrize(
  ("low", "usual", "high", "longer", "expected"),
  [
    (0.2, 0.4, 0.2, 0.2, "it holds"),
    (0.2, 0.2, 0.4, 0.4, "the learning rate: it holds at 0.00064"),
    (0.2, 0.2, 0.2, 0.4, "the base or the length of its answers"),
    (0.2, 0.2, 0.2, 0.2, "at no rate and on neither base"),
    (0.2, 0.2, 0.2, None, "not the learning rate"),
    (0.2, None, 0.2, 0.2, "open"),
  ],
)
def test_what_explains_that_a_claim_does_not_hold(
  low, usual, high, longer, expected
):
  """NSR keeps more entropy than GRPO, which has 0.3 nats, if it has 0.4."""
  claim = find("slower_nsr")

  def runs(**ends):
    names = {
      "low": "nsr,learning_rate=4e-05",
      "high": "nsr,learning_rate=0.00064",
    }
    own = {names.get(name, "nsr"): end for name, end in ends.items()}
    own["grpo,steps=200"] = 0.3
    return by_name(
      invented(entry, seed, end)
      for seed in SEEDS
      for entry, end in own.items()
      if end is not None
    )

  lines = runs(low=low, usual=usual, high=high)
  assert expected in causes.cause(claim, lines, runs(usual=longer))


@pytest.mark.parametrize(
  ("grpo", "expected"),
  [
    (0.39, "it holds at 4e-05, but not against GRPO at 4e-05"),
    (None, "the learning rate: it holds at 4e-05"),
    (0.2, "the learning rate: it holds at 4e-05"),
  ],
)
def test_a_learning_rate_that_helps_grpo_as_much_explains_it(grpo, expected):
  entropies = {
    "nsr": 0.3,
    "nsr,learning_rate=4e-05": 0.4,
    "grpo,steps=200": 0.3,
    "grpo,learning_rate=4e-05": grpo,
  }
  lines = by_name(
    invented(entry, seed, entropy)
    for seed in SEEDS
    for entry, entropy in entropies.items()
    if entropy is not None
  )
  claim = find("slower_nsr")
  assert causes.cause(claim, lines, {}) == expected


def test_the_page_says_what_may_explain_a_verdict():
  entries = ("nsr", "nsr,learning_rate=4e-05", "grpo,steps=200")
  lines = by_name(invented(e, seed) for e in entries for seed in SEEDS)
  claims = [find("nsr_beats_grpo"), find("slower_nsr")]
  text, _ = page(claims, lines, {})
  _, section = text.split("## The learning rate, the base, or the claim?")
  (row,) = [x for x in section.split("##")[0].splitlines() if "**" in x]
  assert row.startswith("| **nsr_beats_grpo**: NSR has a higher pass@64")
  assert row.count("+0.000") == 2 * 3  # at two rates, with the ends
  text, _ = page(claims, by_name(invented("nsr", s) for s in SEEDS), {})
  assert "The learning rate, the base" not in text
