"""From a request to the tokens of its prompt, as vLLM counts them: chat template and tokenizer, as a worker announced.

The public surface: callers import from here and from nowhere below.
"""

from tessera.prompt.conversation import build_conversation
from tessera.prompt.counter import Counted, PromptCounter
from tessera.prompt.files import MOST_BYTES, PromptFiles, TemplateFile, Uncountable
from tessera.prompt.message_chat import chat_of_messages
from tessera.prompt.response_chat import chat_of_response
from tessera.prompt.template import ChatTemplate
from tessera.prompt.translation import MediaAt, Translated

__all__ = [
    "MOST_BYTES",
    "ChatTemplate",
    "Counted",
    "MediaAt",
    "PromptCounter",
    "PromptFiles",
    "TemplateFile",
    "Translated",
    "Uncountable",
    "build_conversation",
    "chat_of_messages",
    "chat_of_response",
]
