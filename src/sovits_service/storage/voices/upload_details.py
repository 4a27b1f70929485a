"""What an uploader says about a clip."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class UploadDetails:
    """What an uploader said about a clip.

    Attributes:
        consent: who agreed to the use of the voice, in the uploader's words.
    """

    prompt_text: str = ""
    prompt_lang: str = ""
    consent: str = ""

    def over(self, earlier: UploadDetails) -> UploadDetails:
        """These details, with what was said earlier where nothing is said now."""
        said = (
            self
            if self.prompt_text
            else replace(self, prompt_text=earlier.prompt_text, prompt_lang=earlier.prompt_lang)
        )
        return replace(said, consent=self.consent or earlier.consent)

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(data: bytes) -> UploadDetails:
        """What `dump` wrote; empty for anything else."""
        try:
            document = json.loads(data)
            details = UploadDetails(**document)
        except (ValueError, TypeError):
            return UploadDetails()
        return details if all(isinstance(value, str) for value in document.values()) else UploadDetails()
