from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document
from tessera.gateway.content import find_media
from tessera.gateway.conversation import ROLES, check_conversation
from tessera.gateway.endpoints import CHAT
from tessera.gateway.message_schema import MESSAGES
from tessera.gateway.part import CONTENTS, FILES, MEDIA, OF_FILES, TEXT
from tests.description import validator

SCHEMA = validator(MESSAGES)
URL = "http://x/"
SOUNDS = [{"data": "AAAA", "format": "wav"}, {"data": "AAAA"}, {"data": ""}, {"data": "AAAA", "format": 1}]
URLS = [{"url": URL}, {"url": ""}, {"url": None}, {"url": URL, "data": "AAAA"}]
IDS = [
    {"file_id": URL},
    {"file_id": ""},
    {"file_id": 5},
    {"file_id": URL, "url": URL},
    {"file_id": URL, "data": "AAAA"},
]
DATA = [{"file_data": URL}, {"file_data": 5}, {"file_data": URL, "file_id": URL}, {"file_data": URL, "file_id": None}]
VALUES = st.sampled_from([None, "", URL, 5, True, [], {}, *SOUNDS, *URLS, *IDS, *DATA])
KINDS = st.sampled_from([*MEDIA, *TEXT, *FILES, "document", None, 5])
# Mostly of one kind, as its type or by itself; sometimes of several.
PARTS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(sorted(CONTENTS | {"name", "uuid"})), VALUES, max_size=2).flatmap(
        lambda part: st.just(part) | KINDS.map(lambda kind: part | {"type": kind})
    ),
    KINDS.flatmap(lambda kind: VALUES.map(lambda value: {"type": kind, str(TEXT.get(kind, kind)): value})),
    st.sampled_from([(kind, field) for kind, fields in OF_FILES.items() for field in fields]).flatmap(
        lambda named: VALUES.map(lambda value: {"type": named[0], named[1]: value})
    ),
)
CONTENT = st.one_of(VALUES, st.lists(PARTS, max_size=2))
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from([*ROLES, *ROLES, "banana", None, 5, ""]),
        "content": CONTENT,
        "tool_call_id": VALUES,
    },
)
# Of the call with this id, so that a message with the role `tool` has one to answer.
CALLING = {"role": "assistant", "tool_calls": [{"id": URL}]}


def taken(messages):
    document = Document(json.dumps({"messages": messages}).encode())
    try:
        check_conversation(document, CHAT)
        find_media(document, CHAT)
    except InvalidRequest:
        return False
    return True


@given(st.lists(MESSAGE | VALUES, min_size=1, max_size=2))
@settings(max_examples=500, deadline=None)
def test_what_is_described_is_what_is_taken(messages):
    messages = [CALLING, *messages]
    assert taken(messages) is SCHEMA.is_valid(messages), list(SCHEMA.iter_errors(messages))
