"""What a run tells a person: progress, logs read back, figures, reports."""
