from __future__ import annotations

import json
import re

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import InvalidJSON, InvalidRequest, RequestTooComplex
from tessera.gateway.body import Document
from tessera.gateway.body.document import INLINE_BYTES, MOST_LEVELS, READ_FIELDS
from tests.gateway.body.texts import Text, exactly, texts

MOST_VALUES = 500_000
# Makes a document large whatever else is in it.
PADDING = "x" * INLINE_BYTES

# Is kept apart in a small one.
DATA_URL = "data:image/png;base64," + "x" * 2000

of_any_size = pytest.mark.parametrize("padding", ["", DATA_URL, PADDING], ids=["small", "of media", "large"])


async def read(text: str | bytes, most_values: int = MOST_VALUES) -> Document:
    return await Document.read(bytearray(text.encode() if isinstance(text, str) else text), most_values, media=True)


@given(texts())
@settings(deadline=None)
async def test_a_document_goes_on_as_it_came(text: Text):
    for padding in ("", DATA_URL, PADDING):
        whole = f'{{"p":"{padding}","x":{text.text}}}'
        document = await read(whole)
        assert document.encode() == whole.encode()
        assert document.value["x"] == orjson.loads(text.text)


@of_any_size
async def test_numbers_go_on_to_the_digit(padding):
    numbers = '{"maximum":1E+20,"minimum":-0.0,"multipleOf":1.0,"x":0.1e-7}'
    text = f'{{"p":"{padding}","seed":18446744073709551616,"schema":{numbers}}}'
    document = await read(text)
    document.set(("stream_options",), {"include_usage": True})
    assert exactly(document.encode().decode()) == exactly(text) | {"stream_options": {"include_usage": True}}


class TestADataUrl:
    @pytest.mark.parametrize("padding", ["", PADDING], ids=["small", "large"])
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            (DATA_URL, DATA_URL),
            (DATA_URL + "\\u0041\\/", DATA_URL + "A/"),
            (DATA_URL + '\\"', DATA_URL + '"'),
            (DATA_URL + "é", DATA_URL + "é"),
            ("data:short", "data:short"),
            ('he said \\"' + DATA_URL, 'he said "' + DATA_URL),
            ("\\\\", "\\"),
        ],
    )
    async def test_is_what_was_sent(self, written, meant, padding):
        text = f'{{"b":[{{"url":"{written}"}},"{DATA_URL}"],"p":"{padding}","{written}":1}}'
        document = await read(text)
        [part, other] = document.value["b"]
        assert (document.string(part["url"]), document.string(other)) == (meant, DATA_URL)
        assert meant in map(document.string, document.value)
        assert document.encode() == text.encode()
        document.set(("b", 0), {"url": "reference"})
        document.set(("p",), "")
        assert (
            document.encode()
            == text.replace(f'{{"url":"{written}"}}', '{"url":"reference"}')
            .replace(f'"p":"{padding}"', '"p":""')
            .encode()
        )

    @pytest.mark.parametrize("bad", ["\n", "\x1f", "\\x"])
    async def test_with_what_no_string_may_have_is_refused(self, bad):
        with pytest.raises(InvalidJSON, match=f"line 1, column {len(DATA_URL) + 8} in `b"):
            await read(f'{{"b":"{DATA_URL}-{bad}"}}')


class TestALargeDocument:
    @given(st.data())
    @settings(deadline=None, max_examples=50)
    async def test_has_its_long_strings_wherever_they_stand(self, data):
        letters = st.sampled_from(["a", '"', "\\", "é", "🜁", "\n", "\x01", "\ufffd", "/", "u"])
        pattern = data.draw(st.text(letters, min_size=1, max_size=7))
        size = data.draw(st.integers(1000, 1050) | st.integers(261_000, 264_000) | st.just(600_000))
        string = (pattern * (size // len(pattern) + 1))[:size]
        escaped = data.draw(st.booleans())
        body = {"text": string, string: [1, {"again": string + "."}], "p": PADDING, "": 0}
        text = json.dumps(body, ensure_ascii=escaped).encode()
        document = await read(text)
        assert document.encode() == text
        assert document.string(document.value["text"]) == string
        again = next(value for name, value in document.value.items() if isinstance(value, list))[1]["again"]
        assert document.string(again) == string + "."
        assert document.string("text") == "text"

    async def test_is_changed_like_any_other(self):
        body = {"messages": [{"content": [{"url": PADDING}, {"text": PADDING}]}], "n": PADDING}
        document = await read(json.dumps(body))
        document.set(("messages", 0, "content", 0), {"url": "new", "kept": document.value["n"]})
        document.remove(("n",))
        body["messages"][0]["content"][0] = {"url": "new", "kept": PADDING}
        del body["n"]
        assert json.loads(document.encode()) == body

    async def test_what_stands_for_a_string_cannot_be_guessed(self):
        one, other = [await read(json.dumps({"a": PADDING})) for _ in range(2)]
        assert one.value != other.value
        assert one.string(other.value["a"]) == other.value["a"]

    @pytest.mark.parametrize(
        ("values", "fits"),
        [
            ("1," * 999, True),
            ("1," * 1000, False),
            ('"",' * 999, True),
            ('"",' * 1000, False),
            ("[]," * 160, True),
            ("[]," * 167, False),
            ('{"a":1},' * 90, True),
            ('{"a":1},' * 91, False),
            ('"' + "," * 1023 + '",' + '"[{:,' + "," * 5000 + '",', True),  # what strings contain does not count
            ('"' * 3000 + ",", False),
            (" " * 33_000, False),
            ('"%s",' % ("x" * 900) * 40, False),
        ],
    )
    async def test_has_a_limit_to_what_is_parsed(self, values, fits):
        text = f'{{"p":"{PADDING}","x":[{values}1]}}'
        if fits:
            assert (await read(text, 1020)).value["x"]
        else:
            with pytest.raises(RequestTooComplex, match="1,020 are allowed"):
                await read(text, 1020)


@of_any_size
@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('{"messages":[{},{"content":"é%s\\ud83dx"}]}', "messages[1].content", r"\\ud83d is half of a character"),
        ('{"a":{"b":[0,[1,"%s",NaN]]}}', "a.b[1][2]", "JSON has no NaN"),
        ('{"a":"%s",\n"b":[-Infinity]}', "b[0]", "JSON has no Infinity"),
        ('{"a":{"x":"%s"},"b":1e400}', "b", "infinity"),
        ('{"b":["a%s\x01"]}', "b[0]", "control character"),
        ('{"b":["%s\\x"]}', "b[0]", "escape"),
        ('{"b":["%s\\u12"]}', "b[0]", "escape"),
        ('{"b":{"c":"%s', "b.c", "end"),
        ('{"b":{"c":"%s\\', "b.c", "end"),
        ('{"b":{"c":"%s\\"', "b.c", "end"),
        ('{"p":"%s","b":tru}', "b", "true"),
        ('{"p":"%s","b":1,}', None, "trailing comma"),
        ('{"p":"%s",\'b\':1}', None, "string key"),
    ],
)
async def test_what_is_no_json_is_named_with_its_place(text, padding, where, what):
    with pytest.raises(InvalidJSON, match=what) as refused:
        await read(text % padding)
    place = re.search(r"at line (\d), column ([\d]+)", refused.value.message)
    assert place is not None
    assert int(place[1]) == (2 if "\n" in text else 1)
    if where:
        assert f" in `{where}`" in refused.value.message
        assert refused.value.param == where
    assert len(refused.value.message) < 500


@of_any_size
async def test_the_place_is_that_in_what_was_sent(padding):
    text = f'{{"p":"{padding}",\n "é": [NaN]}}'
    with pytest.raises(InvalidJSON, match="line 2, column 8 in `é"):
        await read(text)
    with pytest.raises(InvalidJSON, match=f"line 1, column {len(padding) + 7} in `p"):
        await read(b'{"p":"%s\xff"}' % padding.encode())


@of_any_size
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
async def test_other_encodings_are_named(codec, padding):
    with pytest.raises(InvalidJSON, match="UTF-8"):
        await read(f'{{"p":"{padding}"}}'.encode(codec))


@of_any_size
async def test_a_byte_order_mark_is_left_out(padding):
    text = f'{{"p":"{padding}"}}'
    assert (await read(text.encode("utf-8-sig"))).encode() == text.encode()


@of_any_size
@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_nesting_has_a_limit(opening, padding):
    closing = {"[": "]", '{"a":': "}"}[opening]
    for levels, fits in ((MOST_LEVELS - 1, True), (MOST_LEVELS, False), (100_000, False)):
        text = f'{{"p":"{padding}","x":{opening * levels}1{closing * levels}}}'
        if fits:
            assert (await read(text)).encode() == text.encode()
        else:
            with pytest.raises(InvalidRequest):
                await read(text)
    flat = f'{{"p":"{padding}","x":[{"[]," * 1000}1]}}'
    assert (await read(flat)).encode() == flat.encode()


@of_any_size
@pytest.mark.parametrize("name", READ_FIELDS)
async def test_a_field_that_is_read_stands_once(name, padding):
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    for twin in (name, escaped):
        with pytest.raises(InvalidRequest) as refused:
            await read(f'{{"{name}":1,"p":"{padding}","{twin}":2}}')
        assert refused.value.param == name
    once = f'{{"{name}":1,"p":"{padding}","x":{{"{name}":2,"{escaped}":3}},"y":"\\"{name}\\":"}}'
    assert (await read(once)).value[name] == 1
