"""Language models: flax.nnx inside, plain parameters and functions outside."""

from entrojax.models.decoder import DecoderConfig, decoder

__all__ = ["DecoderConfig", "decoder"]
