"""All rows, and which of them a model can answer."""

from __future__ import annotations

from tessera.errors import UnsupportedEndpoint
from tessera.gateway.body import Endpoint
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
from tessera.gateway.endpoints.tokenizing import DETOKENIZATION, TOKENIZATION
from tessera.queue import ModelCard

ENDPOINTS: tuple[Endpoint, ...] = (
    CHAT,
    COMPLETION,
    RESPONSES,
    MESSAGES,
    COUNTING,
    CHAT_BATCH,
    EMBEDDING,
    COHERE_EMBEDDING,
    *RERANKING,
    *SCORING,
    CLASSIFICATION,
    POOLING,
    TOKENIZATION,
    DETOKENIZATION,
)
# Those whose bodies are forms.
FORMS: tuple[Endpoint, ...] = (TRANSCRIPTION, TRANSLATION)


def endpoints_of(card: ModelCard) -> list[Endpoint]:
    """Those that a model can answer."""
    return [endpoint for endpoint in (*ENDPOINTS, *FORMS) if not {*endpoint.tasks}.isdisjoint(card.tasks)]


def require_endpoint(card: ModelCard, endpoint: Endpoint) -> None:
    """Check that a model can answer an endpoint.

    Raises:
        UnsupportedEndpoint: it cannot; it says which it can.
    """
    if not {*endpoint.tasks}.isdisjoint(card.tasks):
        return
    known = ", ".join(other.path for other in endpoints_of(card)) or "none that this server has"
    raise UnsupportedEndpoint(
        f"The model `{card.model}` does not answer {endpoint.path}. It can be asked: {known}.", param="model"
    )
