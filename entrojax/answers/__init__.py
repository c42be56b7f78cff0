"""Final answers: their spelling, their equality, their diversity."""
