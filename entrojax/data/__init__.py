"""From problems to encoded prompts: tokenizers, templates, streams, subsets."""
