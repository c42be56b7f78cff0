"""Decoder language models: flax.nnx inside, plain functions outside.

`decoder(config)` returns a `types.Model`, a tuple of functions of plain
parameters. hugging_face.py loads and writes the folders of checkpoints.
README.md in this folder says which checkpoints load, which options there are,
and which file to read for what.
"""

from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.models.lora import Lora

__all__ = ["DecoderConfig", "Lora", "decoder"]
