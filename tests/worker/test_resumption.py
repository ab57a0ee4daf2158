"""What an engine core is taught, on the classes of the installed vLLM; that it works is shown by killing engines."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")

from tessera.worker import resumption
from tessera.worker.bridge import vllm_name
from tessera.worker.resumption import RECORDED

# Of torch's, at its import.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def taught():
    """Classes of their own: the real ones stay as they are for the rest of the tests."""
    names = ("Request", "CachedRequestState", "StructuredOutputManager")
    classes = [type(name, (vllm_name(name),), {}) for name in names]
    resumption._teach(*classes)
    return classes


def params(**extra):
    from vllm import SamplingParams

    return SamplingParams(max_tokens=9, extra_args=extra or None)


def test_tokens_made_before_are_output_of_the_scheduler_s_request(taught):
    request = taught[0]("r", [1, 2], params(**{RECORDED: [7, 8]}), None)
    assert (request.num_prompt_tokens, list(request.output_token_ids)) == (2, [7, 8])
    assert list(request.all_token_ids) == [1, 2, 7, 8]
    assert request.prefill_stats is None, "as after a preemption: more than the prompt may be in the cache"
    assert taught[0]("r", [1, 2], params(), None).prefill_stats is not None


def test_and_of_the_worker_s_state_of_it(taught):
    def state(sampling_params, output_token_ids):
        return taught[1]("r", [1, 2], [], sampling_params, None, ([0],), 0, output_token_ids)

    assert state(params(**{RECORDED: [7, 8]}), []).num_tokens == 4
    assert state(params(**{RECORDED: [7, 8]}), [7, 8, 9]).output_token_ids == [7, 8, 9], "taken up again as it was"
    assert state(params(), []).output_token_ids == []
    assert state(None, []).output_token_ids == []


class Grammar:
    def __init__(self, accepts: bool):
        self.accepts, self.accepted = accepts, []

    def accept_tokens(self, request_id, tokens):
        self.accepted += tokens
        return self.accepts


def made(manager_class, grammar, tokens):
    manager = object.__new__(manager_class)
    manager.enable_in_reasoning, manager.reasoner_cls = False, None
    manager.backend = SimpleNamespace(compile_grammar=lambda *_, **__: grammar)
    request = SimpleNamespace(
        request_id="r",
        sampling_params=SimpleNamespace(all_stop_token_ids=set(), extra_args={RECORDED: tokens}),
        structured_output_request=SimpleNamespace(structured_output_key=("json", "{}"), reasoning_ended=None),
    )
    return manager._create_grammar(request)


def test_a_grammar_has_accepted_what_was_made_under_it(taught):
    assert made(taught[2], grammar := Grammar(True), [7, 8]) is grammar
    assert grammar.accepted == [7, 8]
    assert made(taught[2], untouched := Grammar(True), []) is untouched
    assert untouched.accepted == []


def test_a_grammar_that_does_not_accept_it_fails_this_request_alone(taught):
    with pytest.raises(ValueError, match="does not accept"):
        made(taught[2], Grammar(False), [7])
