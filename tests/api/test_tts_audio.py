"""/tts: the bytes that come back, whole and streamed, and what happens when either side breaks off."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
import wave
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import miniaudio
import numpy as np
import pytest
import soundfile

from sovits_service.api.middleware import RequestEdge
from tests.api.fast_service import CHARACTER_S, CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz

Say = Callable[..., dict[str, Any]]


def pitches(samples: np.ndarray, voice: str, text: str) -> None:
    """The audio says `text` in the voice, character by character."""
    expected = [pitch_hz(voice, character) for character in text]
    assert heard(samples, len(text)) == pytest.approx(expected, abs=8.0)


def pcm(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def read_with_ffmpeg(data: bytes) -> tuple[int, np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        rate_hz = container.streams.audio[0].rate
    return rate_hz, np.concatenate(frames).astype(np.float32)


async def test_a_whole_wav_has_a_right_header_and_length(client: httpx.AsyncClient, say: Say) -> None:
    answer = await client.post("/tts", json=say("hello"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        assert file.getnframes() == 5 * CHARACTER_SAMPLES
        pitches(pcm(file.readframes(file.getnframes())), "amy", "hello")


async def test_headers_tell_seed_rate_and_what_was_dropped(client: httpx.AsyncClient, say: Say) -> None:
    answer = await client.post("/tts", json=say("hello😀", seed=42))
    assert (answer.headers["x-seed"], answer.headers["x-sample-rate"]) == ("42", str(RATE_HZ))
    assert answer.headers["x-dropped-characters"] == "1"
    assert "x-warnings" not in answer.headers
    stages = {
        part.split(";dur=")[0]: float(part.split(";dur=")[1]) for part in answer.headers["server-timing"].split(", ")
    }
    assert set(stages) == {"first_audio", "synthesis", "encode"}
    assert all(duration >= 0 for duration in stages.values())
    drawn = await client.post("/tts", json=say("hello", ref_audio_path="voices/quiet.wav"))
    assert drawn.headers["x-seed"] == "1234"
    assert drawn.headers["x-warnings"] == "the reference is quiet (?40 dB)"


@pytest.mark.parametrize("streaming_mode", [0, 1])
@pytest.mark.parametrize("media_type", ["wav", "raw", "ogg", "aac", "mp3", "flac", "opus", "m4a"])
async def test_every_media_type_carries_the_speech(
    client: httpx.AsyncClient, say: Say, media_type: str, streaming_mode: int
) -> None:
    text = "abcdefgh"
    answer = await client.post("/tts", json=say(text, media_type=media_type, streaming_mode=streaming_mode))
    content_type = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}.get(media_type, f"audio/{media_type}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    if media_type == "raw":
        pitches(pcm(answer.content), "amy", text)
    elif media_type == "wav" or (media_type, streaming_mode) == ("flac", 0):
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert rate_hz == RATE_HZ
        pitches(samples, "amy", text)
    elif media_type == "flac":  # libsndfile takes an unknown length for a huge one
        decoded = miniaudio.decode(
            answer.content, output_format=miniaudio.SampleFormat.FLOAT32, nchannels=1, sample_rate=RATE_HZ
        )
        pitches(np.array(decoded.samples), "amy", text)
    elif media_type in ("mp3", "opus") or (media_type, streaming_mode) == ("ogg", 0):
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert len(samples) / rate_hz == pytest.approx(len(text) * CHARACTER_S, abs=0.15)
    elif media_type in ("aac", "m4a"):
        rate_hz, samples = read_with_ffmpeg(answer.content)
        assert len(samples) / rate_hz >= len(text) * CHARACTER_S
    else:
        assert answer.content.count(b"OggS\x00\x02") == len(text)  # one complete file per chunk, as api_v2


@pytest.mark.parametrize("streaming_mode", [1, 2, 3, True, "true", "3"])
async def test_a_streamed_wav_is_one_header_and_pcm(
    client: httpx.AsyncClient, say: Say, streaming_mode: object
) -> None:
    answer = await client.post("/tts", json=say("streamed", streaming_mode=streaming_mode))
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert (answer.content[:4], answer.content[36:40]) == (b"RIFF", b"data")
    assert struct.unpack("<I", answer.content[24:28]) == (RATE_HZ,)
    pitches(pcm(answer.content[44:]), "amy", "streamed")


async def test_the_first_chunk_arrives_while_the_rest_is_not_made_yet(
    client: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    service.gate = asyncio.Semaphore(0)
    async with client.stream("POST", "/tts", json=say("abc", streaming_mode=2, media_type="raw")) as answer:
        received = b""
        chunks = answer.aiter_raw()
        for expected in (1, 2, 3):
            while len(received) < expected * CHARACTER_SAMPLES * 2:
                received += await anext(chunks)
            assert len(received) == expected * CHARACTER_SAMPLES * 2
            service.gate.release()
        assert [chunk async for chunk in chunks] == []
    pitches(pcm(received), "amy", "abc")


async def test_a_failure_after_the_first_chunk_breaks_the_connection(client: httpx.AsyncClient, say: Say) -> None:
    received = bytearray()

    async def read() -> None:
        fields = say("ab\N{BOMB}cd", streaming_mode=2, media_type="raw")
        async with client.stream("POST", "/tts", json=fields) as answer:
            assert answer.status_code == 200
            async for data in answer.aiter_raw():
                received.extend(data)

    with pytest.raises(httpx.RemoteProtocolError):
        await read()
    pitches(pcm(bytes(received)), "amy", "ab")
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("streaming_mode", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("text", "status", "body"),
    [
        (
            "broken",
            400,
            {"message": "tts failed", "Exception": "the model's output is not finite; try again, or with another seed"},
        ),
        ("late", 504, {"message": "the speech was not ready within 300 s; send a shorter text, or stream it"}),
        ("noise", 400, {"message": "the reference is in no audio format that is accepted"}),
        (
            "bug",
            400,
            {"message": "tts failed", "Exception": "internal error; the log has more under this request id"},
        ),
    ],
)
async def test_a_failure_before_the_first_chunk_is_json_in_every_mode(
    client: httpx.AsyncClient, say: Say, streaming_mode: int, text: str, status: int, body: dict[str, str]
) -> None:
    answer = await client.post("/tts", json=say(text, streaming_mode=streaming_mode))
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize("streaming_mode", [0, 2])
async def test_a_full_queue_is_a_503_that_says_when_to_come_back(
    client: httpx.AsyncClient, service: FastService, say: Say, streaming_mode: int
) -> None:
    service.places = 0
    answer = await client.post("/tts", json=say(streaming_mode=streaming_mode))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json() == {"message": "the queue is full; try again"}


@pytest.mark.parametrize("streaming_mode", [0, 2])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_leaves_ends_the_synthesis(
    base_url: str, service: FastService, say: Say, streaming_mode: int, method: str
) -> None:
    service.gate = asyncio.Semaphore(0)  # nothing after the first chunk is ever made
    fields = say("abc", streaming_mode=streaming_mode)
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    if method == "GET":
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        writer.write(f"GET /tts?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    else:
        body = json.dumps(fields).encode()
        head = f"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
    if streaming_mode:
        await reader.readuntil(b"RIFF")
    else:
        await asyncio.wait_for(service.began.wait(), 10)
    assert service.closed == 0
    writer.close()
    await asyncio.wait_for(service.closed_early.wait(), 10)
    assert service.closed == 1


@pytest.mark.parametrize("settings", [{"stall_s": 0.3}])
async def test_a_client_that_does_not_read_loses_its_place(base_url: str, service: FastService, say: Say) -> None:
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(say("x" * 5_000, streaming_mode=2)).encode()
        head = f"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        await asyncio.wait_for(service.closed_early.wait(), 10)
    assert service.closed == service.started == 1


async def test_a_client_that_leaves_with_all_it_wanted_is_not_counted_as_gone(
    base_url: str, service: FastService, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, account = asyncio.Semaphore(0), RequestEdge._account

    def account_and_tell(*arguments: Any) -> None:
        account(*arguments)
        over.release()

    monkeypatch.setattr(RequestEdge, "_account", account_and_tell)
    service.last_gate = asyncio.Event()  # all chunks are out, and the stream has not ended yet
    async with httpx.AsyncClient(base_url=base_url) as http:
        for text, seconds in (("abc", 3), ("abc", 2)):  # one stays to the last byte, one leaves before
            async with http.stream("POST", "/tts", json=say(text, streaming_mode=2, media_type="raw")) as answer:
                wanted, got = seconds * CHARACTER_SAMPLES * 2, 0
                async for data in answer.aiter_raw():
                    got += len(data)
                    if got >= wanted:
                        break
            await asyncio.wait_for(service.closed_early.wait(), 10)
            service.closed_early.clear()
            service.gate = asyncio.Semaphore(1)  # for the second: nothing after its second chunk is made
            await asyncio.wait_for(over.acquire(), 10)
        metrics = (await http.get("/metrics")).text
    assert "sovits_cancelled_total 1.0" in metrics


async def test_many_clients_at_once_get_their_own_text_and_voice(
    client: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    async def one(index: int) -> None:
        voice, text = ("amy", "bob")[index % 2], f"text{index:03}"
        fields = say(text, voice_id=voice, streaming_mode=index % 4, media_type="raw")
        answer = await client.post("/tts", json=fields)
        assert answer.status_code == 200
        pitches(pcm(answer.content), voice, text)

    await asyncio.gather(*(one(index) for index in range(100)))
    assert service.closed == service.started == 100
