"""Seeded random weights, under the names of Qwen2.5-Omni's checkpoints.

Made with numpy alone, so that building needs no torch. Three things are not left to chance, so that a greedy answer is
readable, varied, and different for different media:

- Hidden dimension 0 is a constant that no layer writes to. Column 0 of the head times this constant is the bias that
  Qwen2's head lacks.
- Embedding and head carry the corpus's bigrams (see ``bigrams``); the random layers between them disturb this with the
  context, media included.
- Projections are scaled by their fan-in, so that a plain colour or tone keeps its strength on its way.
"""

import numpy as np
from numpy.typing import NDArray

from models.tiny import configuration as c
from models.tiny.bigrams import factor_bigrams

Weights = dict[str, NDArray[np.float32]]
Bigrams = NDArray[np.float64]

CONSTANT = 4.0
# What the constant is after the last norm, measured; only the scale of the bias depends on it.
NORMED_CONSTANT = 2.0
# Found by trial. More gain: the answer depends more on the context, and reads less like the corpus.
ATTENTION_GAIN = 0.8
MLP_GAIN = 0.6
MEDIA_GAIN = 1.5
SHARPNESS = 3.0  # of attention; a soft one averages the context until every prompt looks alike
UNSEEN_BIAS = -12.0  # logit of tokens that the corpus never says, such as fragments of UTF-8 and <|IMAGE|>
HANDICAP = 0.7
REPEAT_PENALTY = 6.0


class _Random:
    """Draws the tensors of one checkpoint, in a fixed order."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.weights: Weights = {}

    def normal(self, *shape: int) -> NDArray[np.float64]:
        return self.generator.standard_normal(shape)

    def linear(
        self,
        name: str,
        outputs: int,
        *inputs: int,
        gain: float = 1.0,
        bias: bool = True,
        writes_constant: float | None = None,
    ) -> None:
        """Add a weight of shape (outputs, *inputs) that keeps the variance times ``gain`` squared.

        ``writes_constant``: what output 0 always adds to the language model's hidden state, if that is where it goes.
        """
        weight = self.normal(outputs, *inputs) * gain / np.sqrt(np.prod(inputs))
        offset = self.normal(outputs) * 0.1
        if writes_constant is not None:
            weight[0] = 0.0
            offset[0] = writes_constant
        self.put(f"{name}.weight", weight)
        if bias:
            self.put(f"{name}.bias", offset)

    def norm(self, name: str, size: int, bias: bool = False) -> None:
        self.put(f"{name}.weight", np.ones(size))
        if bias:
            self.put(f"{name}.bias", np.zeros(size))

    def put(self, name: str, value: NDArray[np.float64]) -> None:
        self.weights[f"thinker.{name}"] = np.ascontiguousarray(value, dtype=np.float32)


def make_weights(bigrams: Bigrams, seed: int) -> Weights:
    """Return all tensors by name; ``bigrams``: counts of shape (vocabulary, vocabulary)."""
    random = _Random(seed)
    _add_embedding_and_head(random, bigrams)
    for layer in range(c.LAYERS):
        _add_text_layer(random, f"model.layers.{layer}")
    random.norm("model.norm", c.HIDDEN)
    _add_vision_tower(random)
    _add_audio_tower(random)
    return random.weights


def _add_embedding_and_head(random: _Random, bigrams: Bigrams) -> None:
    vocabulary = len(bigrams)
    sources, targets = factor_bigrams(bigrams, c.HIDDEN - 1, random.generator)
    followed = bigrams.sum(axis=1, keepdims=True) > 0
    follows = bigrams.sum(axis=0) > 0
    embedding = random.normal(vocabulary, c.HIDDEN)
    embedding[:, 1:] = np.where(followed, sources, embedding[:, 1:])
    embedding[:, 0] = CONSTANT
    head = random.normal(vocabulary, c.HIDDEN) * 0.05
    head[:, 1:] += targets
    # A source times itself is its dimension: this lowers a token's logit after itself, and hardly that of any other.
    head[:, 1:] -= REPEAT_PENALTY * sources / (c.HIDDEN - 1)
    # Noise favours the long rows of frequent tokens; without a handicap the answer is "a a a".
    handicap = HANDICAP * np.linalg.norm(targets, axis=1)
    head[:, 0] = np.where(follows, -handicap, UNSEEN_BIAS) / NORMED_CONSTANT
    random.put("model.embed_tokens.weight", embedding)
    random.put("lm_head.weight", head)


def _add_text_layer(random: _Random, name: str) -> None:
    kv_size = c.KV_HEADS * c.HEAD_DIM
    random.norm(f"{name}.input_layernorm", c.HIDDEN)
    random.linear(f"{name}.self_attn.q_proj", c.HIDDEN, c.HIDDEN, gain=SHARPNESS)
    random.linear(f"{name}.self_attn.k_proj", kv_size, c.HIDDEN, gain=SHARPNESS)
    random.linear(f"{name}.self_attn.v_proj", kv_size, c.HIDDEN)
    random.linear(f"{name}.self_attn.o_proj", c.HIDDEN, c.HIDDEN, gain=ATTENTION_GAIN, bias=False, writes_constant=0.0)
    random.norm(f"{name}.post_attention_layernorm", c.HIDDEN)
    random.linear(f"{name}.mlp.gate_proj", c.INTERMEDIATE, c.HIDDEN, bias=False)
    random.linear(f"{name}.mlp.up_proj", c.INTERMEDIATE, c.HIDDEN, bias=False)
    random.linear(f"{name}.mlp.down_proj", c.HIDDEN, c.INTERMEDIATE, gain=MLP_GAIN, bias=False, writes_constant=0.0)


def _add_vision_tower(random: _Random) -> None:
    size = c.VISION_HIDDEN
    merged = size * c.MERGE**2
    random.linear("visual.patch_embed.proj", size, 3, c.TEMPORAL_PATCH, c.PATCH, c.PATCH, bias=False)
    for layer in range(c.VISION_LAYERS):
        name = f"visual.blocks.{layer}"
        random.norm(f"{name}.norm1", size)
        random.norm(f"{name}.norm2", size)
        for projection in ("q", "k", "v", "proj"):
            random.linear(f"{name}.attn.{projection}", size, size)
        random.linear(f"{name}.mlp.gate_proj", c.VISION_INTERMEDIATE, size)
        random.linear(f"{name}.mlp.up_proj", c.VISION_INTERMEDIATE, size)
        random.linear(f"{name}.mlp.down_proj", size, c.VISION_INTERMEDIATE)
    random.norm("visual.merger.ln_q", size)
    random.linear("visual.merger.mlp.0", merged, merged)
    random.linear("visual.merger.mlp.2", c.HIDDEN, merged, gain=MEDIA_GAIN, writes_constant=CONSTANT)


def _add_audio_tower(random: _Random) -> None:
    size = c.AUDIO_HIDDEN
    random.linear("audio_tower.conv1", size, c.MEL_BINS, 3)
    random.linear("audio_tower.conv2", size, size, 3)
    for layer in range(c.AUDIO_LAYERS):
        name = f"audio_tower.layers.{layer}"
        random.norm(f"{name}.self_attn_layer_norm", size, bias=True)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            random.linear(f"{name}.self_attn.{projection}", size, size, bias=projection != "k_proj")
        random.norm(f"{name}.final_layer_norm", size, bias=True)
        random.linear(f"{name}.fc1", c.AUDIO_INTERMEDIATE, size)
        random.linear(f"{name}.fc2", size, c.AUDIO_INTERMEDIATE)
    random.norm("audio_tower.ln_post", size, bias=True)
    random.linear("audio_tower.proj", c.HIDDEN, size, gain=MEDIA_GAIN, writes_constant=CONSTANT)
    random.put("audio_tower.audio_bos_eos_token.weight", random.normal(2, c.HIDDEN))
