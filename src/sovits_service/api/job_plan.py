"""From a document and the fields of a request to a job: every fragment with the request that speaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sovits_service.api.schemas import (
    Real,
    Text,
    TtsFields,
    check_limits,
    describe_problem,
    parse_tts,
    to_synthesis_request,
)
from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Document, Line
from sovits_service.jobs.model import FragmentPlan, JobFormat, JobOptions, NewJob, Slot
from sovits_service.settings import ServiceSettings
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.text.growing import GrowingText
from sovits_service.types import ModelVersion, SynthesisRequest, Voice

_FRAGMENT_CHARACTERS = (
    200  # at most, but for a longer sentence: what is lost by a kill, and how finely progress is told
)
_MAX_TITLE_CHARACTERS = 500
_MAX_LINES = 100_000
_MAX_VOICES = 200
_PLACEHOLDER = "text"  # the fields are checked before each fragment's text is put in
_REFERENCE_FIELDS = ("ref_audio_path", "prompt_text", "prompt_lang", "emotion", "aux_ref_audio_paths")


class JobFields(BaseModel):
    """The fields of `POST /jobs` beside those of `/tts`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: JobFormat = Field("mp3", description="Of the audio; others can be asked for later.")
    type: Text = Field("", description="txt, md, html, epub, srt, vtt or jsonl; by default the file's ending.")
    encoding: Text = Field("", description="Of a text file that is not UTF-8: gb18030, shift_jis, ...")
    title: Text = Field("", max_length=_MAX_TITLE_CHARACTERS, description="By default the book's, or the file's name.")
    author: Text = Field("", max_length=_MAX_TITLE_CHARACTERS, description="By default the book's.")
    line_pause: Real = Field(0.5, ge=0.0, le=10.0, description="Seconds of silence between paragraphs or lines.")
    chapter_pause: Real = Field(1.5, ge=0.0, le=30.0, description="Seconds of silence between chapters.")
    max_speed_up: Real = Field(1.5, ge=1.0, le=3.0, description="How much faster a line of subtitles may be said.")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What fields are checked against, beside the settings.

    Attributes:
        voices: the templates that the job names, by id.
        said: of the upload that the job names as its reference.
        sees: name of the key whose uploads it may name; None is everybody's.
        owner: whose the job is; empty is everybody's.
    """

    version: ModelVersion
    voices: Mapping[str, Voice]
    said: UploadDetails | None = None
    has_default_reference: bool = False
    sees: str | None = None
    owner: str = ""


def job_fields(raw: Mapping[str, Any]) -> JobFields:
    """Raise an InvalidRequestError for a field that cannot be used."""
    given = {name: value for name, value in raw.items() if value not in (None, "")}
    if isinstance(given.get("format"), str):
        given["format"] = given["format"].lower()
    try:
        return JobFields.model_validate(given)
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None


def voice_ids(document: Document, raw: Mapping[str, Any]) -> dict[str, int]:
    """The voices that a job names, each with the number of the first line that names it; 0 is the job itself.

    Raises:
        InvalidRequestError: there are too many, or one is no text.
    """
    named: dict[str, int] = {}
    for number, fields in enumerate((raw, *(line.fields for line in _lines(document)))):
        voice_id = fields.get("voice_id") or ""
        if not isinstance(voice_id, str):
            raise InvalidRequestError("voice_id, the voice of a line, must be text")
        if voice_id:
            named.setdefault(voice_id, number)
    if len(named) > _MAX_VOICES:
        raise InvalidRequestError(f"the lines name more than {_MAX_VOICES} voices")
    return named


def plan_job(
    document: Document,
    fields: JobFields,
    raw: Mapping[str, Any],
    circumstances: Circumstances,
    settings: ServiceSettings,
    file_name: str = "",
) -> NewJob:
    """The job of a document.

    Args:
        raw: the fields of `/tts` for all lines, which a line's own win over.

    Raises:
        InvalidRequestError: a field cannot be used, or the text is too long.
    """
    _check_size(document, settings)
    requests = _Requests(raw, circumstances, settings)
    plans: list[FragmentPlan] = []
    number = 0
    for chapter, content in enumerate(document.chapters):
        for line in content.lines:
            request = requests.of(line, number)
            if line.start_s is not None and line.end_s is not None:
                plans.append(FragmentPlan(chapter, number, request, Slot(line.start_s, line.end_s)))
            else:
                plans += [FragmentPlan(chapter, number, replace(request, text=text)) for text in cut_line(line.text)]
            number += 1
    return NewJob(
        owner=circumstances.owner,
        title=fields.title or document.title or PurePath(file_name).stem[:_MAX_TITLE_CHARACTERS],
        author=fields.author or document.author,
        chapters=[chapter.title[:_MAX_TITLE_CHARACTERS] for chapter in document.chapters],
        fragments=plans,
        format=fields.format,
        subtitles=requests.subtitles,
        options=JobOptions(fields.line_pause, fields.chapter_pause, fields.max_speed_up),
        cover=document.cover,
    )


def cut_line(text: str) -> list[str]:
    """Whole sentences, as many together as a fragment takes; stretches without words are left out."""
    growing = GrowingText()
    fragments: list[str] = []
    for piece in [*growing.write(text), *growing.rest()]:
        if fragments and len(fragments[-1]) + len(piece.text) <= _FRAGMENT_CHARACTERS:
            fragments[-1] += piece.text
        else:
            fragments.append(piece.text)
    return fragments


class _Requests:
    """The request of each line; lines with the same fields share the check of them."""

    def __init__(self, raw: Mapping[str, Any], circumstances: Circumstances, settings: ServiceSettings) -> None:
        self._raw = {**raw, "media_type": "wav", "streaming_mode": 0, "response": "audio"}
        self._circumstances = circumstances
        self._settings = settings
        self._known: dict[str, SynthesisRequest] = {}
        self.subtitles = ""

    def of(self, line: Line, number: int) -> SynthesisRequest:
        key = json.dumps(line.fields, sort_keys=True, default=str) if line.fields else ""
        if key not in self._known:
            try:
                self._known[key] = self._request(line.fields)
            except InvalidRequestError as error:
                if not line.fields:
                    raise
                raise InvalidRequestError(f"line {number + 1}: {error}") from None
        request = self._known[key]
        if len(line.text) > self._settings.max_text_characters and line.start_s is not None:
            raise InvalidRequestError(f"line {number + 1} of the subtitles is too long")
        return replace(request, text=line.text)

    def _request(self, own: Mapping[str, object]) -> SynthesisRequest:
        circumstances = self._circumstances
        shared = self._raw
        if "voice_id" in own:  # another voice: what describes the job's is not its own
            shared = {name: value for name, value in shared.items() if name not in _REFERENCE_FIELDS}
        merged = {"text_lang": "auto", **_given(shared), **_given(own), "text": _PLACEHOLDER}
        voice_id = merged.get("voice_id")
        fields: TtsFields = parse_tts(
            merged,
            version=circumstances.version,
            voice=circumstances.voices[str(voice_id)] if voice_id else None,
            said=None if "voice_id" in own else circumstances.said,
            has_default_reference=circumstances.has_default_reference,
        )
        check_limits(fields, self._settings)
        self.subtitles = self.subtitles or fields.subtitles
        request = to_synthesis_request(fields, self._settings)
        return replace(request, timeout_s=None, owner=circumstances.sees)


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _lines(document: Document) -> list[Line]:
    return [line for chapter in document.chapters for line in chapter.lines]


def _check_size(document: Document, settings: ServiceSettings) -> None:
    lines = _lines(document)
    characters = sum(len(line.text) for line in lines)
    if characters > settings.jobs.max_characters:
        raise InvalidRequestError(
            f"the text has {characters:,} characters; at most {settings.jobs.max_characters:,} are accepted: "
            "send it as several jobs"
        )
    if len(lines) > _MAX_LINES:
        raise InvalidRequestError(f"the text has {len(lines):,} lines; at most {_MAX_LINES:,} are accepted")
