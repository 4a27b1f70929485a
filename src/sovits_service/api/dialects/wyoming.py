"""The Wyoming protocol over TCP, for Home Assistant and Rhasspy: whole texts and streamed ones.

An event is a line of JSON with a type, then as many bytes of further JSON and of payload as it says. The protocol knows
no keys, so it is off until a port is set; where keys are set, the settings name the one for which its clients stand.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import structlog

from sovits_service.api.deps import ApiContext, require_ready
from sovits_service.api.live import Failure, LiveEvent, LiveSpeech, SegmentStart, Sound
from sovits_service.api.say import understand
from sovits_service.api.voice_names import default_voice, find_voice
from sovits_service.audio.encode import stream_encoder
from sovits_service.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    SettingsError,
    SovitsError,
    UnknownVoiceError,
)
from sovits_service.settings import ServiceSettings
from sovits_service.telemetry import describe_error
from sovits_service.types import Voice

log = structlog.get_logger(__name__)

_LINE_BYTES = 64 * 1024
_MAX_CONNECTIONS = 64
_LONGEST_WAIT_S = 1.0
_LINGER_S = 10.0  # for what is sent already
_PLACEHOLDER = "text"  # the fields are checked before there is any
_ENDS = {"synthesize": "audio-stop", "synthesize-start": "synthesize-stopped"}
_AUDIO_WIDTH, _AUDIO_CHANNELS = 2, 1
_SOURCE = {"name": "sovits_service", "url": ""}


class WyomingServer:
    """The TCP port."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._settings: ServiceSettings = context.settings
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; of use where the settings leave it to the system."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises SettingsError where the address or the port cannot be had."""
        wyoming = self._settings.wyoming
        try:
            self._server = await asyncio.start_server(self._serve, wyoming.host, wyoming.port, limit=_LINE_BYTES)
        except OSError as error:
            reason = error.strerror or "the address is not known"
            raise SettingsError(
                f"cannot listen on {wyoming.host} port {wyoming.port} for Wyoming: {reason}; set another in wyoming"
            ) from None
        log.info("listening", protocol="wyoming", host=wyoming.host, port=self.port)

    async def stop(self) -> None:
        """Close the port and the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) < _MAX_CONNECTIONS:
            serving = asyncio.create_task(_serve_one(self._context, reader, writer))
            self._connections.add(serving)
            await asyncio.wait({serving})
            self._connections.discard(serving)
        # A client that reads nothing any more would keep its connection for ever.
        asyncio.get_running_loop().call_later(_LINGER_S, writer.transport.abort)
        writer.close()


async def _serve_one(context: ApiContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _Connection(context, reader, writer).run()
    except (DeadlineExceededError, ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        pass  # it has gone, or does not read
    except Exception as error:  # noqa: BLE001 - the edge that owns it
        log.error("unhandled error", protocol="wyoming", **describe_error(error))


class _Connection:
    def __init__(self, context: ApiContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._context = context
        self._reader = reader
        self._writer = writer
        settings = context.settings
        peer = (writer.get_extra_info("peername") or ("",))[0]
        self._client = f"key:{settings.wyoming.as_key}" if settings.api_keys else f"address:{peer}"
        self._speech: LiveSpeech | None = None  # a text that is being written
        self._speaking: asyncio.Task[None] | None = None
        self._is_answered = False  # whether the text in work has begun to be heard, or its failure been told

    async def run(self) -> None:
        try:
            while (event := await self._read()) is not None:
                try:
                    await self._take(*event)
                except DeadlineExceededError:
                    raise
                except SovitsError as error:
                    await self._send_error(error)
                    # Home Assistant reads on until the end, whatever it is told before.
                    if event[0] in _ENDS:
                        await self._send(_ENDS[event[0]], {})
        finally:
            if self._speaking is not None:
                self._speaking.cancel()
                await asyncio.gather(self._speaking, return_exceptions=True)

    async def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "describe":
            await self._send("info", await _info(self._context))
        elif kind == "ping":
            await self._send("pong", {"text": data.get("text")})
        elif kind == "synthesize" and self._speech is None:  # else it repeats what is being written
            text = _text(data)
            speech = await self._begin(data, is_streamed=False)
            try:
                await speech.write(text)
            except SovitsError as error:
                self._is_answered = True
                await self._send_error(error)
            finally:
                speech.finish()
        elif kind == "synthesize-start":
            self._speech = await self._begin(data, is_streamed=True)
        elif kind == "synthesize-chunk" and self._speech is not None:
            await self._speech.write(_text(data))
        elif kind == "synthesize-stop" and self._speech is not None:
            self._speech.finish()
            self._speech = None

    async def _begin(self, data: Mapping[str, Any], *, is_streamed: bool) -> LiveSpeech:
        if self._speaking is not None:  # one after the other
            if self._speech is not None:
                self._speech.finish()
                self._speech = None
            await asyncio.gather(self._speaking, return_exceptions=True)
        context = self._context
        require_ready(context.service)
        await context.access.count(self._client)
        asked = data.get("voice") or {}
        if not isinstance(asked, Mapping):
            raise InvalidRequestError("voice should be an object")
        voice = await _voice(context, asked)
        language = asked.get("language")
        fields = {
            "text": _PLACEHOLDER,
            "text_lang": language if isinstance(language, str) and language else "auto",
            "voice_id": voice.voice_id,
            "emotion": asked.get("speaker") or "",
            "media_type": "raw",
            "streaming_mode": 1,
        }
        understood = await understand(context, fields, self._client)
        has_begun = self._is_answered = False

        async def emit(event: LiveEvent) -> None:
            nonlocal has_begun
            if isinstance(event, SegmentStart) and not has_begun:
                has_begun = self._is_answered = True
                await self._send("audio-start", _audio(event.sample_rate_hz) | {"timestamp": 0})
            elif isinstance(event, Sound):
                await self._send("audio-chunk", _audio(rate_hz[0]), event.data)
            elif isinstance(event, Failure):
                self._is_answered = True
                await self._send_error(event.error)

        rate_hz = [0]

        def encoder(sample_rate_hz: int) -> Any:
            rate_hz[0] = sample_rate_hz
            return stream_encoder("raw", sample_rate_hz)

        async def speak() -> None:
            await speech.run()
            if not is_streamed and not self._is_answered:
                await self._send_error(InvalidRequestError("text has nothing to read; send words"))
            if has_begun or not is_streamed:
                await self._send("audio-stop", {})
            if is_streamed:
                await self._send("synthesize-stopped", {})

        speech = LiveSpeech(context, self._client, understood.tts_request, encoder, emit, _LONGEST_WAIT_S)
        self._speaking = asyncio.create_task(speak())
        self._speaking.add_done_callback(self._on_spoken)
        return speech

    def _on_spoken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._writer.transport.abort()  # the listener does not read, or has gone

    async def _read(self) -> tuple[str, dict[str, Any]] | None:
        """The next event's type and data; None where the client has gone, or what it sends is no event."""
        settings = self._context.settings
        while True:
            try:
                async with asyncio.timeout(settings.connections.idle_s):
                    line = await self._reader.readline()
                    break
            except TimeoutError:
                if self._speech is None and (self._speaking is None or self._speaking.done()):
                    return None
            except ValueError:  # longer than a line may be
                return None
        try:
            event = json.loads(line)
            kind, data = event["type"], event.get("data") or {}
            lengths = [int(event.get(name) or 0) for name in ("data_length", "payload_length")]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return None
        if min(lengths) < 0 or sum(lengths) > settings.max_request_bytes:
            return None
        async with asyncio.timeout(settings.connections.body_s):
            more, _ = [await self._reader.readexactly(length) for length in lengths]
        try:
            data = {**data, **(json.loads(more) if more else {})}
        except (ValueError, TypeError, RecursionError):
            return None
        return str(kind), data

    async def _send_error(self, error: SovitsError) -> None:
        await self._send("error", {"text": str(error), "code": type(error).__name__})

    async def _send(self, kind: str, data: Mapping[str, Any], payload: bytes = b"") -> None:
        head: dict[str, Any] = {"type": kind, "version": _version(), "data": data}
        if payload:
            head["payload_length"] = len(payload)
        self._writer.write(json.dumps(head).encode() + b"\n" + payload)
        stall_s = self._context.settings.stall_s
        try:
            async with asyncio.timeout(stall_s):
                await self._writer.drain()
        except TimeoutError:
            raise DeadlineExceededError(f"the client read nothing for {stall_s:g} s") from None


def _text(data: Mapping[str, Any]) -> str:
    text = data.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError("text should be a valid string")
    return text


def _audio(rate_hz: int) -> dict[str, int]:
    return {"rate": rate_hz, "width": _AUDIO_WIDTH, "channels": _AUDIO_CHANNELS}


async def _voice(context: ApiContext, asked: Mapping[str, Any]) -> Voice:
    name = asked.get("name")
    if isinstance(name, str) and name:
        voice, _ = await find_voice(context, name)
        return voice
    language = str(asked.get("language") or "").partition("-")[0].partition("_")[0]
    if language:
        for voice in await context.service.voices.all():
            if _language(voice) == language:
                return voice
    return await default_voice(context)


def _language(voice: Voice) -> str:
    return voice.prompt_lang.removeprefix("all_").partition("_")[0]


async def _info(context: ApiContext) -> dict[str, Any]:
    try:
        chosen = (await default_voice(context)).voice_id
    except UnknownVoiceError:
        chosen = ""
    voices = sorted(await context.service.voices.all(), key=lambda voice: voice.voice_id != chosen)
    about = {"attribution": _SOURCE, "installed": True, "version": _version()}
    programs = [
        {
            **about,
            "name": "sovits_service",
            "description": "GPT-SoVITS voices",
            "supports_synthesize_streaming": True,
            "voices": [
                {
                    **about,
                    "name": voice.voice_id,
                    "description": voice.description or voice.voice_id,
                    # Every voice speaks every language; its own comes first.
                    "languages": sorted(("zh", "en", "ja", "ko", "yue"), key=lambda code: code != _language(voice)),
                    "speakers": [{"name": emotion} for emotion in voice.emotions] or None,
                }
                for voice in voices
            ],
        }
    ]
    return {"asr": [], "tts": programs, "handle": [], "intent": [], "wake": [], "mic": [], "snd": []}


def _version() -> str:
    return importlib.metadata.version("sovits-service")
