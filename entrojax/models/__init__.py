"""Language models: flax.nnx inside, plain parameters and functions outside."""

from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.models.lora import Lora

__all__ = ["DecoderConfig", "Lora", "decoder"]
