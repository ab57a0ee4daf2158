"""The table of endpoints that vLLM answers: whatever the gateway has to know of one stands in its row.

A new endpoint of vLLM's is a row: its route, checks, media, cost, metrics and description follow from that, and the
listing of what each model can be asked.
"""

from tessera.gateway.endpoints.generating import CHAT, CHAT_BATCH, COMPLETION
from tessera.gateway.endpoints.hearing import TRANSCRIPTION, TRANSLATION
from tessera.gateway.endpoints.reading import (
    CLASSIFICATION,
    COHERE_EMBEDDING,
    EMBEDDING,
    POOLING,
    RERANKING,
    SCORING,
)
from tessera.gateway.endpoints.responding import COUNTING, MESSAGES, RESPONSES
from tessera.gateway.endpoints.table import ENDPOINTS, FORMS, endpoints_of, require_endpoint
from tessera.gateway.endpoints.tokenizing import DETOKENIZATION, TOKENIZATION

__all__ = [
    "CHAT",
    "CHAT_BATCH",
    "CLASSIFICATION",
    "COHERE_EMBEDDING",
    "COMPLETION",
    "COUNTING",
    "DETOKENIZATION",
    "EMBEDDING",
    "ENDPOINTS",
    "FORMS",
    "MESSAGES",
    "POOLING",
    "RERANKING",
    "RESPONSES",
    "SCORING",
    "TOKENIZATION",
    "TRANSCRIPTION",
    "TRANSLATION",
    "endpoints_of",
    "require_endpoint",
]
