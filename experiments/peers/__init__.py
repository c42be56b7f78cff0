"""Compare a step of other trainers with ours on the same workload."""
