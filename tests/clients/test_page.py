"""The page of clients shows what was tested, and nothing else."""

from __future__ import annotations

import pytest

from tests.clients.catalogue import CAPABILITIES, CLIENTS, HERE, Client, results
from tests.clients.page import BEGIN, PAGE, inserted


def test_the_page_is_what_the_results_say() -> None:
    text = PAGE.read_text()
    assert inserted(text) == text, "run `make clients-page`"
    with pytest.raises(ValueError, match="no line"):
        inserted(text.replace(BEGIN, ""))


def test_no_script_and_no_environment_is_forgotten() -> None:
    names = {client.name for client in CLIENTS}
    assert {path.stem.removesuffix("_client") for path in HERE.glob("*_client.*")} == names
    assert {path.stem for path in (HERE / "requirements").iterdir()} <= names
    assert set(results()) == names


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_what_is_kept_is_what_its_script_tries_with_the_version_that_is_pinned(client: Client) -> None:
    result = results()[client.name]
    assert client.trials, "the script tries nothing"
    assert result.capabilities == [each for each in CAPABILITIES if each in client.trials], "run `make test-clients`"
    assert set(client.trials) <= set(CAPABILITIES)
    assert client.pinned in (None, result.version), "run `make test-clients`"
