"""Which sequences run, and what each step of the engine computes: continuous batching with paged memory, as in vLLM.

Nothing here knows of time or of an event loop: ``core`` gives each step the time that it takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tessera.settings import Settings
from tessera.worker.simulated.blocks import BlockPool, EncoderCache
from tessera.worker.simulated.prompt import Prompt


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer that is being made.

    Attributes:
        most: tokens at which it is complete.
        deliver: called for every token.
        made: tokens so far, those of earlier workers included.
        slowness: it gets a token in every so-manieth step.
        cached: tokens of its prompt that were in the prefix cache; known once it has a token.
        computed: tokens whose keys and values are in the cache: all but the last one, where it only decodes.
        prefix: keys of the blocks that its prompt fills.
        own_blocks: those that it has beside them.
    """

    prompt: Prompt
    most: int
    deliver: Callable[[], None]
    made: int = 0
    slowness: int = 1
    cached: int | None = None
    computed: int = 0
    prefix: list[bytes] = field(default_factory=list)
    own_blocks: int = 0

    @property
    def length(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return self.prompt.tokens + self.made


@dataclass(frozen=True, slots=True)
class Step:
    """What one step computes.

    Attributes:
        told: sequences that get a token with it.
        prefilled: tokens of prompts, and of answers that earlier workers began or that were preempted.
        encoded: tokens made of media.
        batch: sequences that took part.
    """

    told: list[Sequence]
    prefilled: int
    encoded: int
    batch: int


class Scheduler:
    """The engine's seats and its memory."""

    def __init__(self, settings: Settings):
        self._seats = settings.simulated_seats
        self._batch_tokens = settings.simulated_batch_tokens
        self._block_tokens = settings.simulated_block_tokens
        self._pool = BlockPool(settings.simulated_kv_blocks, caching=settings.simulated_prefix_caching)
        self._encoder = EncoderCache(settings.simulated_encoder_cache_tokens)
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        # In the order in which they came.
        self._running: dict[Sequence, None] = {}
        self._steps = 0
        self.preemptions = 0

    @property
    def idle(self) -> bool:
        """There is nothing to do."""
        return not (self._waiting or self._running)

    @property
    def waiting(self) -> int:
        """Sequences without a seat."""
        return len(self._waiting)

    @property
    def free_blocks(self) -> int:
        """KV-cache blocks that nothing needs that runs."""
        return self._pool.available

    def add(self, sequence: Sequence) -> None:
        """A sequence that is to be made; it has to fit into the KV cache when it is complete."""
        sequence.prefix = sequence.prompt.keys(self._block_tokens)
        self._waiting[sequence] = None

    def drop(self, sequence: Sequence) -> None:
        """Nobody wants it any more, or it has ended."""
        self._waiting.pop(sequence, None)
        if sequence in self._running:
            self._vacate(sequence)

    def step(self) -> Step:
        """Compute the next tokens: of those that run, then of those for which there is room."""
        self._steps += 1
        told = self._decode()
        prefilled, encoded, begun = self._prefill(self._batch_tokens - len(told))
        batch = len(self._running)
        told += begun
        for sequence in told:
            if sequence.made >= sequence.most:
                self.drop(sequence)
        return Step(told, prefilled, encoded, batch)

    def _decode(self) -> list[Sequence]:
        told = []
        for sequence in tuple(self._running):
            if sequence not in self._running or sequence.computed < sequence.length - 1:
                continue  # preempted just now, or still to be prefilled
            if self._steps % sequence.slowness or not self._has_room(sequence):
                continue
            self._tell(sequence)
            told.append(sequence)
        return told

    def _has_room(self, sequence: Sequence) -> bool:
        if sequence.length % self._block_tokens:
            return True
        while not self._pool.grow():
            youngest = next(reversed(self._running))
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.own_blocks += 1
        return True

    def _prefill(self, budget: int) -> tuple[int, int, list[Sequence]]:
        prefilled, encoded, begun = 0, 0, []
        pending = [s for s in self._running if s.computed < s.length - 1]
        while budget > 0:
            if pending:
                sequence = pending.pop(0)
            elif (admitted := self._admit()) is not None:
                sequence = admitted
                encoded += self._encode(sequence)
            else:
                break
            chunk = min(sequence.length - sequence.computed, budget)
            sequence.computed += chunk
            prefilled += chunk
            budget -= chunk
            if sequence.computed == sequence.length:
                self._tell(sequence)
                begun.append(sequence)
        return prefilled, encoded, begun

    def _admit(self) -> Sequence | None:
        if not self._waiting or len(self._running) >= self._seats:
            return None
        sequence = next(iter(self._waiting))
        # With room for the token that comes next.
        own = sequence.length // self._block_tokens + 1 - len(sequence.prefix)
        found = self._pool.hold(sequence.prefix, own)
        if found is None:
            return None
        del self._waiting[sequence]
        self._running[sequence] = None
        sequence.own_blocks = own
        # The last token is always computed: the next one comes out of it.
        sequence.computed = min(found * self._block_tokens, sequence.length - 1)
        if sequence.cached is None:
            sequence.cached = min(found * self._block_tokens, sequence.prompt.tokens - 1)
        return sequence

    def _encode(self, sequence: Sequence) -> int:
        return sum(m.tokens for m in sequence.prompt.media if self._encoder.add(m.digest, m.tokens))

    def _tell(self, sequence: Sequence) -> None:
        sequence.computed = sequence.length
        sequence.made += 1

    def _preempt(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self._vacate(sequence)
        self._waiting[sequence] = None
        self._waiting.move_to_end(sequence, last=False)

    def _vacate(self, sequence: Sequence) -> None:
        del self._running[sequence]
        self._pool.release(sequence.prefix, sequence.own_blocks)
        sequence.computed = 0
