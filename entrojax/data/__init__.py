"""Turn problems into encoded prompts: tokenizers, templates, prompt streams."""
