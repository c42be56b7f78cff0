"""Processes, devices, checkpoints and the files of a run."""
