"""A clip that was read once, so that the same bytes are checked, hashed and spoken with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from sovits_service.errors import ReferenceAudioError


@dataclass(frozen=True, slots=True)
class Clip:
    """Bytes of an audio file.

    Attributes:
        suffix: of the file's name, `.wav` for one.
        content_hash: SHA-256 of the bytes.
    """

    data: bytes = field(repr=False)
    suffix: str = ".wav"
    content_hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_hash", hashlib.sha256(self.data).hexdigest())


def read_clip(path: Path, max_bytes: int) -> Clip:
    """Read a clip whole.

    Raises:
        ReferenceAudioError: it has gone, cannot be read, or is longer than `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ReferenceAudioError("the reference can no longer be read; upload it again") from error
    if len(data) > max_bytes:
        raise ReferenceAudioError(f"the audio file is larger than {max_bytes / 2**20:.0f} MiB; cut it to 3 to 10 s")
    return Clip(data, path.suffix.lower())
