"""Prove that the tests notice small wrong changes to the science.

    python -m tests.mutants           # every mutant: 7 minutes on one core
    python -m tests.mutants entropic  # the mutants with this text in their name

A mutant is one wrong change: a flipped sign, a mean over padding, a wrong
denominator. It names the test that must fail because of it. The changes are
made in a copy of the repository, one at a time, and each named test runs in a
process of its own. The command prints one line per mutant,

    caught    an assertion of the test failed
    SURVIVED  the test passed, so nothing would notice the change
    broken    the change does not apply, or the test failed for another reason

and exits with status 1 unless every mutant is caught. To add a mutant, add a
row to MUTANTS; tests/test_mutants.py checks that rows fit the code.
"""

from collections.abc import Sequence
import compileall
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple
from xml.etree import ElementTree

from tests.helpers.paths import ROOT

COPIED = ("configs", "entrojax", "experiments", "tests", "pyproject.toml")
TIMEOUT = 600  # seconds of one test; a mutant may loop forever
TAIL = 3000  # characters of pytest's output that are printed on an error
# how the message of a failed assertion begins
ASSERTIONS = ("AssertionError", "assert ")


class Mutant(NamedTuple):
  """A wrong change to one file, and the test that must notice it."""

  name: str  # what is wrong, in plain words
  file: str  # path from the root of the repository
  old: str  # text that occurs exactly once in the file
  new: str  # text that takes its place
  test: str  # pytest's id of the test


class Result(NamedTuple):
  """What pytest did."""

  status: int  # 0 = all tests passed, 1 = some failed, others = no such test...
  only_assertions: bool  # whether every failure is a failed assertion
  output: str


MUTANTS = (
  # -- covariance and selection ------------------------------------------------
  Mutant(
    "the covariance has the wrong sign",
    "entrojax/entropy/covariance.py",
    "clean(centred[0] * centred[1], mask)",
    "clean(-centred[0] * centred[1], mask)",
    "tests/objectives/test_goldens.py"
    "::test_the_covariance_of_a_token_has_its_golden_value",
  ),
  Mutant(
    "the means of the covariance count padding",
    "entrojax/entropy/covariance.py",
    "x - masked_mean(x, mask) for x",
    "x - jnp.mean(x) for x",
    "tests/objectives/test_goldens.py"
    "::test_the_covariance_of_a_token_has_its_golden_value",
  ),
  Mutant(
    "the weighted prediction has the wrong sign",
    "entrojax/update/step_metrics.py",
    "weights = -jnp.sum(tokens.mask) * log_prob_cotangent",
    "weights = jnp.sum(tokens.mask) * log_prob_cotangent",
    "tests/update/test_train_step.py"
    "::test_the_weighted_prediction_is_minus_the_covariance_with_the_weights",
  ),
  Mutant(
    "the quantile is off by one",
    "entrojax/objectives/selection.py",
    "last = jnp.maximum(jnp.sum(mask) - 1, 0)",
    "last = jnp.sum(mask)",
    "tests/objectives/test_selection.py::test_the_quantile_is_numpy_s",
  ),
  Mutant(
    "a share of tokens is rounded down instead of up",
    "entrojax/objectives/selection.py",
    "k = jnp.ceil(fraction * count * (1 - _ROUNDING))",
    "k = jnp.floor(fraction * count * (1 + _ROUNDING))",
    "tests/objectives/test_selection.py"
    "::test_a_share_of_tokens_is_counted_past_float32_s_rounding",
  ),
  Mutant(
    "top_entropy: the denominator counts every token",
    "entrojax/objectives/top_entropy.py",
    "dataclasses.replace(term, weight=term.weight * selected)",
    "dataclasses.replace(term, loss=term.loss * selected)",
    "tests/objectives/test_top_entropy.py"
    "::test_top_entropy_learns_from_exactly_the_share_of_tokens",
  ),
  # -- surrogates --------------------------------------------------------------
  Mutant(
    "ppo_clip: the dual clip binds at positive advantages",
    "entrojax/objectives/surrogates.py",
    "binds = (advantages < 0) & (loss > bound)",
    "binds = (advantages > 0) & (loss > bound)",
    "tests/objectives/test_surrogates.py"
    "::test_the_dual_clip_binds_at_negative_advantages_only",
  ),
  Mutant(
    "cispo: the weight has a gradient",
    "entrojax/objectives/cispo.py",
    "loss = jax.lax.stop_gradient(weight) * tokens.log_probs",
    "loss = weight * tokens.log_probs",
    "tests/objectives/test_surrogates.py"
    "::test_cispo_weighs_log_probs_with_the_clipped_ratio",
  ),
  Mutant(
    "ce_gppo: the two betas are swapped",
    "entrojax/objectives/ce_gppo.py",
    "below, beta_low * (1 - clip_low), beta_high * (1 + clip_high)",
    "below, beta_high * (1 - clip_low), beta_low * (1 + clip_high)",
    "tests/objectives/test_surrogates.py"
    "::test_ce_gppo_keeps_a_bounded_gradient_where_ppo_clips",
  ),
  Mutant(
    "gspo: the ratio of the sequence has a gradient of its own",
    "entrojax/objectives/gspo.py",
    "constant(log_ratio)[:, None]",
    "log_ratio[:, None]",
    "tests/objectives/test_surrogates.py::test_gspo_clips_whole_sequences",
  ),
  Mutant(
    "gmpo: ratios are clipped on both sides",
    "entrojax/objectives/gmpo.py",
    "(tokens.advantages > 0) & (log_ratio > clip_high)",
    "log_ratio > clip_high",
    "tests/objectives/test_surrogates.py"
    "::test_gmpo_clips_log_ratios_that_have_gone_the_advantage_s_way",
  ),
  Mutant(
    "dppo: a token that moved the other way stops too",
    "entrojax/objectives/dppo.py",
    "(new > old) & (distance > high)",
    "(distance > high)",
    "tests/objectives/test_surrogates.py"
    "::test_dppo_stops_where_a_probability_has_moved_too_far",
  ),
  Mutant(
    "dynamic_clip: the threshold is that of the old probability",
    "entrojax/objectives/dynamic_clip.py",
    "high = (1 + rise) / (1 - rise_slope * old)",
    "high = 1 + rise + rise_slope * old",
    "tests/objectives/test_surrogates.py"
    "::test_the_value_of_a_clipped_token_is_where_ratio_and_threshold_meet",
  ),
  Mutant(
    "off_policy_mask: right responses are dropped too",
    "entrojax/objectives/off_policy_mask.py",
    "(tokens.advantages < 0) & (distance > threshold)",
    "distance > threshold",
    "tests/objectives/test_token_weights.py"
    "::test_wrong_responses_that_became_unlikely_have_no_loss",
  ),
  Mutant(
    "vespo: the mean ratio instead of the product",
    "entrojax/objectives/vespo.py",
    "masked_sum(log_ratio, tokens.mask, axis=1)[:, None]",
    "masked_sum(log_ratio, tokens.mask, axis=1)[:, None] / 2",
    "tests/objectives/test_surrogates.py"
    "::test_vespo_weighs_whole_sequences_by_the_product_of_their_ratios",
  ),
  Mutant(
    "sapo: the temperatures are exchanged",
    "entrojax/objectives/sapo.py",
    "tau_positive, tau_negative)",
    "tau_negative, tau_positive)",
    "tests/objectives/test_surrogates.py"
    "::test_sapo_has_a_gate_of_its_own_for_either_sign",
  ),
  Mutant(
    "pass_at_k: a wrong response counts in all sets",
    "entrojax/advantages/pass_at_k.py",
    "_share_of_sets(wrong - 1, size - 1, k - 1)",
    "_share_of_sets(wrong - 1, size - 1, k)",
    "tests/advantages/test_advantages.py"
    "::test_pass_at_k_is_grpo_on_all_sets_of_k",
  ),
  Mutant(
    "whiten: responses that are left out count",
    "entrojax/advantages/whiten.py",
    "keep_mask(responses) * lengths",
    "lengths",
    "tests/advantages/test_advantages.py"
    "::test_whitened_advantages_are_normal_over_the_tokens_that_count",
  ),
  Mutant(
    "bcpg: the constraint counts with tau instead of tau / 2",
    "entrojax/objectives/bcpg.py",
    "0.5 * tau * jnp.square(log_ratio)",
    "tau * jnp.square(log_ratio)",
    "tests/objectives/test_bcpg.py"
    "::test_objective_and_gradient_are_the_specification_s",
  ),
  Mutant(
    "clip_cov: tokens that PPO clips are candidates",
    "entrojax/objectives/cov.py",
    "candidates = tokens.mask * (extreme & (clipped <= plain))",
    "candidates = tokens.mask * extreme",
    "tests/objectives/test_cov.py"
    "::test_tokens_that_ppo_clips_are_no_candidates_of_clip_cov",
  ),
  Mutant(
    "kl_cov: the divergence has the wrong direction",
    "entrojax/objectives/cov.py",
    "_KL_FORMS[kl_form](tokens.old_log_probs - tokens.log_probs)",
    "_KL_FORMS[kl_form](tokens.log_probs - tokens.old_log_probs)",
    "tests/objectives/test_cov.py"
    "::test_k3_of_kl_cov_is_the_divergence_of_the_sampling_policy_s_tokens",
  ),
  Mutant(
    "kl_cov: the absolute value has a gradient at 0",
    "entrojax/objectives/reference_kl.py",
    "return x * jax.lax.stop_gradient(jnp.sign(x))",
    "return jnp.abs(x)",
    "tests/objectives/test_cov.py"
    "::test_kl_cov_is_the_plain_policy_gradient_on_the_sampling_policy",
  ),
  # -- transforms --------------------------------------------------------------
  Mutant(
    "scale_loss: its factor has a gradient",
    "entrojax/objectives/chain.py",
    "factor = jax.lax.stop_gradient(factor)",
    "factor = 1 * factor",
    "tests/objectives/test_goldens.py"
    "::test_steer_has_its_golden_loss_and_weights",
  ),
  Mutant(
    "steer: the factor (1 - pi) is missing",
    "entrojax/objectives/steer.py",
    "ratio * tokens.advantages * probability * (1 - probability)",
    "ratio * tokens.advantages * probability",
    "tests/objectives/test_goldens.py"
    "::test_steer_has_its_golden_loss_and_weights",
  ),
  Mutant(
    "steer: tokens that PPO clips count in the maximum",
    "entrojax/objectives/steer.py",
    "return jnp.where(clipped, 0.0, change * (tokens.log_probs",
    "return jnp.where(False, 0.0, change * (tokens.log_probs",
    "tests/objectives/test_goldens.py"
    "::test_steer_has_its_golden_loss_and_weights",
  ),
  Mutant(
    "erc: the entropy ratio is inverted",
    "entrojax/objectives/erc.py",
    "(entropy + _EPSILON) / (tokens.old_entropy + _EPSILON)",
    "(tokens.old_entropy + _EPSILON) / (entropy + _EPSILON)",
    "tests/objectives/test_token_weights.py"
    "::test_the_entropy_ratio_of_erc_is_the_current_over_the_old_one",
  ),
  Mutant(
    "stare: the gate reads the current entropy",
    "entrojax/objectives/reading.py",
    "entropy = tokens.old_entropy",
    "entropy = tokens.entropy",
    "tests/objectives/test_token_weights.py"
    "::test_stare_s_gate_reads_the_entropy_of_the_sampling_policy",
  ),
  Mutant(
    "dcpo: a hot policy lowers the entropy",
    "entrojax/objectives/dcpo.py",
    "      error >= 0,",
    "      error < 0,",
    "tests/objectives/test_control_members.py"
    "::test_dcpo_adds_reinforce_on_right_responses_at_a_temperature",
  ),
  Mutant(
    "lp_reg: likely tokens are pulled down",
    "entrojax/objectives/lp_reg.py",
    "selected = rare * held * below",
    "selected = rare * held",
    "tests/objectives/test_control_members.py"
    "::test_lp_reg_pulls_rare_wrong_tokens_towards_the_filtered_policy",
  ),
  Mutant(
    "negative_sample_augmentation: marks count in right responses",
    "entrojax/objectives/negative_sample_augmentation.py",
    "marked = (_step_marks(tokens) > 0) & negative",
    "marked = _step_marks(tokens) > 0",
    "tests/objectives/test_bcpg.py"
    "::test_what_marks_must_not_change_is_the_same_bitwise",
  ),
  # -- terms and penalties -----------------------------------------------------
  Mutant(
    "entropic: the term has the wrong sign",
    "entrojax/objectives/entropic.py",
    "loss = coefficient * unclipped_loss(",
    "loss = -coefficient * unclipped_loss(",
    "tests/objectives/test_entropic.py::test_entropic_does_not_clip_its_ratio",
  ),
  Mutant(
    "entropic: the term has A instead of |A|",
    "entrojax/objectives/entropic.py",
    "unclipped_loss(ratio, jnp.abs(tokens.advantages))",
    "unclipped_loss(ratio, tokens.advantages)",
    "tests/objectives/test_entropic.py"
    "::test_full_strength_on_all_tokens_doubles_one_sign_and_drops_the_other",
  ),
  Mutant(
    "reference_kl: the divergence has the wrong direction",
    "entrojax/objectives/reference_kl.py",
    "_ESTIMATORS[estimator](tokens.log_probs - reference)",
    "_ESTIMATORS[estimator](reference - tokens.log_probs)",
    "tests/objectives/test_goldens.py"
    "::test_the_reference_kl_is_its_estimator_times_its_coefficient",
  ),
  Mutant(
    "sent: the divergence has the wrong direction",
    "entrojax/objectives/sent.py",
    "k3(tokens.log_probs - reference)",
    "k3(reference - tokens.log_probs)",
    "tests/objectives/test_sent.py"
    "::test_the_loss_is_the_divergence_of_each_token_times_its_beta",
  ),
  # -- advantages --------------------------------------------------------------
  Mutant(
    "grpo: the deviation divides by G instead of G - 1",
    "entrojax/advantages/baselines.py",
    "axis=1, ddof=1, keepdims=True)\n  return _centred(rewards)",
    "axis=1, ddof=0, keepdims=True)\n  return _centred(rewards)",
    "tests/objectives/test_goldens.py"
    "::test_an_advantage_rule_has_its_golden_values",
  ),
  Mutant(
    "rloo: the factor is inverted",
    "entrojax/advantages/baselines.py",
    "centred * (group_size / (group_size - 1))",
    "centred * ((group_size - 1) / group_size)",
    "tests/objectives/test_goldens.py"
    "::test_an_advantage_rule_has_its_golden_values",
  ),
  Mutant(
    "w_reinforce: lambda weighs the wrong responses",
    "entrojax/advantages/decomposed.py",
    "jnp.where(is_right(responses), positive_weight, -1.0)",
    "jnp.where(is_right(responses), 1.0, -positive_weight)",
    "tests/advantages/test_advantage_rules.py"
    "::test_w_reinforce_weighs_right_and_wrong",
  ),
  Mutant(
    "overlong_penalty: the penalty begins at the maximum",
    "entrojax/advantages/overlong.py",
    "beyond = lengths - (max_length - cache_length)",
    "beyond = lengths - max_length",
    "tests/advantages/test_advantage_rules.py"
    "::test_the_length_penalty_has_its_golden_values",
  ),
  Mutant(
    "unlikeliness: the ranks are in the wrong order",
    "entrojax/advantages/unlikeliness.py",
    "below = (other < own)",
    "below = (other > own)",
    "tests/advantages/test_advantage_rules.py"
    "::test_unlikeliness_has_its_golden_rewards_and_advantages",
  ),
  Mutant(
    "entrocraft: the wrong sign of advantages is rejected",
    "entrojax/advantages/entrocraft.py",
    "rejected = direction * advantages < 0",
    "rejected = direction * advantages > 0",
    "tests/advantages/test_advantage_rules.py"
    "::test_entrocraft_rejects_a_sign_outside_its_band",
  ),
  Mutant(
    "grpo_dropout: the weights are exp(s) instead of exp(-s)",
    "entrojax/advantages/grpo_dropout.py",
    "counted * jnp.exp(log_probs - highest)",
    "counted * jnp.exp(highest - log_probs)",
    "tests/advantages/test_advantage_rules.py"
    "::test_kept_advantages_are_centred_by_likelihood",
  ),
  Mutant(
    "seed_grpo: the factor is inverted",
    "entrojax/entropy/semantic.py",
    '"inverse": lambda s, alpha: 1 / (1 + alpha * s)',
    '"inverse": lambda s, alpha: 1 + alpha * s',
    "tests/advantages/test_advantage_rules.py"
    "::test_seed_grpo_halves_the_advantages_of_answers_that_all_differ",
  ),
  Mutant(
    "seed_grpo: the largest entropy is log(G - 1)",
    "entrojax/entropy/semantic.py",
    "most = jnp.log(jnp.maximum(size, 2).astype(entropy.dtype))",
    "most = jnp.log(jnp.maximum(size - 1, 2).astype(entropy.dtype))",
    "tests/entropy/test_semantic.py"
    "::test_cluster_sizes_have_their_shares_of_log_g",
  ),
  # -- controllers and the projection ------------------------------------------
  Mutant(
    "entropic_pi: the integral does not accumulate",
    "entrojax/control/pi.py",
    "integral = state.integral + jnp.where(advance, error, 0.0)",
    "integral = jnp.where(advance, error, state.integral)",
    "tests/control/test_control.py::test_a_constant_error_adds_up",
  ),
  Mutant(
    "entropic_pi: the coefficient has the wrong sign",
    "entrojax/control/pi.py",
    "return kp * (entropy - target) + ki * state.integral",
    "return kp * (target - entropy) - ki * state.integral",
    "tests/control/test_control.py"
    "::test_the_coefficient_is_the_gains_times_error_and_integral",
  ),
  Mutant(
    "entropic_pi: the coefficient uses the integral after its own error",
    "entrojax/control/pi.py",
    "return kp * (entropy - target) + ki * state.integral",
    "return (kp + ki) * (entropy - target) + ki * state.integral",
    "tests/control/test_control.py"
    "::test_the_coefficient_is_the_gains_times_error_and_integral",
  ),
  Mutant(
    "adaptive_coefficient: the bonus stays above the target",
    "entrojax/control/fixed_step.py",
    "lambda state: state.coefficient * state.low",
    "lambda state: state.coefficient",
    "tests/control/test_fixed_step.py"
    "::test_the_bonus_is_exactly_0_after_an_entropy_that_is_not_below_target",
  ),
  Mutant(
    "controller: the integral takes in kept tokens only",
    "entrojax/update/forward.py",
    "mean_entropies(scores.entropy, batch, 1)",
    "mean_entropies(scores.entropy, dataclasses.replace(batch, "
    "response_mask=tokens.mask), 1)",
    "tests/update/test_minibatches.py"
    "::test_the_integral_takes_in_tokens_that_the_loss_leaves_out",
  ),
  Mutant(
    "controller: the coefficient reads kept tokens only",
    "entrojax/update/forward.py",
    "mean_entropies(scores.entropy, batch, num_parts)",
    "mean_entropies(scores.entropy, dataclasses.replace(batch, "
    "response_mask=tokens.mask), num_parts)",
    "tests/update/test_minibatches.py"
    "::test_the_coefficient_reads_tokens_that_the_loss_leaves_out",
  ),
  Mutant(
    "projection: the entropy gradient takes in kept tokens only",
    "entrojax/update/train_step.py",
    "of_entropy = entropy_cotangents(scores, sampled)",
    "of_entropy = entropy_cotangents(scores, tokens.mask)",
    "tests/update/test_projection_update.py"
    "::test_h_takes_in_tokens_that_the_loss_leaves_out",
  ),
  Mutant(
    "projection: the average takes in the step's own tokens",
    "entrojax/update/projection.py",
    "gradient = _read(state.average)",
    "gradient = entropy_grad()",
    "tests/update/test_projection.py"
    "::test_the_forecast_uses_the_average_of_the_gradients_before",
  ),
  Mutant(
    "projection: a target is a floor by default",
    "entrojax/update/projection.py",
    'sided: str = "both"',
    'sided: str = "raise"',
    "tests/update/test_projection.py::test_a_step_that_raises_entropy_is_"
    "lowered_by_the_two_sided_form_alone",
  ),
  Mutant(
    "projection: the integral grows while steps are left alone",
    "entrojax/update/projection.py",
    "jnp.where(could_not_follow, 0.0, surprise)",
    "surprise",
    "tests/update/test_projection.py"
    "::test_the_integral_waits_while_steps_are_left_alone",
  ),
  Mutant(
    "projection: the integral sums the way to the target",
    "entrojax/update/projection.py",
    "surprise = error - planned",
    "surprise = error",
    "tests/update/test_projection.py"
    "::test_the_entropy_comes_to_its_target_without_going_beyond",
  ),
  Mutant(
    "projection: Adam's second moment keeps its bias",
    "entrojax/update/corrected_step.py",
    "optax.tree_utils.tree_bias_correction(adam.nu, b2, adam.count)",
    "adam.nu",
    "tests/update/test_projection.py"
    "::test_the_correction_is_the_smallest_that_reaches_the_wanted_change",
  ),
  # -- the update --------------------------------------------------------------
  Mutant(
    "update: the ratio is always 1",
    "entrojax/update/forward.py",
    "jnp.where(first, constant(log_probs), batch.old_log_probs)",
    "constant(log_probs)",
    "tests/update/test_train_step.py"
    "::test_at_later_updates_the_old_policy_is_the_batch_s",
  ),
  Mutant(
    "update: micro-batches of different lengths count the same",
    "entrojax/update/forward.py",
    'return split.num_microbatches if split.scope == "micro" else 1',
    "return split.num_microbatches",
    "tests/update/test_scope.py"
    "::test_scope_micro_depends_on_the_split_and_minibatch_does_not",
  ),
  Mutant(
    "update: the restart of a stage keeps the optimizer's state",
    "entrojax/update/train_step.py",
    "dataclasses.replace(state, opt_state=optimizer.init(state.params))",
    "dataclasses.replace(state)",
    "tests/update/test_train_step.py"
    "::test_a_restart_has_a_fresh_optimizer_and_the_policy_of_before",
  ),
  Mutant(
    "update: tokens are scored at a temperature of 1",
    "entrojax/update/scoring.py",
    "response,\n    temperature=temperature,",
    "response,",
    "tests/update/test_projection_update.py"
    "::test_h_is_the_gradient_of_the_token_mean_entropy",
  ),
  Mutant(
    "update: a statistic of the sampling policy is learned",
    "entrojax/objectives/loss.py",
    "constant(value) if statistic.old else value",
    "value",
    "tests/objectives/test_reading.py::test_only_a_current_statistic_is_learned",
  ),
  Mutant(
    "update: the varentropy's gradient does not sum to 0",
    "entrojax/entropy/formulas.py",
    "jnp.square(surprise) + 2 * surprise - value",
    "jnp.square(surprise) + 2 * surprise",
    "tests/objectives/test_reading.py"
    "::test_an_update_learns_from_statistics_and_knows_those_before_it",
  ),
  Mutant(
    "update: the entropy alone is taken at a temperature of 1",
    "entrojax/entropy/token_stats.py",
    "return log_prob_and_entropy("
    "unembed(hidden, table) / temperature, targets)",
    "logits = unembed(hidden, table)\n"
    "    log_probs = log_prob_and_entropy(logits / temperature, targets)[0]\n"
    "    return log_probs, log_prob_and_entropy(logits, targets)[1]",
    "tests/entropy/test_token_stats.py"
    "::test_the_temperature_divides_the_logits",
  ),
  # -- rollouts ----------------------------------------------------------------
  Mutant(
    "sampler: the entropy is taken at a temperature of 1",
    "entrojax/rollouts/sampler.py",
    "log_probs, entropy = log_prob_and_entropy(logits, tokens)",
    "log_probs, _ = log_prob_and_entropy(logits, tokens)\n"
    "      _, entropy = log_prob_and_entropy(state.logits, tokens)",
    "tests/rollouts/test_sampler.py"
    "::test_log_probs_and_entropies_are_those_of_the_table",
  ),
  Mutant(
    "slots: tokens are drawn at a temperature of 1",
    "entrojax/rollouts/slots.py",
    "logits = logits / sampling.temperature",
    "logits = logits / 1.0",
    "tests/rollouts/test_slots.py::test_slots_change_no_sample[24-1]",
  ),
  Mutant(
    "slots: the last token of a long response is dropped",
    "entrojax/rollouts/slots.py",
    "slots.step + 1 == sampling.response_length",
    "slots.step + 2 == sampling.response_length",
    "tests/rollouts/test_slots.py::test_slots_change_no_sample[24-1]",
  ),
  Mutant(
    "dynamic sampling: groups are kept by shaped rewards",
    "entrojax/rollouts/dynamic_sampling.py",
    "correctness = np.asarray(responses.correctness, np.float64)",
    "correctness = np.asarray(responses.rewards, np.float64)",
    "tests/rollouts/test_dynamic_sampling.py"
    "::test_a_group_that_differs_in_its_overlong_penalty_alone_is_dropped",
  ),
  # -- data and evaluation -----------------------------------------------------
  Mutant(
    "curriculum: the order is from high to low entropy",
    "entrojax/data/curriculum.py",
    'np.argsort(entropies, kind="stable")',
    'np.argsort(-entropies, kind="stable")',
    "tests/data/test_curriculum.py"
    "::test_stages_are_the_table_sorted_and_cut_evenly",
  ),
  Mutant(
    "evaluation: pass@k is the biased estimate",
    "entrojax/answers/pass_at_k.py",
    "factors = (wrong[:, None] - steps) / (num_samples - steps)",
    "factors = (wrong[:, None] - 0 * steps) / num_samples",
    "tests/rollouts/test_evaluation.py::test_pass_at_k_of_the_specification",
  ),
  Mutant(
    "evaluation: the bootstrap error is halved",
    "entrojax/rollouts/evaluation.py",
    "return float(np.std(values[rows]",
    "return 0.5 * float(np.std(values[rows]",
    "tests/rollouts/test_evaluation.py::test_the_bootstrap_error_is_that_of_a_mean",
  ),
  Mutant(
    "entropy law: a fit takes no degree of freedom",
    "entrojax/entropy/law.py",
    "degrees_of_freedom = noise.size - 1",
    "degrees_of_freedom = noise.size",
    "tests/entropy/test_law.py"
    "::test_the_fit_and_its_errors_equal_the_textbook_matrices",
  ),
)


def mutated_source(root: Path, mutant: Mutant) -> str:
  """Return the source of a mutant's file below `root`, with the change made.

  Raises:
    ValueError: the old text does not occur exactly once in the file.
  """
  source = (root / mutant.file).read_text(encoding="utf-8")
  count = source.count(mutant.old)
  if count != 1:
    raise ValueError(
      f"{mutant.name}: {mutant.file} must hold this text once, it holds it "
      f"{count} times: {mutant.old}"
    )
  return source.replace(mutant.old, mutant.new)


def copy_repository(root: Path) -> None:
  """Copy what the tests need to the folder `root`, and compile the modules."""
  for name in COPIED:
    if (ROOT / name).is_dir():
      ignored = shutil.ignore_patterns("__pycache__")
      shutil.copytree(ROOT / name, root / name, ignore=ignored)
    else:
      shutil.copy2(ROOT / name, root / name)
  compileall.compile_dir(str(root), quiet=2)


def run_tests(root: Path, tests: Sequence[str]) -> Result:
  """Run tests of the copy in a process, until the first failure.

  Compiled JAX graphs are shared with the repository's own tests. The failures
  are not: without lfplugin, `pytest --last-failed` does not see them. Python
  writes no bytecode, so that none of a mutant's is left behind.
  """
  report = root / "report.xml"
  report.unlink(missing_ok=True)
  cache = ROOT / ".pytest_cache"
  process = subprocess.run(
    (
      *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:lfplugin"),
      *("-o", f"cache_dir={cache}", f"--junitxml={report}", *tests),
    ),
    cwd=root,
    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    timeout=TIMEOUT * len(tests),
    check=False,
  )
  failures = failure_messages(report)
  return Result(
    process.returncode,
    bool(failures) and all(m.startswith(ASSERTIONS) for m in failures),
    process.stdout,
  )


def failure_messages(report: Path) -> list[str]:
  """Read the first lines of all failures and errors from pytest's report."""
  if not report.exists():
    return []
  tree = ElementTree.parse(report)
  return [
    # an error is a failure outside of the test itself, as in a fixture
    element.get("message", "") if element.tag == "failure" else "error"
    for element in tree.iter()
    if element.tag in ("failure", "error")
  ]


def try_mutant(root: Path, mutant: Mutant) -> tuple[str, str]:
  """Apply a mutant to the copy, run its test, and restore the copy.

  Returns:
    The verdict ('caught', 'SURVIVED' or 'broken') and, if it is 'broken', the
    reason.
  """
  path = root / mutant.file
  try:
    path.write_text(mutated_source(ROOT, mutant), encoding="utf-8")
    result = run_tests(root, [mutant.test])
  except (ValueError, subprocess.TimeoutExpired) as error:
    return "broken", str(error)
  finally:
    shutil.copy2(ROOT / mutant.file, path)
  if result.status == 0:
    return "SURVIVED", ""
  if result.status == 1 and result.only_assertions:
    return "caught", ""
  return "broken", result.output[-TAIL:]


def select(texts: Sequence[str]) -> list[Mutant]:
  """Return the mutants whose names hold one of the texts; all without a text.

  Raises:
    ValueError: no name holds one of the texts.
  """
  for text in texts:
    if not any(text in mutant.name for mutant in MUTANTS):
      raise ValueError(f"no mutant has {text!r} in its name")
  return [
    mutant
    for mutant in MUTANTS
    if not texts or any(text in mutant.name for text in texts)
  ]


def main(argv: Sequence[str]) -> int:
  """Try the selected mutants and print their verdicts; return the status."""
  mutants = select(argv)
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    copy_repository(root)
    result = run_tests(root, sorted({mutant.test for mutant in mutants}))
    if result.status != 0:
      print(result.output[-TAIL:])
      print("the tests must pass before a mutant is tried")
      return 1
    num_caught = 0
    for mutant in mutants:
      started = time.perf_counter()
      verdict, reason = try_mutant(root, mutant)
      seconds = time.perf_counter() - started
      print(f"{verdict:9} {mutant.name} ({seconds:.0f} s)", flush=True)
      if reason:
        print(reason)
      num_caught += verdict == "caught"
  print(f"{num_caught} of {len(mutants)} mutants are caught")
  return int(num_caught < len(mutants))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
