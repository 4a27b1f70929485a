"""Audio is decoded in processes of their own: what goes wrong there costs one answer, never the service."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from sovits_service.audio import isolate, load
from sovits_service.audio.decoder_process import ProcessLimits
from sovits_service.audio.isolate import IsolatedDecoder
from sovits_service.audio.load import AudioLimits, decode_reference
from sovits_service.errors import OverloadedError, ReferenceAudioError, SovitsError, UnsupportedAudioError
from sovits_service.service import voice_library
from sovits_service.settings import ServiceSettings
from tests.security.faulty_decoder import CRASH, GREEDY, HANG, SLOW, SPY
from tests.security.real_service import clip, put_voice, running, say, upload
from tests.security.sound_files import HOSTILE, filmed, recorded, vorbis

ROOT = Path(__file__).parents[2]
LIMITS = AudioLimits()
# A second of a core, for the file that never ends.
QUICK = ProcessLimits(cpu_s=1)
FORMATS = {
    "wav": lambda: clip(),
    "m4a": lambda: recorded("ipod", "aac"),
    "mp3": lambda: recorded("mp3", "mp3"),
    "flac": lambda: recorded("flac", "flac"),
    "opus": lambda: recorded("ogg", "libopus"),
    "vorbis": lambda: vorbis("ogg"),
    "amr": lambda: recorded("amr", "libopencore_amrnb", rate_hz=8_000),
    "wma": lambda: recorded("asf", "wmav2"),
    "aiff": lambda: recorded("aiff", "pcm_s16be"),
    "mp4": lambda: filmed("mp4", "mpeg4", "aac"),
    "webm": lambda: filmed("webm", "libvpx", "libopus"),
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder()
    yield decoder
    decoder.close()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes whose decoder fails where a file asks for it."""
    monkeypatch.setattr(isolate, "_PROGRAM", "tests.security.faulty_decoder")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def faulty(faults: None) -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(QUICK)
    yield decoder
    decoder.close()


@pytest.fixture
async def client(tmp_path: Path, faults: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real service, in whose own process no audio can be decoded."""
    monkeypatch.setattr(voice_library, "IsolatedDecoder", partial(IsolatedDecoder, QUICK))
    monkeypatch.setattr(load, "_decode_bounded", None)
    async with running(tmp_path, uploads={"isolate": True}) as (_, client):
        yield client


@pytest.mark.parametrize("kind", FORMATS)
def test_the_audio_is_the_same(decoder: IsolatedDecoder, kind: str) -> None:
    data = FORMATS[kind]()
    here, there = decode_reference(data, LIMITS), decoder.decode(data, LIMITS)
    assert np.array_equal(here.samples, there.samples)
    assert (here.sample_rate_hz, here.content_hash) == (there.sample_rate_hz, there.content_hash)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_judged_alike(decoder: IsolatedDecoder, name: str) -> None:
    data, outcomes = HOSTILE[name](), []
    for decode in (decode_reference, decoder.decode):
        try:
            outcomes.append(str(decode(data, LIMITS).duration_s))
        except SovitsError as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("fault", [CRASH, HANG, GREEDY])
def test_a_fault_is_an_error_of_that_file(faulty: IsolatedDecoder, fault: bytes) -> None:
    with pytest.raises(UnsupportedAudioError, match="export it again as 16-bit wav"):
        faulty.decode(fault, LIMITS)
    assert faulty.decode(clip(), LIMITS).duration_s == pytest.approx(3.5)


def test_a_decoder_that_waits_for_ever_is_ended(faults: None) -> None:
    decoder = IsolatedDecoder(ProcessLimits(wall_s=0.5))
    try:
        with pytest.raises(UnsupportedAudioError, match="limits of memory and time"):
            decoder.decode(SLOW, LIMITS)
    finally:
        decoder.close()


def test_a_real_file_beyond_the_memory_limit_is_refused() -> None:
    decoder = IsolatedDecoder(ProcessLimits(memory_bytes=64 * 2**20))
    try:
        with pytest.raises(UnsupportedAudioError, match="limits of memory"):
            decoder.decode(recorded("flac", "flac", seconds=59.9, rate_hz=192_000), LIMITS)
        assert decoder.decode(clip(), LIMITS).duration_s == pytest.approx(3.5)
    finally:
        decoder.close()


def test_the_process_opens_no_file_and_knows_no_secret(
    faulty: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOVITS_OBJECTS__SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ReferenceAudioError, match="Too many open files") as told:
        faulty.decode(SPY, LIMITS)
    assert "PATH" in str(told.value)
    assert "SOVITS" not in str(told.value)


def test_another_process_takes_the_place_of_one_that_has_gone(decoder: IsolatedDecoder) -> None:
    decoder.decode(clip(), LIMITS)
    assert decoder._process is not None
    decoder._process.kill()
    decoder._process.wait()
    assert decoder.decode(clip(), LIMITS).duration_s == pytest.approx(3.5)


def test_a_process_that_cannot_start_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "_PROGRAM", "sovits_service.no_such_program")
    decoder = IsolatedDecoder()
    with pytest.raises(OverloadedError, match="try again"):
        decoder.decode(clip(), LIMITS)


async def test_every_way_to_send_audio_ends_in_one_answer_and_the_service_goes_on(client: httpx.AsyncClient) -> None:
    inline = "data:audio/wav;base64," + base64.b64encode(CRASH).decode()
    ann = {"X-API-Key": "ann"}
    file = {"file": ("clip.wav", CRASH)}
    voice = {"name": "eve", "consent": "cons_1"}
    answers = [
        await upload(client, "ann", CRASH),
        await client.post("/vc", files=file, data={"voice_id": "operators"}, headers=ann),
        await client.post("/vc", json={"source_audio_path": inline, "voice_id": "operators"}, headers=ann),
        await client.post("/v1/audio/voices", files={"audio_sample": file["file"]}, data=voice, headers=ann),
        await say(client, "ann", ref_audio_path=inline),
    ]
    assert [answer.status_code for answer in answers] == [415, 415, 415, 415, 400], [a.text for a in answers]
    assert all("cannot be decoded within the limits" in answer.text for answer in answers)
    stored = await upload(client, "ann", clip(), prompt_text="你好。", prompt_lang="zh")
    assert stored.status_code == 200, stored.text
    written = await put_voice(client, "ann", "eve", ref_audio_path=stored.json()["path"])
    assert written.status_code == 200, written.text
    assert (await say(client, "ann", voice_id="eve")).status_code == 200
    assert (await client.post("/vc", files={"file": clip(300.0)}, data={"voice_id": "eve"}, headers=ann)).is_success


async def test_many_at_once_have_each_their_own_answer(client: httpx.AsyncClient) -> None:
    files = [data for number in range(3) for data in (CRASH, clip(200.0 + number), GREEDY)]

    async def send(index: int) -> int:
        while True:  # four of a key at once
            answer = await upload(client, ("ann", "bob")[index % 2], files[index])
            if answer.status_code != 429 and answer.status_code != 503:
                return answer.status_code
            await asyncio.sleep(0)

    found = await asyncio.gather(*map(send, range(len(files))))
    assert found == [415, 200, 415] * 3


@pytest.mark.parametrize(
    ("settings", "isolates"),
    [
        ({}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "::1"}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "localhost"}, False),
        ({"host": ""}, True),
        ({"host": "speech.lan"}, True),
        ({"trusted_proxies": ["127.0.0.1"]}, True),
        ({"host": "0.0.0.0", "uploads": {"isolate": False}}, False),
        ({"uploads": {"isolate": True}}, True),
    ],
)
def test_it_is_on_where_others_reach_the_port(settings: dict[str, object], isolates: bool) -> None:
    assert ServiceSettings(**settings).isolates_uploads is isolates  # type: ignore[arg-type]
