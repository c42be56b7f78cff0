"""The jitted update: scoring, gradients, the optimizer and its controller."""
