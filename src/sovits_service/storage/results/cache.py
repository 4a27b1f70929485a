"""The result cache: finished answers under the hash of everything that shaped them."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sovits_service.types import FAULT_KINDS, FragmentFault, SynthesisRequest, TimedText

_MAGIC = b"SVC1"
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class CachedAudio:
    """An encoded answer with what its headers say.

    Attributes:
        data: a whole file of `media_type`.
        seed: the one that was used.
        takes: of all fragments together; 0 where nobody judged them.
        faults: of the takes that were kept.
        words, cues: of its text, and fragments of it, with their times, where they were asked for.
    """

    data: bytes
    media_type: str
    sample_rate_hz: int
    duration_s: float
    seed: int
    dropped_characters: int = 0
    warnings: tuple[str, ...] = ()
    takes: int = 0
    faults: tuple[FragmentFault, ...] = ()
    words: tuple[TimedText, ...] = ()
    cues: tuple[TimedText, ...] = ()

    @property
    def etag(self) -> str:
        """A strong entity tag, with its quotes: equal bytes have equal tags."""
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


@dataclass(slots=True)
class CacheCounts:
    """What a cache did since it was opened, for the metrics.

    Attributes:
        failures: operations that the back end did not carry out.
        bypassed: operations that were not tried since the back end is known to be down.
    """

    hits: int = 0
    misses: int = 0
    writes: int = 0
    evictions: int = 0
    failures: int = 0
    bypassed: int = 0


class ResultCache(Protocol):
    """What both back ends do. Neither ever raises for a back end that is broken: that is a miss, with a warning."""

    @property
    def counts(self) -> CacheCounts: ...

    async def get(self, key: str) -> CachedAudio | None: ...
    async def put(self, key: str, audio: CachedAudio) -> None: ...
    async def close(self) -> None: ...


def cache_key(
    request: SynthesisRequest,
    *,
    media_type: str,
    reference_hashes: Sequence[str],
    weights_hashes: Sequence[str],
    timbre_hash: str = "",
) -> str:
    """SHA-256 over everything that shapes the bytes of an answer, and nothing else.

    A whole answer and one streamed by fragments are the same speech and share a key; token chunks (modes 2 and 3)
    sound slightly different at their joints and have keys of their own.

    Args:
        request: with the voice template already applied. Its names of references, its voice and its deadline do not
            count; a seed of None stands for "any".
        reference_hashes: content hashes of the reference, then of the further ones, in order.
        weights_hashes: content hashes of both weights files.
        timbre_hash: of the clip whose timbre takes the place of the reference's; empty where there is none.
    """
    sampling = request.sampling
    shape: dict[str, object] = {
        "text": request.text.strip(),
        "text_lang": request.text_lang.lower(),
        "prompt_text": request.prompt_text.strip(),
        "prompt_lang": request.prompt_lang.lower() if request.prompt_text.strip() else "",
        "references": list(reference_hashes),
        "weights": list(weights_hashes),
        "split_method": request.split_method,
        "top_k": sampling.top_k,
        "top_p": float(sampling.top_p),
        "temperature": float(sampling.temperature),
        "repetition_penalty": float(sampling.repetition_penalty),
        "max_new_tokens": sampling.max_new_tokens,
        "speed": float(request.speed),
        "pause_s": float(request.pause_s),
        "seed": request.seed,
        "cfm_steps": request.cfm_steps,
        "super_sampling": request.super_sampling,
        "read_emoji": request.read_emoji,
        "media_type": media_type,
    }
    if request.timestamps != "none":
        shape["timestamps"] = request.timestamps
    if request.guard != "off" or request.candidates > 1:
        shape["takes"] = [request.guard, request.max_takes, request.candidates]
    if timbre_hash:
        shape["timbre"] = timbre_hash
    if request.source is not None:
        shape["source"] = request.source.content_hash
    if request.streaming_mode in (2, 3):
        shape["chunks"] = [request.streaming_mode, request.overlap_tokens, request.min_chunk_tokens]
    canonical = json.dumps(shape, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def pack_audio(key: str, audio: CachedAudio) -> bytes:
    """A value that says by itself whether it is complete and whose: magic, digest, length of the head, head, audio."""
    head = {key: value for key, value in asdict(audio).items() if key != "data"}
    encoded = json.dumps(head, separators=(",", ":")).encode()
    body = struct.pack("<I", len(encoded)) + encoded + audio.data
    return _MAGIC + _digest(key, body) + body


def unpack_audio(key: str, value: bytes) -> CachedAudio | None:
    """What `pack_audio` packed for this key; None where a byte is missing or changed, or the key is another."""
    start = len(_MAGIC) + _DIGEST_BYTES
    body = value[start:]
    if value[: len(_MAGIC)] != _MAGIC or value[len(_MAGIC) : start] != _digest(key, body):
        return None
    try:
        (head_bytes,) = struct.unpack_from("<I", body)
        head: dict[str, Any] = json.loads(body[4 : 4 + head_bytes])
        lists = {
            "warnings": tuple(head.get("warnings", ())),
            "faults": tuple(FragmentFault(*fault) for fault in head.get("faults", ())),
            **{name: tuple(TimedText(*part) for part in head.get(name, ())) for name in ("words", "cues")},
        }
        audio = CachedAudio(data=body[4 + head_bytes :], **{**head, **lists})
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError):  # of another version, or another's
        return None
    return audio if _is_plausible(audio) else None


def _is_plausible(audio: CachedAudio) -> bool:
    """Whether an entry says what an answer can say; its digest keeps out damage, but nobody who can write one."""
    return (
        bool(audio.data)
        and type(audio.media_type) is str
        and re.fullmatch(r"[a-z0-9]{1,8}", audio.media_type) is not None
        and type(audio.sample_rate_hz) is int
        and 1_000 <= audio.sample_rate_hz <= 384_000
        and type(audio.duration_s) in (int, float)
        and 0 < audio.duration_s < 10**6
        and all(
            type(number) is int and 0 <= number < 2**63
            for number in (audio.seed, audio.dropped_characters, audio.takes)
        )
        and all(type(fault.fragment) is int and fault.kind in FAULT_KINDS for fault in audio.faults)
        and len(audio.warnings) <= 64
        and all(type(warning) is str and len(warning) <= 1000 for warning in audio.warnings)
        and all(_is_plausible_part(part) for part in (*audio.words, *audio.cues))
    )


def _is_plausible_part(part: TimedText) -> bool:
    return (
        type(part.text) is str
        and type(part.start) is type(part.end) is int
        and 0 <= part.start <= part.end
        and all(type(value) in (int, float) for value in (part.start_s, part.end_s, part.confidence))
        and 0 <= part.start_s <= part.end_s < 10**6
        and 0 <= part.confidence <= 1
    )


def _digest(key: str, body: bytes) -> bytes:
    digest = hashlib.blake2b(key.encode() + b"\0", digest_size=_DIGEST_BYTES)
    digest.update(body)
    return digest.digest()
