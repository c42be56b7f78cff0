"""A step of other trainers and of ours, on one workload, in turn."""
