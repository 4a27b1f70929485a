"""What players, browsers and small devices ask of the speech routes: ranges, HEAD, HTTP/1.0, one stream, preflights."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import av
import httpx
import numpy as np
import pytest
import soundfile

from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.results.disk_cache import DiskCache
from tests.api.conftest import serving
from tests.api.fast_service import CHARACTER_S, CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz

Say = Callable[..., dict[str, Any]]
OPENAI = "/v1/audio/speech"


@pytest.fixture
async def cached(service: FastService, tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that keeps its answers."""
    service.results = DiskCache(tmp_path / "cache")
    service.objects = LocalObjects(tmp_path / "objects")
    async with (
        serving(service, ServiceSettings(**settings)) as url,
        httpx.AsyncClient(base_url=url, timeout=20.0) as http,
    ):
        yield http
    await service.results.close()


async def exchange(base_url: str, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to raw bytes, read until the server closes the connection."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


class TestHttp10:
    @pytest.mark.parametrize("streaming_mode", [0, 1, 2, 3])
    @pytest.mark.parametrize("headers", ["", "Host: speaker\r\n", "Host: speaker\r\nConnection: keep-alive\r\n"])
    async def test_the_body_is_the_file_and_its_end_the_end_of_the_connection(
        self, base_url: str, say: Say, streaming_mode: int, headers: str
    ) -> None:
        query = urlencode(say("abc", streaming_mode=streaming_mode))
        head, body = await exchange(base_url, f"GET /tts?{query} HTTP/1.0\r\n{headers}\r\n".encode())
        assert b" 200 " in head
        assert b"transfer-encoding" not in head
        assert (body[:4], body[36:40], len(body)) == (b"RIFF", b"data", 44 + 3 * CHARACTER_SAMPLES * 2)

    async def test_an_error_is_json(self, base_url: str) -> None:
        head, body = await exchange(base_url, b"GET /tts HTTP/1.0\r\n\r\n")
        assert (b" 400 " in head, body) == (True, b'{"message":"ref_audio_path is required"}')

    async def test_a_later_version_gets_chunks(self, base_url: str, say: Say) -> None:
        query = urlencode(say("abc", streaming_mode=1))
        request = f"GET /tts?{query} HTTP/1.1\r\nHost: speaker\r\nConnection: close\r\n\r\n"
        head, body = await exchange(base_url, request.encode())
        assert b"transfer-encoding: chunked" in head
        assert body.endswith(b"0\r\n\r\n")


class TestRanges:
    async def test_a_stored_answer_is_given_out_in_parts(
        self, cached: httpx.AsyncClient, service: FastService, say: Say
    ) -> None:
        query = say(seed=7)
        whole = await cached.get("/tts", params=query)
        size = len(whole.content)
        for asked, start, stop in (
            ("bytes=0-1", 0, 2),
            ("bytes=0-", 0, size),
            ("bytes=44-143", 44, 144),
            (f"bytes={size - 10}-{size + 99}", size - 10, size),
            ("bytes=-100", size - 100, size),
            (f"bytes=-{size * 2}", 0, size),
            ("BYTES = 5 - 6", 5, 7),
        ):
            part = await cached.get("/tts", params=query, headers={"Range": asked})
            assert (part.status_code, part.content) == (206, whole.content[start:stop]), asked
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert int(part.headers["content-length"]) == stop - start
            assert (part.headers["etag"], part.headers["accept-ranges"]) == (whole.headers["etag"], "bytes")
            assert part.headers["content-type"] == "audio/wav"
        assert service.started == 1

    @pytest.mark.parametrize("asked", ["bytes=2-1", "bytes=0-1,4-5", "bytes=-", "seconds=0-1", "bytes=a-b", "bytes"])
    async def test_what_is_no_single_range_is_answered_with_the_whole(
        self, cached: httpx.AsyncClient, say: Say, asked: str
    ) -> None:
        whole = await cached.get("/tts", params=say(seed=7))
        answer = await cached.get("/tts", params=say(seed=7), headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, whole.content)

    @pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
    async def test_a_range_behind_the_end(self, cached: httpx.AsyncClient, say: Say, asked: str) -> None:
        size = len((await cached.get("/tts", params=say(seed=7))).content)
        answer = await cached.get("/tts", params=say(seed=7), headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")

    async def test_if_range_holds_for_the_same_bytes_alone(self, cached: httpx.AsyncClient, say: Say) -> None:
        etag = (await cached.get("/tts", params=say(seed=7))).headers["etag"]
        statuses = []
        for condition in (etag, '"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
            headers = {"Range": "bytes=0-1", "If-Range": condition}
            statuses.append((await cached.get("/tts", params=say(seed=7), headers=headers)).status_code)
        assert statuses == [206, 200, 200, 200]

    @pytest.mark.parametrize("streaming_mode", [0, 1])
    async def test_safari_begins_with_two_bytes_of_what_is_not_made_yet(
        self, cached: httpx.AsyncClient, service: FastService, say: Say, streaming_mode: int
    ) -> None:
        query = say(seed=7, streaming_mode=streaming_mode)
        probe = await cached.get("/tts", params=query, headers={"Range": "bytes=0-1"})
        assert (probe.status_code, probe.content) == (206, b"RI")
        size = int(probe.headers["content-range"].split("/")[1])
        rest = await cached.get("/tts", params=query, headers={"Range": f"bytes=2-{size - 1}"})
        assert (rest.status_code, len(rest.content)) == (206, size - 2)
        assert service.started == 1

    async def test_chromium_asks_for_all_as_a_range_and_still_gets_a_stream(
        self, cached: httpx.AsyncClient, say: Say
    ) -> None:
        query = say(seed=7, streaming_mode=1)
        answer = await cached.get("/tts", params=query, headers={"Range": "bytes=0-"})
        assert (answer.status_code, answer.headers["transfer-encoding"]) == (200, "chunked")

    @pytest.mark.parametrize("fields", [{}, {"cache": False, "seed": 7}])
    async def test_speech_that_is_not_kept_has_no_parts(
        self, cached: httpx.AsyncClient, say: Say, fields: dict[str, Any]
    ) -> None:
        answer = await cached.get("/tts", params=say(**fields), headers={"Range": "bytes=0-1"})
        assert answer.status_code == 200
        assert len(answer.content) > 1_000
        assert not {"accept-ranges", "content-range"} & set(answer.headers)

    async def test_a_post_has_no_parts(self, cached: httpx.AsyncClient, say: Say) -> None:
        for _ in range(2):
            answer = await cached.post("/tts", json=say(seed=7), headers={"Range": "bytes=0-1"})
            assert answer.status_code == 200


class TestHead:
    async def test_it_validates_and_makes_nothing(
        self, cached: httpx.AsyncClient, service: FastService, say: Say
    ) -> None:
        for media_type, kind in (("wav", "audio/wav"), ("mp3", "audio/mpeg")):
            head = await cached.head("/tts", params=say(seed=7, media_type=media_type))
            assert (head.status_code, head.headers["content-type"], head.content) == (200, kind, b"")
            assert "content-length" not in head.headers
        assert (await cached.head("/tts", params=say(text=""))).status_code == 400
        assert (await cached.head("/tts", params=say(voice_id="nobody"))).status_code == 404
        inline = say(ref_audio_path="data:audio/wav;base64,UklGRg==")
        assert (await cached.head("/tts", params=inline)).status_code == 200
        assert (service.started, service.references) == (0, {})

    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"streaming_mode": 1, "media_type": "opus"},
            {"timestamps": "word"},
            {"timestamps": "word", "streaming_mode": 1},
            {"subtitles": "srt"},
            {"response": "url"},
            {"response": "url", "timestamps": "word", "streaming_mode": 1},
        ],
    )
    async def test_it_tells_the_type_that_get_has(
        self, cached: httpx.AsyncClient, service: FastService, say: Say, tmp_path: Path, asked: dict[str, Any]
    ) -> None:
        service.objects = LocalObjects(tmp_path / "objects")
        params = say(seed=11, **asked)
        head, got = await cached.head("/tts", params=params), await cached.get("/tts", params=params)
        assert (head.status_code, got.status_code) == (200, 200)
        assert head.headers["content-type"] == got.headers["content-type"]

    @pytest.mark.parametrize(
        "fault", [{"text": "。"}, {"voice_id": None, "ref_audio_path": "nowhere.wav"}, {"text": "late"}]
    )
    async def test_it_refuses_what_get_would_refuse(
        self, cached: httpx.AsyncClient, service: FastService, say: Say, fault: dict[str, Any]
    ) -> None:
        asked = {name: value for name, value in say(**fault).items() if value is not None}
        head = await cached.head("/tts", params=asked)
        assert head.status_code == (await cached.get("/tts", params=asked)).status_code >= 400
        assert (head.content, service.started) == (b"", 0)

    async def test_a_full_service_refuses_it_too(
        self, cached: httpx.AsyncClient, service: FastService, say: Say
    ) -> None:
        service.places = 0
        head = await cached.head("/tts", params=say())
        assert (head.status_code, head.headers["retry-after"]) == (503, "3")

    async def test_a_stored_answer_tells_its_length(self, cached: httpx.AsyncClient, say: Say) -> None:
        whole = await cached.get("/tts", params=say(seed=7))
        head = await cached.head("/tts", params=say(seed=7), headers={"Range": "bytes=0-1"})
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(whole.content)
        assert (head.headers["etag"], head.headers["accept-ranges"]) == (whole.headers["etag"], "bytes")

    async def test_it_works_where_get_does_and_changes_nothing(self, client: httpx.AsyncClient) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        for path, operations in paths.items():
            if "get" not in operations:
                continue
            is_administration = "administration" in operations["get"]["tags"]
            answer = await client.head(path.replace("{voice_id}", "amy").replace("{key}", "x"))
            assert (answer.status_code == 405) is is_administration, path
            assert answer.content == b""
        for path in ("/docs", "/voices", "/voices/amy"):
            assert (await client.head(path)).status_code == 200
        assert (await client.head("/", headers={"Accept": "text/html"})).status_code == 200


class TestOneStream:
    TEXT = "abcdefgh"

    async def test_flac_of_openai_is_a_whole_file(self, client: httpx.AsyncClient) -> None:
        body = {"model": "tts-1", "voice": "amy", "input": self.TEXT, "response_format": "flac"}
        answer = await client.post(OPENAI, json=body)
        assert int(answer.headers["content-length"]) == len(answer.content)
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert (len(samples), rate_hz) == (len(self.TEXT) * CHARACTER_SAMPLES, RATE_HZ)
        streamed = await client.post(OPENAI, json={**body, "streaming_mode": 1})
        assert "content-length" not in streamed.headers

    async def test_opus_of_openai_is_one_ogg_stream(self, client: httpx.AsyncClient) -> None:
        body = {"model": "tts-1", "voice": "amy", "input": self.TEXT, "response_format": "opus"}
        answer = await client.post(OPENAI, json=body)
        assert answer.content.count(b"OggS\x00\x02") == 1
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert len(samples) / rate_hz == pytest.approx(len(self.TEXT) * CHARACTER_S, abs=0.01)

    @pytest.mark.parametrize("streaming_mode", [1, 2, 3])
    async def test_a_streamed_aac_is_the_whole_one(
        self, client: httpx.AsyncClient, say: Say, streaming_mode: int
    ) -> None:
        fields = say(self.TEXT, media_type="aac")
        whole = await client.post("/tts", json=fields)
        streamed = await client.post("/tts", json={**fields, "streaming_mode": streaming_mode})
        assert streamed.content == whole.content
        with av.open(io.BytesIO(streamed.content)) as container:
            samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert len(samples) / RATE_HZ == pytest.approx(len(self.TEXT) * CHARACTER_S, abs=3 * 1024 / RATE_HZ)
        expected = [pitch_hz("amy", character) for character in self.TEXT]
        assert heard(samples[1024:], len(self.TEXT)) == pytest.approx(
            expected, abs=15.0
        )  # the coder's delay is a frame

    @pytest.mark.parametrize(
        ("response_format", "rate_hz"),
        [("pcm", 24_000), ("opus", 48_000), ("mp3", RATE_HZ), ("wav", RATE_HZ), ("flac", RATE_HZ)],
    )
    async def test_the_header_has_the_rate_of_the_sound_that_is_sent(
        self, client: httpx.AsyncClient, response_format: str, rate_hz: int
    ) -> None:
        body = {"model": "tts-1", "voice": "amy", "input": self.TEXT, "response_format": response_format}
        answer = await client.post(OPENAI, json=body)
        assert answer.headers["x-sample-rate"] == str(rate_hz)
        if response_format == "pcm":
            assert len(answer.content) / 2 / rate_hz == pytest.approx(len(self.TEXT) * CHARACTER_S, abs=0.001)
        else:
            assert soundfile.info(io.BytesIO(answer.content)).samplerate == rate_hz

    async def test_the_rate_of_a_whole_opus_file(self, cached: httpx.AsyncClient, say: Say) -> None:
        fields = say(self.TEXT, media_type="opus", seed=1)
        for _ in range(2):  # made, then stored
            assert (await cached.post("/tts", json=fields)).headers["x-sample-rate"] == "48000"
        link = (await cached.post("/tts", json={**fields, "response": "url"})).json()
        assert link["sample_rate"] == 48_000
        assert link["duration_s"] == pytest.approx(len(self.TEXT) * CHARACTER_S)


class TestStreamsInPlayers:
    """The table of docs/http-api.md, as far as libraries can tell."""

    TEXT = "abcdefgh" * 8

    async def stream(self, client: httpx.AsyncClient, say: Say, media_type: str) -> bytes:
        return (await client.post("/tts", json=say(self.TEXT, media_type=media_type, streaming_mode=1))).content

    @pytest.mark.parametrize("media_type", ["wav", "mp3", "opus", "flac", "aac", "m4a"])
    async def test_ffmpegs_libraries_read_it_to_its_end(
        self, client: httpx.AsyncClient, say: Say, media_type: str
    ) -> None:
        with av.open(io.BytesIO(await self.stream(client, say, media_type))) as container:
            duration_s = math.fsum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
        assert duration_s == pytest.approx(len(self.TEXT) * CHARACTER_S, abs=0.1)

    @pytest.mark.parametrize("media_type", ["wav", "mp3", "opus"])
    async def test_libsndfile_reads_it_to_its_end(self, client: httpx.AsyncClient, say: Say, media_type: str) -> None:
        samples, rate_hz = soundfile.read(io.BytesIO(await self.stream(client, say, media_type)))
        assert len(samples) / rate_hz == pytest.approx(len(self.TEXT) * CHARACTER_S, abs=0.1)

    async def test_libsndfile_refuses_a_flac_without_a_length(self, client: httpx.AsyncClient, say: Say) -> None:
        with pytest.raises((soundfile.LibsndfileError, MemoryError, ValueError)):
            soundfile.read(io.BytesIO(await self.stream(client, say, "flac")))


class TestPreflights:
    ORIGIN = "https://page.example"
    pytestmark = pytest.mark.parametrize("settings", [{"cors_origins": ("https://page.example",)}])

    async def ask(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        asked = {"Origin": self.ORIGIN, "Access-Control-Request-Method": "POST"}
        return await client.options(OPENAI, headers=asked | {key.replace("_", "-"): v for key, v in headers.items()})

    async def test_the_headers_of_openais_browser_client(self, client: httpx.AsyncClient) -> None:
        names = (
            "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-retry-count,x-stainless-runtime"
        )
        answer = await self.ask(client, Access_Control_Request_Headers=names)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == self.ORIGIN
        assert set(names.split(",")) <= set(answer.headers["access-control-allow-headers"].split(","))

    async def test_every_method_of_a_route(self, client: httpx.AsyncClient) -> None:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            answer = await self.ask(client, Access_Control_Request_Method=method)
            assert (answer.status_code, method in answer.headers["access-control-allow-methods"]) == (200, True)

    async def test_a_page_of_the_internet_that_calls_a_private_network(self, client: httpx.AsyncClient) -> None:
        answer = await self.ask(client, Access_Control_Request_Private_Network="true")
        assert (answer.status_code, answer.headers["access-control-allow-private-network"]) == (200, "true")

    async def test_another_origin_is_refused_all_the_same(self, client: httpx.AsyncClient) -> None:
        answer = await self.ask(client, Origin="https://other.example", Access_Control_Request_Private_Network="true")
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


class TestAddresses:
    @pytest.mark.parametrize(
        "path", ["//v1/audio/speech", "/v1//audio/speech", "/v1/audio/speech/", "///v1/audio/speech//"]
    )
    async def test_slashes_too_many_of_a_base_url(self, base_url: str, path: str) -> None:
        body = b'{"input": "abc", "voice": "amy", "response_format": "wav"}'
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        answer, audio = await exchange(base_url, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 200 " in answer
        assert audio[:4] == b"RIFF"

    async def test_a_slash_at_the_end_is_no_redirect(self, client: httpx.AsyncClient, say: Say) -> None:
        assert (await client.get("/voices/")).status_code == 200
        assert (await client.post("/tts/", json=say())).status_code == 200
        assert (await client.get("/docs/assets/")).status_code == 404

    @pytest.mark.parametrize("path", ["/tts", OPENAI])
    async def test_json_without_a_content_type(self, client: httpx.AsyncClient, say: Say, path: str) -> None:
        content = httpx.Request("POST", "http://x", json={**say(), "input": "hello", "voice": "amy"}).content
        assert (await client.post(path, content=content)).status_code == 200

    @pytest.mark.parametrize("settings", [{"dialects": {"api_v1": False}}])
    async def test_the_root_never_answers_a_text_without_speech(self, client: httpx.AsyncClient) -> None:
        """api.py, the original's first server, speaks there; here it is switched off."""
        fields = {"text": "hello", "text_language": "en", "refer_wav_path": "a.wav"}
        for answer in (
            await client.get("/", params=fields, follow_redirects=True),
            await client.post("/", json=fields, follow_redirects=True),
        ):
            assert answer.status_code == 400
            assert "/tts" in answer.json()["message"]
        assert (await client.get("/")).status_code == 307


KEY = {"name": "web", "sha256": hashlib.sha256(b"k").hexdigest()}


class TestLinks:
    # With keys, since without them other names are refused altogether.

    @pytest.mark.parametrize("settings", [{"allowed_hosts": ("speech.example", "box.lan"), "api_keys": (KEY,)}])
    async def test_they_are_built_from_known_names_alone(
        self, cached: httpx.AsyncClient, service: FastService, say: Say
    ) -> None:
        cached.headers["X-API-Key"] = "k"
        fields = say(seed=7, response="url")
        own = f"{cached.base_url.host}:{cached.base_url.port}"
        for host in (own, "localhost:9880", "127.0.0.1", "[::1]:80", "speech.example", "BOX.lan:8080"):
            answer = await cached.post("/tts", json=fields, headers={"Host": host})
            assert answer.status_code == 200, host
            assert answer.json()["url"].lower().startswith(f"http://{host.lower()}/objects/")
        made = service.started
        for host in (
            "evil.example",
            "evil.example:9880",
            "speech.example.evil",
            "127.0.0.1.evil",
        ):
            answer = await cached.post("/tts", json={**fields, "seed": 8}, headers={"Host": host})
            assert answer.status_code == 400, host
            assert "public_url" in answer.json()["message"]
        assert service.started == made

    @pytest.mark.parametrize(
        "settings", [{"objects": {"public_url": "https://speech.example"}, "allowed_hosts": ("other.example",)}]
    )
    async def test_a_configured_address_wins(
        self, cached: httpx.AsyncClient, service: FastService, say: Say, tmp_path: Path
    ) -> None:
        service.objects = LocalObjects(tmp_path / "objects", "https://speech.example/objects")
        answer = await cached.post("/tts", json=say(response="url"), headers={"Host": "other.example"})
        assert answer.json()["url"].startswith("https://speech.example/objects/")


@pytest.mark.parametrize("media_type", ["raw", "mp3"])
async def test_an_equal_request_at_the_last_byte_of_a_stream_is_a_hit(
    cached: httpx.AsyncClient, service: FastService, say: Say, media_type: str
) -> None:
    fields = say("abc", seed=7, streaming_mode=1, media_type=media_type)
    for _ in range(5):
        fields["seed"] += 1
        first = await cached.post("/tts", json=fields)
        second = await cached.post("/tts", json=fields)
        assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")


@pytest.mark.parametrize(
    ("timeout_s", "expected"),
    [
        (0.01, "the speech was not ready within the request's timeout_s of 0.01 s; allow more, up to 300 s"),
        (None, "the speech was not ready within 300 s; send a shorter text, or stream it"),
        (900, "the speech was not ready within 300 s; send a shorter text, or stream it"),
    ],
)
async def test_a_passed_deadline_says_whose_it_was(
    client: httpx.AsyncClient, say: Say, timeout_s: float | None, expected: str
) -> None:
    for streaming_mode in (0, 1):
        fields = say("late", timeout_s=timeout_s, streaming_mode=streaming_mode)
        answer = await client.post("/tts", json=fields)
        assert (answer.status_code, answer.json()) == (504, {"message": expected})
