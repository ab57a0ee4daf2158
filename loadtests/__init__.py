"""Benchmarks: what the gateway, the queue and the media stage cost on top of vLLM itself."""
