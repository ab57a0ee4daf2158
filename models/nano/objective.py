"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nano import configuration as c
from models.nano.batches import Batch
from models.nano.encoding import IGNORED
from models.nano.network import Visible
from models.nano.vocabulary import ACROSS, DOWN, LABELS

_ANSWERS_ROUNDED_TO = 256  # tokens; see ``batches``
_RARE = -5.0  # logit of a label before anything is learnt: most tokens show nothing
_PLACES = [LABELS.index(label) for label in (*ACROSS, *DOWN)]  # these hold as often as not
_PLACES_WEIGHT = 0.1  # with more, the many tokens that have a place drown the few that show a letter
_KNOWN_AFTER = 2  # layers of the language model: what a name means; the layers after it are left to reason about it


class AuxiliaryHead(nn.Module):
    """Says of each media token what it shows, and of each name in the text what is true of the thing that it names.

    Only for training. The first teaches the towers faster than answers alone do. Without the second, things are not
    looked up when a question names them, and two of them are not compared in thousands of steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Linear(c.HIDDEN, len(LABELS))
        self.heard = nn.Linear(c.HIDDEN, len(LABELS))
        self.named = nn.Linear(c.HIDDEN, len(LABELS))
        for layer in (self.seen, self.heard, self.named):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, _RARE)
        with torch.no_grad():
            self.seen.bias[_PLACES] = self.named.bias[_PLACES] = 0.0

    def saw(self, features: Tensor) -> Tensor:
        """Logits of shape (tokens, labels) for what the vision tower made of (tokens, hidden)."""
        return _logits(self.seen, features)

    def listened(self, features: Tensor) -> Tensor:
        """Logits of shape (tokens, labels) for what the audio tower made of (tokens, hidden)."""
        return _logits(self.heard, features)

    def meant(self, states: Tensor) -> Tensor:
        """Logits of shape (names, labels) for what the language model made of names, (names, hidden)."""
        return _logits(self.named, states)


@dataclass(frozen=True)
class Losses:
    """Sums over a batch.

    Attributes:
        answers: cross-entropy of the answers' tokens.
        labels: binary cross-entropy of the media tokens' labels.
        names: binary cross-entropy of the labels of what is named.
        right: for each example, whether all its answers are predicted, token by token.
    """

    answers: Tensor
    labels: Tensor
    names: Tensor
    right: list[bool]


def losses(model: Any, head: AuxiliaryHead, batch: Batch, *, looking: bool = False) -> Losses:
    """Run the model over the batch.

    Args:
        looking: what is seen and heard is only named, not asked about; see ``Stage``.
    """
    embeddings = model.get_input_embeddings()(batch.ids)
    labels = embeddings.new_zeros(())
    if len(batch.grids):
        features = model.visual(batch.patches, grid_thw=batch.grids).pooler_output
        shown = (batch.ids == model.config.image_token_id) | (batch.ids == model.config.video_token_id)
        embeddings = embeddings.masked_scatter(shown[..., None], features.to(embeddings.dtype))
        labels = labels + _label_loss(head.saw(features)[: len(batch.seen)], batch.seen)
    if len(batch.mel_lengths):
        features = model.audio_tower(batch.mel, feature_lens=batch.mel_lengths).last_hidden_state
        heard = batch.ids == model.config.audio_token_id
        embeddings = embeddings.masked_scatter(heard[..., None], features.to(embeddings.dtype))
        labels = labels + _label_loss(head.listened(features)[: len(batch.heard)], batch.heard)
    if looking and batch.has_media:
        return Losses(embeddings.new_zeros(()), labels, embeddings.new_zeros(()), [])
    output = model.model(
        inputs_embeds=embeddings,
        attention_mask={"full_attention": Visible(batch.visible)},
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    names = _label_loss(head.meant(output.hidden_states[_KNOWN_AFTER][0, batch.names]), batch.named, places_weight=1.0)
    asked = batch.targets != IGNORED
    answers = output.last_hidden_state[asked]
    blanks = -len(answers) % _ANSWERS_ROUNDED_TO
    logits = model.lm_head(functional.pad(answers, (0, 0, 0, blanks)))[: len(answers)].float()
    wrong = torch.zeros_like(asked)
    wrong[asked] = logits.detach().argmax(-1) != batch.targets[asked]
    lengths = [len(mask) for mask in batch.visible[:-1]]
    right = [not bool(part.any()) for part in wrong[0, : sum(lengths)].split(lengths)]
    return Losses(functional.cross_entropy(logits, batch.targets[asked], reduction="sum"), labels, names, right)


def _logits(layer: nn.Module, features: Tensor) -> Tensor:
    # As the language model sees them; at first, features are so small that next to nothing would be learnt from them.
    logits: Tensor = layer(functional.rms_norm(features, features.shape[-1:]))
    return logits


def _label_loss(logits: Tensor, labels: Tensor, places_weight: float = _PLACES_WEIGHT) -> Tensor:
    weights = labels.new_ones(len(LABELS))
    weights[_PLACES] = places_weight
    return functional.binary_cross_entropy_with_logits(logits.float(), labels, weights, reduction="sum")
