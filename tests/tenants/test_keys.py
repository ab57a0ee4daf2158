from __future__ import annotations

import os

import pytest
from structlog.testing import capture_logs

from tessera.settings import DEFAULT_TENANT, Settings
from tessera.tenants import KeyRing, KeysUnreadable, first_key, keys

pytestmark = pytest.mark.usefixtures("nothing_from_outside")

FILE = """\
# Applications
search  sk-search-1
search\tsk-search-2

chat.v2 sk-chat
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0.0)


def ring(path, text=None, **settings):
    if text is not None:
        write(path, text)
    return KeyRing(Settings(api_keys_file=path, **settings))


def write(path, text):
    """Replace the file, as whoever rotates secrets does."""
    other = path.with_name("new")
    other.write_text(text)
    os.replace(other, path)


def test_without_keys_none_is_required():
    nobodys = KeyRing(Settings())
    assert (nobodys.required, nobodys.tenant_of(b""), nobodys.tenant_of(b"x")) == (False, None, None)
    assert first_key(Settings()) is None


def test_one_key_of_a_setting():
    own = KeyRing(Settings(api_key="sk-1"))
    assert own.required
    assert (own.tenant_of(b"sk-1"), own.tenant_of(b"sk-2"), own.tenant_of(b"")) == (DEFAULT_TENANT, None, None)
    assert first_key(Settings(api_key="sk-1")) == "sk-1"


def test_a_file_of_keys(path):
    of_file = ring(path, FILE)
    assert of_file.required
    assert [of_file.tenant_of(key) for key in (b"sk-search-1", b"sk-search-2", b"sk-chat")] == [
        "search", "search", "chat.v2",
    ]  # fmt: skip
    for wrong in (b"", b"sk-search", b"sk-search-1 ", b"SK-CHAT", b"search", b"#", b"\xff"):
        assert of_file.tenant_of(wrong) is None
    assert first_key(Settings(api_keys_file=path)) == "sk-search-1"


def test_both(path):
    both = ring(path, FILE, api_key="sk-own")
    assert (both.tenant_of(b"sk-own"), both.tenant_of(b"sk-chat")) == (DEFAULT_TENANT, "chat.v2")
    assert first_key(Settings(api_keys_file=path, api_key="sk-own")) == "sk-own"


def test_an_empty_file_opens_the_server_to_nobody(path):
    empty = ring(path, "# nobody yet\n")
    assert (empty.required, empty.tenant_of(b"")) == (True, None)
    assert first_key(Settings(api_keys_file=path)) is None


@pytest.mark.parametrize(
    "line",
    [
        "sk-secret-alone",
        "name sk-secret more",
        "na/me sk-secret",
        "* sk-secret",
        f"{'n' * 65} sk-secret",
        ".name sk-secret",
        f"name {'k' * 513}",
        "other sk-a",
        "other sk-own",
    ],
)
def test_a_damaged_file_is_refused_by_the_number_of_its_line(path, line):
    with pytest.raises(KeysUnreadable, match=r"line 3\b") as refused:
        ring(path, f"\nname sk-a\n{line}\n", api_key="sk-own")
    assert "sk-" not in str(refused.value).replace(str(path), "")
    assert "kkk" not in str(refused.value)


@pytest.mark.parametrize("content", [b"name sk-\xc3\xa9\n", b"\xff\xfe"])
def test_only_ascii(path, content):
    path.write_bytes(content)
    with pytest.raises(KeysUnreadable, match="cannot be read"):
        ring(path)


def test_a_file_that_is_not_there(path):
    with pytest.raises(KeysUnreadable, match="FileNotFoundError"):
        ring(path)


@pytest.mark.parametrize("key", ["two words", "é", "\x7f", "k" * 513])
def test_a_key_that_no_header_carries(key):
    with pytest.raises(KeysUnreadable, match="TESSERA_API_KEY") as refused:
        KeyRing(Settings(api_key=key))
    assert key not in str(refused.value)


def test_a_change_of_the_file_counts(path):
    of_file = ring(path, FILE)
    with capture_logs() as logs:
        write(path, "search sk-search-2\nnew sk-new\n")
        assert of_file.tenant_of(b"sk-search-1") is None
        assert of_file.tenant_of(b"sk-new") == "new"
    assert [(line["event"], line["keys"]) for line in logs] == [("api_keys_read", 2)]


def test_a_file_that_cannot_be_read_any_more_leaves_what_was_valid_and_is_told_once(path):
    of_file = ring(path, FILE)
    with capture_logs() as logs:
        write(path, "half sk-chat\nhal")
        assert [of_file.tenant_of(b"sk-chat") for _ in range(3)] == ["chat.v2"] * 3
        assert [(line["event"], line["log_level"]) for line in logs] == [("api_keys_unreadable", "error")]
        path.unlink()
        assert of_file.tenant_of(b"sk-chat") == "chat.v2"
        write(path, "half sk-half\n")
        assert (of_file.tenant_of(b"sk-half"), of_file.tenant_of(b"sk-chat")) == ("half", None)
    assert "sk-" not in str([{k: v for k, v in line.items() if k != "file"} for line in logs])


def test_no_key_is_kept_or_shown(path):
    settings = Settings(api_key="sk-own-secret")
    of_file = ring(path, FILE, api_key="sk-own-secret")
    assert "sk-own-secret" not in repr(settings)
    assert all(key not in str(vars(of_file)) for key in ("sk-own-secret", "sk-chat"))
