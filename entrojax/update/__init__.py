"""The update of the policy, from a batch to new parameters.

train_step.py builds it from the arguments in setup.py: minibatches.py plans its
optimizer steps, and forward.py scores a mini-batch and differentiates the loss.
scoring.py computes log-probs and entropies, optimizer.py builds the optimizer,
which holds the controller's state, and step_metrics.py computes metrics.
length_buckets.py sorts rows into micro-batches by length, with the gradient of
switched.py. projection.py is optional: it corrects an optimizer step that does
not change the policy's entropy as wanted.
"""
