"""Processes, devices and files: what a run stands on."""
