"""Final answers: extract them, compare them, cluster them by meaning."""
