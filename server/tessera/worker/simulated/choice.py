"""One of the answers to a request, token by token: its text, its stop strings, its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tessera.worker.simulated.prompt import Prompt
from tessera.worker.simulated.request import GenerationRequest
from tessera.worker.simulated.speech import Voice


@dataclass(frozen=True, slots=True)
class Piece:
    """What a token adds to an answer.

    Attributes:
        index: of the choice.
        text: may be empty, while it could be the beginning of a stop string.
        tokens: that the text is made of.
        first: it is the choice's first one.
        finish: why the choice ends with it, in the words of the API; None: it does not.
        stopped_by: the stop string, where it was one.
    """

    index: int
    text: str
    tokens: tuple[str, ...]
    first: bool
    finish: str | None
    stopped_by: str | None


class Choice:
    """One answer that is being made.

    Args:
        index: its number in the response.
        number: which of the ``n`` answers to its prompt it is.
        room: tokens that fit behind the prompt.
        usual: tokens after which an answer ends by itself.

    Attributes:
        most: tokens that it gets at the most.
        tokens: that it has.
    """

    def __init__(self, request: GenerationRequest, prompt: Prompt, index: int, number: int, *, room: int, usual: int):
        limit = min(room, request.most_tokens or room)
        end = limit if request.ignore_eos else max(usual, request.min_tokens)
        self.index = index
        self.prompt = prompt
        self.most = min(limit, end)
        self.tokens = 0
        self.finish: str | None = None
        self._voice = Voice(prompt.content, number)
        self._function = request.function
        self._stop = [] if self._function is not None else [text for text in request.stop if text]
        self._keep_stop = request.include_stop_str_in_output
        # It ends by itself rather than by a limit.
        self._complete = end <= limit and not request.ignore_eos
        self._held = prompt.text if request.echoes else ""
        self._echoed = len(self._held)
        self._held_tokens: list[str] = []

    def accept(self, number: int) -> Piece:
        """Take the next token."""
        first, token = not self.tokens, self._spoken(number)
        self.tokens += 1
        self._held += token
        self._held_tokens.append(token)
        text, stopped_by = self._passed()
        if stopped_by is not None:
            self.finish = "stop"
        elif self.tokens >= self.most:
            self.finish = self._natural_end if self._complete else "length"
            text, self._held = text + self._held, ""
        tokens: tuple[str, ...] = ()
        if text or self.finish:
            tokens, self._held_tokens = tuple(self._held_tokens), []
        return Piece(self.index, text, tokens, first, self.finish, stopped_by)

    @property
    def _natural_end(self) -> str:
        return "stop" if self._function is None else "tool_calls"

    def _spoken(self, number: int) -> str:
        token = self._voice.token(number)
        if self._function is None:
            return token
        # The arguments of a call are JSON, once they are complete.
        begin = '{"said":"' if number == 0 else ""
        return begin + token + ('"}' if self._complete and number == self.most - 1 else "")

    def _passed(self) -> tuple[str, str | None]:
        """Text that is no part of a stop string, and the stop string that was found."""
        echoed, self._echoed = self._echoed, 0
        found = [(at, stop) for stop in self._stop if (at := self._held.find(stop, echoed)) >= 0]
        if found:
            at, stop = min(found)
            return self._held[: at + len(stop) if self._keep_stop else at], stop
        kept = min(max(map(len, self._stop), default=1) - 1, len(self._held) - echoed)
        passed = len(self._held) - kept
        text, self._held = self._held[:passed], self._held[passed:]
        return text, None


def choices_of(
    request: GenerationRequest, prompts: Iterable[Prompt], *, max_model_len: int, usual: int
) -> list[Choice]:
    """All choices of a request: prompt after prompt, ``n`` of each.

    Args:
        max_model_len: longest prompt and answer together, in tokens.
        usual: tokens after which an answer ends by itself.

    Raises:
        ValueError: a prompt leaves no room for an answer.
    """
    choices: list[Choice] = []
    for prompt in prompts:
        room = max_model_len - prompt.tokens
        if room < 1:
            raise ValueError(
                f"This model's maximum context length is {max_model_len} tokens, and the prompt has {prompt.tokens}. "
                "Shorten it, so that there is room for an answer."
            )
        for number in range(request.n):
            choices.append(Choice(request, prompt, len(choices), number, room=room, usual=usual))
    return choices
