"""What `/jobs` answers, and what openapi.json says of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sovits_service.api.job_plan import JobFields
from sovits_service.api.openapi import Answers, failures, json_body, tts_schema
from sovits_service.jobs.model import Fragment, Job, JobFormat, JobState
from sovits_service.jobs.render import CONTENT_TYPES
from sovits_service.jobs.timeline import Placed

_EXAMPLE = {"text": "第一章\n从前有座山。", "voice_id": "female_calm", "format": "mp3"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PLAIN = {"schema": {"type": "string"}}


class JobAnswer(BaseModel):
    """A job, and how far it has come."""

    id: str
    status: JobState
    title: str
    author: str
    format: JobFormat
    subtitles: str
    created_at: str = Field(description="ISO 8601, UTC.")
    finished_at: str | None
    progress: float = Field(ge=0.0, le=1.0, description="The share of the characters that are spoken.")
    remaining_s: float | None = Field(description="At the rate so far; null where that is not known.")
    duration_s: float = Field(description="Of what is spoken, without the pauses between lines.")
    characters: int
    total: int = Field(description="Fragments.")
    done: int
    failed: int = Field(description="Fragments that could not be spoken, and are left out.")
    misfits: int = Field(description="Lines of subtitles that are longer than their slot.")
    message: str = Field(description="Why it failed.")


class JobsAnswer(BaseModel):
    """The jobs that a key may see."""

    jobs: list[JobAnswer]


class FragmentAnswer(BaseModel):
    """A fragment of a job."""

    number: int
    chapter: int
    line: int
    text: str
    voice_id: str
    status: Literal["waiting", "done", "failed"]
    message: str
    duration_s: float
    start_s: float | None = Field(description="In the whole; null before the job is over.")
    speed_up: float = Field(description="How many times faster than asked for, to fit its slot.")
    over_s: float = Field(description="How much longer than its slot it is.")
    late_s: float = Field(description="How much later than its slot it starts, once the job is over.")


class FullJobAnswer(JobAnswer):
    """A job with a page of its fragments."""

    fragments: list[FragmentAnswer]


def job_answer(job: Job) -> JobAnswer:
    remaining_s = job.remaining_s(time.time())
    return JobAnswer(
        id=job.id,
        status=job.state,
        title=job.title,
        author=job.author,
        format=job.format,
        subtitles=job.subtitles,
        created_at=_time(job.created_s),
        finished_at=_time(job.finished_s) if job.finished_s else None,
        progress=round(job.characters_done / max(1, job.characters), 4),
        remaining_s=None if remaining_s is None else round(remaining_s, 1),
        duration_s=round(job.duration_s, 3),
        characters=job.characters,
        total=job.total,
        done=job.done,
        failed=job.failed,
        misfits=job.misfits,
        message=job.message,
    )


def fragment_fields(fragment: Fragment, placed: Placed | None) -> FragmentAnswer:
    return FragmentAnswer(
        number=fragment.number,
        chapter=fragment.chapter,
        line=fragment.line,
        text=fragment.request.text,
        voice_id=fragment.request.voice_id or "",
        status=fragment.state,
        message=fragment.message,
        duration_s=round(fragment.duration_s, 3),
        start_s=None if placed is None else round(placed.start_s, 3),
        speed_up=fragment.speed_up,
        over_s=round(fragment.over_s, 3),
        late_s=0.0 if placed is None else round(placed.late_s, 3),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _body() -> dict[str, Any]:
    """The fields of `POST /jobs`: as a form with a file, and as JSON."""
    own = JobFields.model_json_schema()["properties"]
    shared = tts_schema()
    left_out = {"media_type", "streaming_mode", "response", "cache", "timeout_s"}
    fields = {name: value for name, value in shared["properties"].items() if name not in left_out} | own
    schema = {**shared, "properties": fields, "required": ["text"]}
    body = json_body(schema, _EXAMPLE)
    content = body["requestBody"]["content"]
    inlined = content["application/json"]["schema"]["properties"]
    files = {
        "file": {"type": "string", "format": "binary", "description": "txt, md, html, epub, srt, vtt or jsonl."},
        "cover": {"type": "string", "format": "binary", "description": "PNG or JPEG."},
    }
    content["multipart/form-data"] = {"schema": {"type": "object", "properties": {**files, **inlined}}}
    return body


_ID_PARAMETER = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
JOB_ID: dict[str, Any] = {"parameters": [_ID_PARAMETER]}
JOB_BODY = _body()


def choice_parameter(choices: Sequence[str]) -> dict[str, Any]:
    """The id of a job, and a format."""
    form = {"name": "format", "in": "query", "required": False, "schema": {"type": "string", "enum": list(choices)}}
    return {"parameters": [_ID_PARAMETER, form]}


def page_parameters(largest: int) -> dict[str, Any]:
    """The id of a job, and which of its fragments."""
    whole = {"type": "integer", "minimum": 0}
    return {
        "parameters": [
            _ID_PARAMETER,
            {"name": "offset", "in": "query", "required": False, "schema": {**whole, "maximum": 10**9}},
            {"name": "limit", "in": "query", "required": False, "schema": {**whole, "maximum": largest}},
        ]
    }


_SOUND = dict.fromkeys(CONTENT_TYPES.values(), _BINARY)
AUDIO_ANSWERS: Answers = {
    200: {"description": "The file.", "content": _SOUND},
    206: {"description": "A range of it.", "content": {**_SOUND, "multipart/byteranges": _BINARY}},
    416: {"description": "No such range.", "content": {"text/plain": _PLAIN}},
    **failures(400, 404, 409, 501, 503),
}
SUBTITLE_ANSWERS: Answers = {
    200: {"description": "The subtitles.", "content": {"text/plain": _PLAIN, "text/vtt": _PLAIN}},
    **failures(400, 404, 409, 501, 503),
}
EVENT_ANSWERS: Answers = {
    200: {
        "description": "The job at each change.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
            }
        },
    },
    **failures(404, 501, 503),
}
