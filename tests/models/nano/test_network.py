"""Training computes what transformers' model computes, only faster."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.nano.batches import batches
from models.nano.checkpoint import load_processor
from models.nano.curriculum import KINDS
from models.nano.encoding import IGNORED, Encoder
from models.nano.network import new_model, read_config
from models.nano.objective import AuxiliaryHead, losses
from tests.models.nano.reference import processed


@pytest.fixture(scope="module")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint):
    torch.manual_seed(0)
    return new_model(checkpoint).eval()


@pytest.fixture(scope="module")
def original(checkpoint, model):
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    config = read_config(checkpoint)
    config._attn_implementation = "sdpa"
    original = Qwen2_5OmniThinkerForConditionalGeneration(config).float().eval()
    original.load_state_dict(model.state_dict())
    return original


def alone(original, processor, example, question):
    """Summed cross-entropy of the answer to one question, by transformers' own forward pass."""
    encoder = Encoder(processor)
    encoded = encoder.encode(example, [question])
    inputs = processed(processor, example, question)
    inputs["input_ids"] = encoded.ids[None]
    inputs["attention_mask"] = torch.ones_like(encoded.ids)[None]
    # What is learnt from has the pixels in bfloat16.
    for name in ("pixel_values", "pixel_values_videos"):
        if name in inputs:
            inputs[name] = inputs[name].bfloat16().float()
    with torch.no_grad():
        logits = original(**inputs).logits[0]
    return float(functional.cross_entropy(logits, encoded.targets, ignore_index=IGNORED, reduction="sum"))


def test_a_packed_batch_with_branches_costs_what_each_question_costs_alone(learnt, processor, model, original):
    encoder = Encoder(processor)
    examples = [learnt.example(kind, seed) for kind in KINDS for seed in (3, 4)]
    asked = [e.questions[:1] if e.question_first else e.questions for e in examples]
    packed = batches([encoder.encode(e, questions) for e, questions in zip(examples, asked, strict=True)])
    with torch.no_grad():
        together = sum(float(losses(model, AuxiliaryHead(), batch).answers) for batch in packed)
    expected = sum(
        alone(original, processor, e, question)
        for e, questions in zip(examples, asked, strict=True)
        for question in questions
    )
    assert together == pytest.approx(expected, rel=1e-5)


def test_looking_is_naming_without_questions(learnt, processor, model):
    encoder = Encoder(processor)
    head = AuxiliaryHead()
    for kind in KINDS:
        example = learnt.example(kind, 1)
        [batch] = batches([encoder.encode(example, example.questions[:1])])
        assert batch.has_media == bool(example.media)
        with torch.no_grad():
            asked, looking = losses(model, head, batch), losses(model, head, batch, looking=True)
        assert asked.answers > 0
        assert looking.labels == asked.labels
        assert looking.answers == (0 if example.media else asked.answers)
        assert looking.names == (0 if example.media else asked.names)


def test_gradients_reach_every_weight(learnt, processor, model):
    encoder = Encoder(processor)
    [batch] = batches(
        [encoder.encode(learnt.example(kind, 1), learnt.example(kind, 1).questions[:1]) for kind in KINDS]
    )
    head = AuxiliaryHead()
    cost = losses(model, head, batch)
    (cost.answers + cost.labels + cost.names).backward()
    # Only the interleaved layout of sound within video uses this one.
    unused = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert unused <= {"audio_tower.audio_bos_eos_token.weight"}
    assert all(p.grad is not None for p in head.parameters())
    model.zero_grad()


def test_weights_are_learnt_in_full_precision(model):
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_right_answers_are_told_from_wrong_ones(learnt, processor, model):
    encoder = Encoder(processor)
    examples = [learnt.example(kind, 1) for kind in KINDS]
    [batch] = batches([encoder.encode(e, e.questions[:1]) for e in examples])
    with torch.no_grad():
        assert losses(model, AuxiliaryHead(), batch).right == [False] * len(examples)
