from __future__ import annotations

from tessera.worker.failure import reason

MESSAGE = """The deployment failed to start 3 times in a row. Error:
ray::ServeReplica:worker.initialize_and_get_metadata() (pid=1)
  File "replica.py", line 1928, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "engine.py", line 48, in start
    args = bridge.parse_engine_args(model, name)
           ^^^^^^^^^^^^^^^^^^^^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, no such folder: /models/x
"""


def test_the_reason_is_the_end_of_the_last_traceback() -> None:
    wanted = (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, no such folder: /models/x"
    )
    assert reason(["", MESSAGE]) == wanted


def test_without_a_traceback_there_is_no_reason() -> None:
    assert reason(["waiting for resources"]) == ""
