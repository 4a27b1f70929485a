"""The error for a container that cannot be read or claims more than a clip can have."""

from __future__ import annotations

from sovits_service.errors import ReferenceAudioError


def damaged() -> ReferenceAudioError:
    """To be raised."""
    return ReferenceAudioError("the audio file is damaged; export it again, as wav for example")
