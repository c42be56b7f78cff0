"""Torture runs: kills, damage, bad numbers, full disks, odd configs."""
