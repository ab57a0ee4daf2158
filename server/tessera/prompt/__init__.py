"""From a request to the tokens of its prompt, as vLLM counts them: chat template and tokenizer, as a worker announced.

The public surface: callers import from here and from nowhere below.
"""

from tessera.prompt.conversation import build_conversation
from tessera.prompt.counter import Counted, PromptCounter
from tessera.prompt.files import MOST_BYTES, PromptFiles, TemplateFile, Uncountable
from tessera.prompt.template import ChatTemplate

__all__ = [
    "MOST_BYTES",
    "ChatTemplate",
    "Counted",
    "PromptCounter",
    "PromptFiles",
    "TemplateFile",
    "Uncountable",
    "build_conversation",
]
