"""Python client for the service: speech as a whole or as a stream.

Needs httpx and nothing else of the package:

    client = Client("http://127.0.0.1:9880")
    client.speak("Hello.", voice="male_narrator").save("hello.wav")
    with client.stream("A longer text.", voice="male_narrator", media_type="raw") as stream:
        for data in stream:
            play(data)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

DEFAULT_URL = "http://127.0.0.1:9880"
_LONGEST_PAUSE_S = 60.0


class ServiceError(Exception):
    """A request that the service did not carry out.

    Attributes:
        status: of HTTP; None where there was no answer, or it broke off.
        retry_after_s: when the service asks to come back, where it does.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


# What may be in a file of an ending.
_CONTENT_TYPES = {
    "wav": ("audio/wav",),
    "mp3": ("audio/mpeg",),
    "flac": ("audio/flac",),
    "aac": ("audio/aac",),
    "m4a": ("audio/mp4",),
    "ogg": ("audio/ogg", "audio/opus"),
    "opus": ("audio/opus",),
}
_NO_AUDIO = ("timestamps", "subtitles", "response")  # which make the answer JSON


@dataclass(frozen=True, slots=True)
class Speech:
    """A whole answer.

    Attributes:
        data: a file of `content_type`.
        seed: with which the same request gives the same speech.
        warnings: what may sound worse than it could; empty where nothing.
    """

    data: bytes
    content_type: str
    sample_rate_hz: int
    seed: int
    warnings: str

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            ValueError: its ending is that of another format, in which most players would not play it.
        """
        ending, kind = Path(path).suffix.removeprefix(".").lower(), self.content_type.partition(";")[0].strip()
        if ending in _CONTENT_TYPES and kind not in _CONTENT_TYPES[ending]:
            raise ValueError(f"{path}: the speech is {kind}; speak with media_type={ending!r}, or name the file so")
        Path(path).write_bytes(self.data)


@dataclass(frozen=True, slots=True)
class _Options:
    """How a client asks, and how long it waits.

    Attributes:
        timeout_s: for a connection, and between two pieces of an answer.
        retries: further tries after a 503 that says when to come back.
    """

    url: str
    key: str | None
    timeout_s: float
    retries: int

    def arguments(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": self.url.rstrip("/"), "headers": headers, "timeout": self.timeout_s}

    def pause_s(self, response: httpx.Response, tries: int) -> float | None:
        """How long to wait before the next try; None where there is none."""
        if response.status_code != 503 or tries > self.retries:
            return None
        asked_s = _retry_after_s(response)
        return min(asked_s, _LONGEST_PAUSE_S) if asked_s is not None else None


class Stream:
    """Speech as it is made; to be closed, by `with` or by reading it to its end."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.content_type, self.sample_rate_hz, self.seed, self.warnings = _facts(response)

    def __iter__(self) -> Iterator[bytes]:
        with self:
            try:
                yield from self._response.iter_bytes()
            except httpx.TransportError as error:
                raise ServiceError(f"the speech was interrupted: {type(error).__name__}") from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, which ends the work of the service too."""
        self._response.close()


class AsyncStream:
    """Speech as it is made; to be closed, by `async with` or by reading it to its end."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.content_type, self.sample_rate_hz, self.seed, self.warnings = _facts(response)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self:
            try:
                async for data in self._response.aiter_bytes():
                    yield data
            except httpx.TransportError as error:
                raise ServiceError(f"the speech was interrupted: {type(error).__name__}") from error

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, which ends the work of the service too."""
        await self._response.aclose()


class Client:
    """Speaks with one service. Safe for several threads.

    Args:
        url: of the service.
        key: an API key, where the service asks for one.
        timeout_s: for a connection, and between two pieces of an answer.
        retries: further tries where the service is busy (503) and says when to come back.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_s: float = 300.0, retries: int = 3
    ) -> None:
        self._options = _Options(url, key, timeout_s, retries)
        self._http = httpx.Client(**self._options.arguments())

    def speak(
        self, text: str, *, voice: str = "", language: str = "auto", media_type: str = "wav", **fields: Any
    ) -> Speech:
        """Say a text.

        Args:
            text: what to say.
            voice: a voice template's id; empty where `ref_audio_path` is among the fields.
            language: of the text, in any usual spelling.
            media_type: wav, raw, ogg, aac, mp3, flac, opus or m4a.
            fields: any further field of `/tts` (`emotion`, `seed`, `speed_factor`, ...).

        Raises:
            ServiceError: the service refused, failed or could not be reached.
            ValueError: a field (`timestamps`, `subtitles`, `response`) makes the answer JSON.
        """
        response = self._send("POST", "/tts", json=_body(text, voice, language, media_type, fields))
        return Speech(_read(response), *_facts(response))

    def stream(
        self, text: str, *, voice: str = "", language: str = "auto", media_type: str = "wav", **fields: Any
    ) -> Stream:
        """Say a text, sentence by sentence as it is made; the arguments are those of `speak`."""
        body = _body(text, voice, language, media_type, {"streaming_mode": 1, **fields})
        return Stream(self._send("POST", "/tts", json=body))

    def voices(self) -> list[dict[str, Any]]:
        """Every voice template."""
        response = self._send("GET", "/voices")
        _read(response)
        return list(response.json()["voices"])

    def upload(self, clip: bytes | str | Path, *, prompt_text: str = "", prompt_lang: str = "") -> str:
        """Uploads a reference of 3 to 10 s; what it returns goes into `ref_audio_path`."""
        said = {"prompt_text": prompt_text, "prompt_lang": prompt_lang}
        data = clip if isinstance(clip, bytes) else Path(clip).read_bytes()
        response = self._send("POST", "/upload_ref", files={"file": data}, data=said)
        _read(response)
        return str(response.json()["path"])

    def is_ready(self) -> bool:
        """Whether the service answers and its model is loaded."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        tries = 0
        while True:
            tries += 1
            try:
                response = self._http.send(self._http.build_request(method, path, **content), stream=True)
                pause_s = self._options.pause_s(response, tries)
                if not response.is_success:
                    response.read()
            except httpx.TransportError as error:
                raise _unreachable(error) from error
            if pause_s is None:
                return _checked(response)
            time.sleep(pause_s)


class AsyncClient:
    """As `Client`, for asyncio."""

    def __init__(
        self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_s: float = 300.0, retries: int = 3
    ) -> None:
        self._options = _Options(url, key, timeout_s, retries)
        self._http = httpx.AsyncClient(**self._options.arguments())

    async def speak(
        self, text: str, *, voice: str = "", language: str = "auto", media_type: str = "wav", **fields: Any
    ) -> Speech:
        """As `Client.speak`."""
        response = await self._send("POST", "/tts", json=_body(text, voice, language, media_type, fields))
        return Speech(await _aread(response), *_facts(response))

    async def stream(
        self, text: str, *, voice: str = "", language: str = "auto", media_type: str = "wav", **fields: Any
    ) -> AsyncStream:
        """As `Client.stream`."""
        body = _body(text, voice, language, media_type, {"streaming_mode": 1, **fields})
        return AsyncStream(await self._send("POST", "/tts", json=body))

    async def voices(self) -> list[dict[str, Any]]:
        """As `Client.voices`."""
        response = await self._send("GET", "/voices")
        await _aread(response)
        return list(response.json()["voices"])

    async def upload(self, clip: bytes | str | Path, *, prompt_text: str = "", prompt_lang: str = "") -> str:
        """As `Client.upload`."""
        said = {"prompt_text": prompt_text, "prompt_lang": prompt_lang}
        data = clip if isinstance(clip, bytes) else await asyncio.to_thread(Path(clip).read_bytes)
        response = await self._send("POST", "/upload_ref", files={"file": data}, data=said)
        await _aread(response)
        return str(response.json()["path"])

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        tries = 0
        while True:
            tries += 1
            try:
                response = await self._http.send(self._http.build_request(method, path, **content), stream=True)
                pause_s = self._options.pause_s(response, tries)
                if not response.is_success:
                    await response.aread()
            except httpx.TransportError as error:
                raise _unreachable(error) from error
            if pause_s is None:
                return _checked(response)
            await asyncio.sleep(pause_s)


def _body(text: str, voice: str, language: str, media_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    for name in _NO_AUDIO:
        if fields.get(name) not in (None, "", "none", "audio"):
            raise ValueError(
                f"{name} makes the answer JSON, which this method does not return: send POST /tts yourself"
            )
    named = {"voice_id": voice} if voice else {}
    return {"text": text, "text_lang": language, "media_type": media_type, **named, **fields}


def _facts(response: httpx.Response) -> tuple[str, int, int, str]:
    """Content type, sample rate, seed and warnings."""
    headers = response.headers
    rate_hz, seed = int(headers.get("x-sample-rate", 0)), int(headers.get("x-seed", -1))
    return headers.get("content-type", ""), rate_hz, seed, headers.get("x-warnings", "")


def _read(response: httpx.Response) -> bytes:
    try:
        return response.read()
    except httpx.TransportError as error:
        raise _unreachable(error) from error
    finally:
        response.close()


async def _aread(response: httpx.Response) -> bytes:
    try:
        return await response.aread()
    except httpx.TransportError as error:
        raise _unreachable(error) from error
    finally:
        await response.aclose()


def _unreachable(error: httpx.TransportError) -> ServiceError:
    return ServiceError(f"the service did not answer: {type(error).__name__}; is it running at this address?")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        told = response.json()
        message = ": ".join(told[name] for name in ("message", "Exception") if told.get(name))
    except (ValueError, TypeError, AttributeError):
        message = ""
    raise ServiceError(message or f"status {response.status_code}", response.status_code, _retry_after_s(response))


def _retry_after_s(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
