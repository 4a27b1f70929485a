"""Everything that is looked at in a reference before it becomes a voice: its sound, its language, what models hear."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sovits_service.audio.quality import find_faults
from sovits_service.errors import InvalidRequestError
from sovits_service.service.loaded_models import Model
from sovits_service.text.frontend import Frontend
from sovits_service.text.scripts import fits_language
from sovits_service.threads import run_in
from sovits_service.types import ReferenceAudio, ReferenceFinding, ReferenceReport, Segment

_NO_TRANSCRIPT = "without prompt_text there is nothing to compare with"
_RULED_OUT = "the clip is ruled out by its sound"


class ReferenceChecks:
    """Checks one reference at a time, beside the engine.

    Args:
        frontend: reads transcripts.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._pool = ThreadPoolExecutor(1, "sovits-checks")

    async def check(self, reference: ReferenceAudio, text: str, language: str, model: Model) -> ReferenceReport:
        """Look at a clip, and at what it is said to say.

        Args:
            text: its transcript, or empty.
            language: of the transcript.

        Raises:
            SynthesisError: the encoders gave a non-finite output.
        """
        return await run_in(self._pool, lambda: self._check(reference, text, language, model))

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, reference: ReferenceAudio, text: str, language: str, model: Model) -> ReferenceReport:
        findings = find_faults(reference)
        not_checked = {} if text else {"transcript": _NO_TRANSCRIPT}
        if any(finding.severity == "error" for finding in findings):
            return ReferenceReport(tuple(findings), not_checked | {"speakers": _RULED_OUT, "transcript": _RULED_OUT})
        transcript: Segment | None = None
        if text:
            try:
                transcript = self._frontend.transcript(text, language, model.spec.symbols)
            except InvalidRequestError as error:
                findings.append(ReferenceFinding("transcript", "error", f"transcript: {error}"))
            if not fits_language(text, language):
                findings.append(_wrong_language(text, language))
        heard = model.checker.check(reference, transcript)
        return ReferenceReport((*findings, *heard.findings), {**not_checked, **heard.not_checked})


def _wrong_language(text: str, language: str) -> ReferenceFinding:
    message = f"language: most of prompt_text is not written as prompt_lang {language} is; name its language, or auto"
    return ReferenceFinding("language", "warning", message, text_span=(0, len(text)))
