"""Command lines, processes, devices, checkpoints and the files of a run."""
