"""The update of the policy: scoring, gradients, optimizer and controller."""
