"""Wrong changes to advantages, controllers and the projection."""

from tests.mutants.mutant import Mutant

MUTANTS = (
  # -- advantages -------------------------------------------------------------
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
    "tests/advantages/test_unlikeliness.py"
    "::test_unlikeliness_has_its_golden_rewards_and_advantages",
  ),
  Mutant(
    "entrocraft: the wrong sign of advantages is rejected",
    "entrojax/advantages/entrocraft.py",
    "rejected = direction * advantages < 0",
    "rejected = direction * advantages > 0",
    "tests/advantages/test_rejecting_rules.py"
    "::test_entrocraft_rejects_a_sign_outside_its_band",
  ),
  Mutant(
    "grpo_dropout: the weights are exp(s) instead of exp(-s)",
    "entrojax/advantages/grpo_dropout.py",
    "counted * jnp.exp(log_probs - highest)",
    "counted * jnp.exp(highest - log_probs)",
    "tests/advantages/test_rejecting_rules.py"
    "::test_kept_advantages_are_centred_by_likelihood",
  ),
  Mutant(
    "seed_grpo: the factor is inverted",
    "entrojax/entropy/semantic.py",
    '"inverse": lambda s, alpha: 1 / (1 + alpha * s)',
    '"inverse": lambda s, alpha: 1 + alpha * s',
    "tests/advantages/test_rejecting_rules.py"
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
  # -- controllers and the projection -----------------------------------------
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
    "gradient = read_average(state.average)",
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
)
