"""Wrong changes to the update, rollouts, data and evaluation."""

from tests.mutants.mutant import Mutant

MUTANTS = (
  # -- the update -------------------------------------------------------------
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
    "opt_state=keep_control(state.opt_state, optimizer.init(state.params)),",
    "opt_state=state.opt_state,",
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
  # -- rollouts ---------------------------------------------------------------
  Mutant(
    "sampler: the entropy is taken at a temperature of 1",
    "entrojax/rollouts/sampler.py",
    "log_probs, entropy = log_prob_and_entropy(logits, tokens)",
    "log_probs, _ = log_prob_and_entropy(logits, tokens)\n"
    "    logits = logits * sampling.temperature\n"
    "    _, entropy = log_prob_and_entropy(logits, tokens)",
    "tests/rollouts/test_sampler.py"
    "::test_log_probs_and_entropies_are_those_of_the_table",
  ),
  Mutant(
    "slots: tokens are drawn at a temperature of 1",
    "entrojax/rollouts/slots.py",
    "logits = logits / sampling.temperature",
    "logits = logits / 1.0",
    "tests/rollouts/test_slots.py::test_slots_change_no_sample[23-1]",
  ),
  Mutant(
    "slots: the last token of a long response is dropped",
    "entrojax/rollouts/slots.py",
    "slots.step + 1 == sampling.response_length",
    "slots.step + 2 == sampling.response_length",
    "tests/rollouts/test_slots.py::test_slots_change_no_sample[23-1]",
  ),
  Mutant(
    "dynamic sampling: groups are kept by shaped rewards",
    "entrojax/rollouts/dynamic_sampling.py",
    "correctness = np.asarray(responses.correctness, np.float64)",
    "correctness = np.asarray(responses.rewards, np.float64)",
    "tests/rollouts/test_dynamic_sampling.py"
    "::test_a_group_that_differs_in_its_overlong_penalty_alone_is_dropped",
  ),
  # -- data and evaluation ----------------------------------------------------
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
