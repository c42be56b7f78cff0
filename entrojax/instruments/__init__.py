"""Instruments that measure updates beside a run, and change nothing in it."""
