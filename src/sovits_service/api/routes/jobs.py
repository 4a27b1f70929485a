"""/jobs: long texts and files, spoken in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sovits_service.api.deps import ApiContext, context_of, named_voice, owner_of, read_fields, require_ready
from sovits_service.api.inline import keep_inline_references
from sovits_service.api.job_answers import (
    AUDIO_ANSWERS,
    EVENT_ANSWERS,
    JOB_BODY,
    JOB_ID,
    SUBTITLE_ANSWERS,
    FullJobAnswer,
    JobAnswer,
    JobsAnswer,
    choice_parameter,
    fragment_fields,
    job_answer,
    page_parameters,
)
from sovits_service.api.job_plan import Circumstances, job_fields, plan_job, voice_ids
from sovits_service.api.openapi import failures
from sovits_service.api.say import upload_transcript
from sovits_service.api.speech_response import SpeechStream
from sovits_service.api.stored import StoredFile
from sovits_service.api.timed import server_sent_event
from sovits_service.api.uploads import receive_form
from sovits_service.api.voice_names import default_voice
from sovits_service.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotSupportedError,
    UnknownVoiceError,
    UploadTooLargeError,
)
from sovits_service.jobs.document import read_cover
from sovits_service.jobs.jobs import Jobs
from sovits_service.jobs.model import JOB_FORMATS, Job, NewJob
from sovits_service.jobs.reading.isolated import read_isolated
from sovits_service.jobs.reading.read import read_document
from sovits_service.jobs.render import CONTENT_TYPES
from sovits_service.text.subtitles import SUBTITLE_FORMATS
from sovits_service.types import Voice

if TYPE_CHECKING:
    from sovits_service.service.protocol import Service

router = APIRouter(tags=["jobs"])

# Parsers hold the interpreter: a few megabytes of adversarial Markdown would stop all speech for a minute.
_MOST_PARSED_HERE_BYTES = 64 * 1024
_MAX_FIELDS = 64
_MAX_COVER_BYTES = 5 * 2**20
_MAX_PAGE = 1000


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobAnswer,
    responses=failures(400, 404, 413, 501, 503, 504),
    openapi_extra=JOB_BODY,
)
async def submit(request: Request) -> Response:
    """Take a text or a file, to be spoken while nobody waits for speech."""
    context, client = context_of(request), await context_of(request).access.authorize(request, "synth")
    jobs = _jobs(context)
    require_ready(context.service)
    with context.access.upload_slot(client):
        new = await _receive(request, context, client)
    for spoken in {_what_speaks(plan.request): plan.request for plan in new.fragments}.values():
        await context.service.resolve(spoken)
    job = await jobs.submit(new)
    return JSONResponse(job_answer(job).model_dump(), 201, {"Location": f"jobs/{job.id}"})


@router.get("/jobs", response_model=JobsAnswer, responses=failures(501, 503))
async def list_jobs(request: Request) -> Response:
    """The jobs of the key, the newest first."""
    jobs, sees = await _authorize(request)
    answers = [job_answer(job) for job in await jobs.all(sees)]
    return JSONResponse(JobsAnswer(jobs=answers).model_dump())


@router.get(
    "/jobs/{job_id}",
    response_model=FullJobAnswer,
    responses=failures(400, 404, 501, 503),
    openapi_extra=page_parameters(_MAX_PAGE),
)
async def get_job(request: Request) -> Response:
    """How far a job has come, with a page of its fragments."""
    jobs, sees = await _authorize(request)
    job = await jobs.get(_id(request), sees)
    first, count = _whole(request, "offset", 0, 10**9), _whole(request, "limit", 100, _MAX_PAGE)
    fragments = await jobs.fragments(job, first, count)
    starts = {item.fragment.number: item for item in await jobs.placed(job)} if job.is_over else {}
    answer = FullJobAnswer(
        **job_answer(job).model_dump(),
        fragments=[fragment_fields(fragment, starts.get(fragment.number)) for fragment in fragments],
    )
    return JSONResponse(answer.model_dump())


@router.delete("/jobs/{job_id}", status_code=204, responses=failures(404, 501, 503), openapi_extra=JOB_ID)
async def delete_job(request: Request) -> Response:
    """End a job, and delete everything of it."""
    jobs, sees = await _authorize(request)
    await jobs.delete(_id(request), sees)
    return Response(status_code=204)


@router.post(
    "/jobs/{job_id}/resume", response_model=JobAnswer, responses=failures(404, 409, 501, 503), openapi_extra=JOB_ID
)
async def resume_job(request: Request) -> Response:
    """Continue a failed job with the fragments that are not spoken."""
    jobs, sees = await _authorize(request)
    job = await jobs.resume(_id(request), sees)
    return JSONResponse(job_answer(job).model_dump())


@router.get(
    "/jobs/{job_id}/audio",
    response_class=StoredFile,
    responses=AUDIO_ANSWERS,
    openapi_extra=choice_parameter(JOB_FORMATS),
)
async def get_audio(request: Request) -> StoredFile:
    """The audio of a job that is done, or a range of it; in another format it is made first."""
    jobs, sees = await _authorize(request)
    job_id = _id(request)
    form = _choice(request, JOB_FORMATS)
    job = await jobs.get(job_id, sees)
    file, made = await jobs.audio(job_id, sees, form)
    return StoredFile(file, media_type=CONTENT_TYPES[made], filename=f"{_file_name(job)}.{made}")


@router.get(
    "/jobs/{job_id}/subtitles",
    response_class=Response,
    responses=SUBTITLE_ANSWERS,
    openapi_extra=choice_parameter(SUBTITLE_FORMATS),
)
async def get_subtitles(request: Request) -> Response:
    """The subtitles of a job that was made with `subtitles`."""
    jobs, sees = await _authorize(request)
    text, form = await jobs.subtitles(_id(request), sees, _choice(request, SUBTITLE_FORMATS) or "")
    return Response(text, media_type="text/vtt" if form == "vtt" else "text/plain")


@router.get("/jobs/{job_id}/events", response_class=Response, responses=EVENT_ANSWERS, openapi_extra=JOB_ID)
async def watch_job(request: Request) -> Response:
    """Server-sent events: `progress` with the job at each change, then `done`, `failed` or `deleted`."""
    jobs, sees = await _authorize(request)
    seen = jobs.watch(_id(request), sees)
    first = _event(await anext(seen))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        await seen.aclose()
        return Response(media_type="text/event-stream", headers=headers)

    async def events() -> AsyncGenerator[tuple[bytes, bool], None]:
        async with contextlib.aclosing(seen):
            async for job in seen:
                yield _event(job), job is None or job.is_over

    stall_s = context_of(request).settings.stall_s
    return SpeechStream(
        (first, False),
        events(),
        media_type="text/event-stream",
        headers=headers,
        stall_s=stall_s,
    )


def _event(job: Job | None) -> bytes:
    if job is None:
        return server_sent_event("deleted", {})
    return server_sent_event(job.state if job.is_over else "progress", job_answer(job).model_dump())


async def _authorize(request: Request) -> tuple[Jobs, str | None]:
    """The jobs, and whose of them the client may see; None: all."""
    context = context_of(request)
    client = await context.access.authorize(request, "synth")
    return _jobs(context), context.access.owner(client)


def _jobs(context: ApiContext) -> Jobs:
    if not context.settings.jobs.enabled:
        raise ForbiddenError(
            "jobs are switched off; switch them on with `jobs: {enabled: true}` in configs/service.yaml"
        )
    if context.jobs is None:
        raise NotSupportedError(
            "on Ray, jobs need sharing.redis_url and objects.backend; without them use a service that runs by itself, "
            "or the command sovits-service book"
        )
    return context.jobs


async def _receive(request: Request, context: ApiContext, client: str) -> NewJob:
    """The job that a request asks for, with all its fields checked."""
    settings, service = context.settings, context.service
    data, file_name, raw, cover = await _read(request, context)
    for file in filter(None, (data if file_name else b"", cover)):
        await service.voices.scan(file)
    fields = job_fields(raw)
    is_parsed = bool(file_name or fields.type)  # what is read of a text in JSON is plain Python
    is_apart = is_parsed and (settings.isolates_uploads or len(data) > _MOST_PARSED_HERE_BYTES)
    read = read_isolated if is_apart else read_document
    document = await asyncio.to_thread(
        read,
        data,
        name=file_name,
        kind=fields.type,
        encoding=fields.encoding,
        max_characters=settings.jobs.max_characters,
    )
    if cover:
        document = replace(document, cover=_checked_cover(cover))
    raw = {**raw, **await keep_inline_references(request, raw)}
    has_default = service.voices.default_reference is not None
    if not (raw.get("voice_id") or raw.get("ref_audio_path") or has_default):
        raw["voice_id"] = (await default_voice(context)).voice_id
    voices = {name: await _named_voice(service, name, line) for name, line in voice_ids(document, raw).items()}
    circumstances = Circumstances(
        service.version,
        {name: voice for name, voice in voices.items() if voice is not None},
        await upload_transcript(service, raw, client),
        has_default,
        context.access.owner(client),
        owner_of(client),
    )
    return await asyncio.to_thread(plan_job, document, fields, raw, circumstances, settings, file_name)


async def _named_voice(service: Service, voice_id: str, line: int) -> Voice | None:
    """The voice; an error says which line names it, where it is not the job itself (0)."""
    try:
        return await named_voice(service, voice_id)
    except UnknownVoiceError as error:
        raise UnknownVoiceError(f"line {line}: {error}" if line else str(error)) from None


async def _read(request: Request, context: ApiContext) -> tuple[bytes, str, Mapping[str, Any], bytes]:
    """The text as bytes, the name of its file, the fields, and the cover if one was sent."""
    settings = context.settings
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        try:
            raw = await read_fields(request)
        except UploadTooLargeError as error:
            raise UploadTooLargeError(
                f"{error}; send a longer text as a file: multipart/form-data, field file"
            ) from None
        text = raw.get("text")
        if not isinstance(text, str) or not text:
            raise InvalidRequestError("text is required: or send a file as multipart/form-data, field file")
        return text.encode("utf-8", "surrogatepass"), "", {**raw, "encoding": "utf-8"}, b""
    limits = {"file": ("file", settings.jobs.max_file_bytes), "cover": ("cover", _MAX_COVER_BYTES)}
    files, texts = await receive_form(request, limits, max_fields=_MAX_FIELDS, receive_s=settings.uploads.receive_s)
    cover = files["cover"].data if "cover" in files else b""
    if "file" in files:
        return files["file"].data, files["file"].name, texts, cover
    if not texts.get("text"):
        raise InvalidRequestError("file is required: send it as multipart/form-data, field file, or a text")
    return texts["text"].encode("utf-8", "surrogatepass"), "", {**texts, "encoding": "utf-8"}, cover


def _checked_cover(data: bytes) -> Any:
    cover = read_cover(data)
    if cover is None:
        raise InvalidRequestError("the cover must be a PNG or JPEG file")
    return cover


def _what_speaks(request: Any) -> tuple[object, ...]:
    """What has to be there for a request to be spoken: its voice and its clips."""
    return request.voice_id, request.emotion, request.ref_audio, request.aux_ref_audio, request.timbre_ref_audio


def _id(request: Request) -> str:
    return str(request.path_params["job_id"])


def _whole(request: Request, name: str, default: int, largest: int) -> int:
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdecimal()) or int(value) > largest:
        raise InvalidRequestError(f"{name} must be a whole number from 0 to {largest:,}")
    return int(value)


def _choice(request: Request, choices: tuple[Any, ...]) -> Any:
    value = request.query_params.get("format", "").lower()
    if value and value not in choices:
        raise InvalidRequestError(f"format must be one of {', '.join(choices)}")
    return value or None


def _file_name(job: Job) -> str:
    """Of a download; a title may have anything in it."""
    name = "".join(
        character if character.isprintable() and character not in '\\/:*?"<>|' else "_" for character in job.title
    )
    return name.strip(" .")[:100] or "job"
