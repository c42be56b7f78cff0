"""The update of the policy, from a batch to new parameters.

train_step.py builds it. scoring.py computes log-probs and entropies,
optimizer.py builds the optimizer, which holds the controller's state,
projection.py corrects the optimizer's steps, and step_metrics.py computes
metrics.
"""
