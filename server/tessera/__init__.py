"""Tessera: a production inference server for multimodal language models."""

__version__ = "0.1.0"
