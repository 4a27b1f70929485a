"""Speech with word times: a JSON object, or server-sent events."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sovits_service.audio.encode import StreamEncoder, content_type
from sovits_service.storage.results.cache import CachedAudio
from sovits_service.text.subtitles import write_subtitles
from sovits_service.types import AudioChunk, FaultKind, FragmentFault, SynthesisRequest, TimedText

Shape = Callable[[CachedAudio, SynthesisRequest], dict[str, Any]]
ShapeChunk = Callable[[bytes, AudioChunk | None], bytes]


_FAULT_WARNINGS: Mapping[FaultKind, str] = {
    "missing": "words may be missing",
    "repeated": "words may be said twice",
    "leak": "words of the reference may be said",
    "loop": "the speech went in a circle and was ended",
    "too_long": "the speech is far longer than its text",
    "too_short": "the speech is far shorter than its text",
    "noise": "there may be noise",
    "silence": "nothing may be heard",
    "clipping": "the sound may be distorted",
}


def fault_warning(fault: FragmentFault) -> str:
    return f"fragment {fault.fragment + 1}: {_FAULT_WARNINGS[fault.kind]}"


def faults_of(chunks: Iterable[AudioChunk]) -> tuple[FragmentFault, ...]:
    """What the guard found in speech."""
    return tuple(FragmentFault(chunk.fragment, kind) for chunk in chunks for kind in chunk.faults)


def fault_fields(takes: int, faults: Sequence[FragmentFault]) -> dict[str, Any]:
    """What the guard found; nothing where it was off."""
    return {"takes": takes, "faults": [fault._asdict() for fault in faults]} if takes else {}


def word_fields(word: TimedText) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": word.start,
        "end": word.end,
        "start_s": word.start_s,
        "end_s": word.end_s,
        "confidence": word.confidence,
    }


def timed_answer(audio: CachedAudio, tts_request: SynthesisRequest, subtitles: str, url: str = "") -> dict[str, Any]:
    """The JSON answer of `/tts`.

    Args:
        subtitles: their format; empty leaves them out.
        url: of the audio, in place of the audio itself.
    """
    sound = {"url": url} if url else {"audio": base64.b64encode(audio.data).decode()}
    said = {"subtitles": write_subtitles(audio.cues, subtitles)} if subtitles else {}
    return {
        **sound,
        "media_type": content_type(audio.media_type),
        "sample_rate": audio.sample_rate_hz,
        "duration_s": audio.duration_s,
        "seed": audio.seed,
        "timestamps": tts_request.timestamps,
        "aligned": bool(audio.words),
        "words": [word_fields(word) for word in audio.words],
        **fault_fields(audio.takes, audio.faults),
        **said,
    }


class SpeechEvents:
    """Server-sent events around the bytes of an encoder: `audio`, `words` as each fragment ends, `done`."""

    def __init__(self, inner: StreamEncoder) -> None:
        self.output_rate_hz = inner.output_rate_hz
        self._takes = 0
        self._faults: list[FragmentFault] = []

    def __call__(self, data: bytes, chunk: AudioChunk | None) -> bytes:
        """What is sent for encoded bytes, and the chunk that they are of; None: the speech is over."""
        events = [("audio", {"audio": base64.b64encode(data).decode()})] if data else []
        if chunk is None:
            events.append(("done", fault_fields(self._takes, self._faults)))
        elif chunk.is_fragment_end:
            self._takes += chunk.takes
            self._faults += [FragmentFault(chunk.fragment, kind) for kind in chunk.faults]
            words = [word_fields(word) for word in chunk.words]
            events.append(("words", {"words": words, "aligned": bool(words)}))  # type: ignore[dict-item]
        return b"".join(server_sent_event(name, content) for name, content in events)


def kept_events(audio: CachedAudio) -> bytes:
    """The events of a stream that the cache has whole: all its audio, the words of each fragment, the end."""
    events: list[tuple[str, dict[str, Any]]] = [("audio", {"audio": base64.b64encode(audio.data).decode()})]
    for cue in audio.cues:
        words = [word_fields(word) for word in audio.words if cue.start <= word.start < cue.end]
        events.append(("words", {"words": words, "aligned": bool(words)}))
    events.append(("done", fault_fields(audio.takes, audio.faults)))
    return b"".join(server_sent_event(name, content) for name, content in events)


def server_sent_event(name: str, content: Mapping[str, Any]) -> bytes:
    """An event of a `text/event-stream`."""
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def character_times(
    text: str, parts: Sequence[TimedText], start: int, end: int, last_s: float | None = None
) -> dict[str, Any] | None:
    """ElevenLabs' alignment: the characters of the text from `start` to `end`, with seconds.

    What is read as one shares its time evenly among its characters; what is not said takes none.

    Args:
        parts: what is said of them, in order.
        last_s: when what is before them ends; None where nothing before them has a time.

    Returns:
        None where no time is known.
    """
    if last_s is None:
        if not parts:
            return None
        last_s = parts[0].start_s
    spans: list[tuple[float, float] | None] = [None] * (end - start)
    for part in parts:
        step = (part.end_s - part.start_s) / max(1, part.end - part.start)
        for i in range(max(part.start, start), min(part.end, end)):
            spans[i - start] = (
                part.start_s + (i - part.start) * step,
                part.start_s + (i - part.start + 1) * step,
            )
    starts, ends = [], []
    for span in spans:
        begin_s, last_s = span or (last_s, last_s)
        starts.append(round(begin_s, 3))
        ends.append(round(last_s, 3))
    return {
        "characters": list(text[start:end]),
        "character_start_times_seconds": starts,
        "character_end_times_seconds": ends,
    }
