"""``/v1/audio/…``: a form becomes a job like any other, and its sound a reference."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from tessera.gateway.endpoints import FORMS, TRANSCRIPTION, TRANSLATION
from tessera.local.samples import audio, image
from tessera.media import RedisMediaStore, digest_of, unpack
from tests.clips import video_with_sound
from tests.gateway.files import create, field, file_part, form, post_form
from tests.gateway.scripted import ScriptedWorker

PATH = TRANSCRIPTION.path
RATE_HZ = 16_000


@pytest.fixture
def card(card):
    speech = {"clip_s": 30.0, "segments": True}
    return replace(card, tasks=["transcription"], sequences=8, limits={"audio": 1}, speech=speech)


def request(card, sound=None, **fields):
    """A form; a list comes field by field."""
    parts = [field("model", card.model)]
    for name, value in fields.items():
        parts += [field(f"{name}[]", each) for each in value] if isinstance(value, list) else [field(name, value)]
    return form(*parts, file_part(audio() if sound is None else sound, filename="a.wav"))


async def arrives(gateway, worker, body, path=PATH, **options):
    """What the worker gets."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(post_form(gateway, body, path, **options))
        lease = await worker.take()
        await worker.echo(lease)
    assert asked.result().status == 200, asked.result().body
    assert lease.job.path == path
    return lease


async def refused(gateway, worker, body, path=PATH):
    answer = await post_form(gateway, body, path)
    assert await worker.waiting() == 0
    return answer.status, answer.error["code"], answer.error["param"]


@pytest.mark.parametrize("endpoint", FORMS, ids=lambda endpoint: endpoint.path)
async def test_fields_arrive_as_what_they_are_and_the_sound_as_samples(
    gateway, worker, card, endpoint, redis_client, settings
):
    given = {"language": "en", "prompt": 'Say "ü"\r\n', "temperature": "0.5", "stream": "False", "seed": "7"}
    given |= {"response_format": "srt", "max_completion_tokens": "9", "made_up": "1", "user": ""}
    lease = await arrives(gateway, worker, request(card, **given), endpoint.path)
    body = json.loads(lease.job.body)
    url = body.pop("file")["url"]
    assert body == {
        "model": card.model,
        "language": "en",
        "prompt": 'Say "ü"\r\n',
        "temperature": 0.5,
        "stream": False,
        "seed": 7,
        "response_format": "srt",
        "max_completion_tokens": 9,
        "made_up": "1",
    }
    header, samples = unpack(await RedisMediaStore(redis_client, settings).get(digest_of(url)))
    wanted, _ = soundfile.read(io.BytesIO(audio()), dtype="float32")
    assert header.metadata["sample_rate"] == RATE_HZ
    assert np.array_equal(samples, wanted)
    labels = {"model": card.model, "endpoint": endpoint.path, "status": "200"}
    assert await gateway.metric("tessera_requests_total", **labels) == 1


async def test_a_field_of_several_comes_several_times(gateway, worker, card):
    body = request(card, timestamp_granularities=["segment", "segment"], response_format="verbose_json")
    lease = await arrives(gateway, worker, body)
    assert json.loads(lease.job.body)["timestamp_granularities"] == ["segment", "segment"]


async def test_the_sound_of_a_video_is_heard(gateway, worker, card):
    lease = await arrives(gateway, worker, request(card, video_with_sound()))
    assert digest_of(json.loads(lease.job.body)["file"]["url"])


async def test_a_long_sound_is_as_wide_as_its_clips(gateway, worker, card):
    def seconds(count):
        written = io.BytesIO()
        soundfile.write(written, np.zeros(count * RATE_HZ, dtype="int16"), RATE_HZ, format="FLAC")
        return written.getvalue()

    for lasts_s, width in ((30, 1), (31, 2), (100, 4), (600, 8)):
        lease = await arrives(gateway, worker, request(card, seconds(lasts_s)))
        assert lease.job.sequences == width, lasts_s


async def test_a_file_that_was_uploaded_before_is_named(start_gateway, settings, worker, card, tmp_path):
    gateway = await start_gateway(settings.model_copy(update={"files_store_url": tmp_path.as_uri()}))
    file_id = await create(gateway, audio())
    named = form(field("model", card.model), field("file_id", file_id))
    lease = await arrives(gateway, worker, named)
    assert digest_of(json.loads(lease.job.body)["file_id"]["url"])
    both = form(field("model", card.model), field("file_id", file_id), file_part(audio()))
    assert await refused(gateway, worker, both) == (400, "invalid_value", "file_id")
    gone = form(field("model", card.model), field("file_id", "file-" + "0" * 32))
    assert await refused(gateway, worker, gone) == (404, "file_not_found", "file_id")


WRONG = {
    "no file": (lambda card: form(field("model", card.model)), 400, "missing_required_parameter", "file"),
    "no model": (lambda card: form(file_part(audio())), 400, "missing_required_parameter", "model"),
    "an empty file": (lambda card: request(card, b""), 400, "missing_required_parameter", "file"),
    "no sound": (lambda card: request(card, b"hello"), 400, "media_type_mismatch", "file"),
    "a picture": (lambda card: request(card, image()), 400, "media_type_mismatch", "file"),
    "a format": (lambda card: request(card, response_format="docx"), 400, "invalid_value", "response_format"),
    "a number": (lambda card: request(card, temperature="hot"), 400, "invalid_value", "temperature"),
    "a flag": (lambda card: request(card, stream="perhaps"), 400, "invalid_value", "stream"),
    "times of words": (
        lambda card: request(card, timestamp_granularities=["word"]),
        400,
        "invalid_value",
        "timestamp_granularities",
    ),
    "a list of files": (lambda card: request(card, file=["x"]), 400, "invalid_value", "file"),
    "a list of models": (lambda card: request(card, model=["x"]), 400, "invalid_value", "model"),
    "what OpenAI has": (lambda card: request(card, include=["logprobs"]), 400, "unsupported_content_part", "include[]"),
    "a stream of subtitles": (
        lambda card: request(card, stream="true", response_format="vtt"),
        400,
        "invalid_value",
        "response_format",
    ),
    "another model": (
        lambda card: form(field("model", "other"), file_part(audio())),
        404,
        "model_not_found",
        "model",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_refused_by_name(gateway, worker, card, name):
    make, status, code, param = WRONG[name]
    for path in (PATH, TRANSLATION.path):
        if name == "times of words" and path != PATH:
            continue
        assert await refused(gateway, worker, make(card), path) == (status, code, param)


async def test_a_body_that_is_no_form_and_one_that_is_too_large(start_gateway, settings, worker, card):
    gateway = await start_gateway(settings.model_copy(update={"media_max_bytes": 1000}))
    answer = await gateway.post({"model": card.model, "file": "x"}, PATH)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    # What a form has beside its file is not known before.
    assert await refused(gateway, worker, request(card)) == (400, "media_too_large", "file")
    assert await refused(gateway, worker, request(card, bytes(70_000))) == (413, "file_too_large", "file")


@pytest.mark.parametrize("headers", [{}, {"Connection": "Upgrade", "Upgrade": "websocket"}], ids=["plain", "websocket"])
async def test_sound_is_not_heard_while_it_comes(gateway, headers):
    async with gateway.http.get(f"{gateway.url}/v1/realtime", headers=headers) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, "unsupported_endpoint")
    assert PATH in error["message"]


async def test_times_are_asked_only_of_a_model_that_tells_them(start_gateway, settings, redis_client, card):
    worker = ScriptedWorker(redis_client, settings, replace(card, speech={"clip_s": 0.0, "segments": False}))
    await worker.announce()
    gateway = await start_gateway(settings)
    for wanted in ("srt", "vtt", "verbose_json"):
        body = request(card, response_format=wanted)
        assert await refused(gateway, worker, body) == (400, "invalid_value", "response_format")
    assert (await arrives(gateway, worker, request(card, response_format="text"))).job.sequences == 1


async def test_a_form_with_a_key_is_run_once(gateway, worker, card):
    headers = {"Idempotency-Key": "once"}
    await arrives(gateway, worker, request(card), headers=headers)
    again = await post_form(gateway, request(card), PATH, headers)
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    other = await post_form(gateway, request(card, language="de"), PATH, headers)
    assert other.status == 422


async def test_models_that_do_not_transcribe_are_not_asked(start_gateway, settings, redis_client, card):
    worker = ScriptedWorker(redis_client, settings, replace(card, tasks=["generate"]))
    await worker.announce()
    gateway = await start_gateway(settings)
    assert await refused(gateway, worker, request(card)) == (400, "unsupported_endpoint", "model")
    _, model = await gateway.get(f"/v1/models/{card.model}")
    assert not {PATH, TRANSLATION.path} & set(model["endpoints"])
