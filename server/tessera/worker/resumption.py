"""Lets vLLM's engine core go on with a request whose first tokens another engine made.

vLLM itself goes on so after it preempted a request: its tokens so far are computed anew together with the prompt, and
stay *output* tokens, so that limits, penalties and stop conditions count them. Here they come with the request, among
its extra arguments, and are put where vLLM looks for them: at the scheduler's request, at the worker's state of it, and
at the grammar of a structured output, which has to have accepted them. vLLM calls ``activate`` in each of its
processes, as a plug-in of the group ``vllm.general_plugins``.
"""

from __future__ import annotations

from typing import Any

from tessera.worker.bridge import vllm_name

# Among vLLM's ``SamplingParams.extra_args``: token ids that the request has made already.
RECORDED = "tessera_recorded_token_ids"


def activate() -> None:
    """Teach this process's vLLM; on requests without recorded tokens nothing changes."""
    _teach(vllm_name("Request"), vllm_name("CachedRequestState"), vllm_name("StructuredOutputManager"))


def _teach(request_class: Any, state_class: Any, grammar_class: Any) -> None:
    build, prepare, compile_grammar = request_class.__init__, state_class.__post_init__, grammar_class._create_grammar

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **options)
        if tokens := recorded(self.sampling_params):
            self.append_output_token_ids(tokens)
            # vLLM counts what is cached of a first prefill, and asserts that it is of the prompt; here it may be more.
            self.prefill_stats = None

    def post_init(self: Any) -> None:
        prepare(self)
        # The state of a request that is new to the worker; the newer model runner is told of all tokens by itself.
        if not self.output_token_ids and (tokens := recorded(self.sampling_params)):
            self.output_token_ids.extend(tokens)

    def create_grammar(self: Any, request: Any) -> Any:
        grammar = compile_grammar(self, request)
        if tokens := recorded(request.sampling_params):
            # What was thought before the answer is free of the grammar.
            start = self._get_constraint_bounds(request, tokens, spec_tokens_committed=True).grammar_start
            if start < len(tokens):
                request.structured_output_request.reasoning_ended = True
                if not grammar.accept_tokens(request.request_id, tokens[start:]):
                    raise ValueError("the grammar does not accept what was generated under it before")
        return grammar

    request_class.__init__, state_class.__post_init__ = init, post_init
    grammar_class._create_grammar = create_grammar


def recorded(params: Any) -> list[int]:
    """The tokens that a request with these sampling parameters has made already."""
    extra = None if params is None else params.extra_args
    tokens: list[int] = (extra or {}).get(RECORDED) or []
    return tokens
