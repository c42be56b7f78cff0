"""Wrong changes to objectives: selection, surrogates, transforms, terms."""

from tests.mutants.mutant import Mutant

MUTANTS = (
  # -- covariance and selection -----------------------------------------------
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
    "jnp.ceil(share - _slack(share))",
    "jnp.floor(share + _slack(share))",
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
  # -- surrogates -------------------------------------------------------------
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
  # -- transforms -------------------------------------------------------------
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
    "return jnp.where(stopped > 0, 0.0, change)",
    "return change",
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
  # -- terms and penalties ----------------------------------------------------
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
)
