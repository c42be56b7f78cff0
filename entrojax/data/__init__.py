"""Prompts and examples: read, choose and encode what a model learns from.

Templates and tokenizers turn a problem's prompt into tokens. A prompt stream
gives batches of prompts to a run, in the stages of a curriculum if there is
one. Supervised examples are encoded and packed into rows. Tables and subsets of
prompts are files.
"""
