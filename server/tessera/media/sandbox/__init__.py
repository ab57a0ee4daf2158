"""Decoding in processes that can do nothing but decode, and that may crash, hang or grow without harm to others."""

from tessera.media.sandbox.decoder import SandboxDecoder

__all__ = ["SandboxDecoder"]
