"""`sovits-service book`: a long text to an audio book, without a server; a run can be interrupted and resumed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sovits_service.commands.offline import (
    EXIT_FAILED,
    STANDARD,
    load_settings,
    read_input,
    require_voices,
    require_writable,
    running_service,
)
from sovits_service.commands.parsers import Commands
from sovits_service.errors import InvalidRequestError
from sovits_service.native_memory import bound_native_memory

if TYPE_CHECKING:
    from sovits_service.deadline import Deadline
    from sovits_service.jobs.jobs import Jobs
    from sovits_service.jobs.model import Job, NewJob
    from sovits_service.service.service import SpeechService
    from sovits_service.setting_sections import JobSettings
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import TtsSettings
    from sovits_service.types import Synthesis, SynthesisRequest

T = TypeVar("T")
_KEY = "book.json"  # what the parts are of
_SHOWN_FAILURES = 10
# What an option of the command is called in a request.
_OPTIONS = {
    "voice": "voice_id",
    "lang": "text_lang",
    "speed": "speed_factor",
    "seed": "seed",
    "type": "type",
    "encoding": "encoding",
    "title": "title",
    "author": "author",
    "subtitles": "subtitles",
}


def add_commands(commands: Commands) -> None:
    """Add `book`."""
    book = commands.add("book", _run, "speak a book, or any long text, into a file")
    book.add_argument(
        "text",
        type=Path,
        metavar="FILE",
        help="txt, md, html, epub, srt, vtt or jsonl; - is standard input, a txt unless --type says otherwise",
    )
    book.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="m4b, mp3, opus, wav, or zip with a file a line"
    )
    book.add_argument("--voice", default="female_calm", help="voice template (default: female_calm)")
    book.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    book.add_argument("--speed", type=float, help="default: 1, or the voice's own")
    book.add_argument("--seed", type=int, help="default: another one for each fragment")
    book.add_argument("--type", help="of the file (default: its ending)")
    book.add_argument("--encoding", help="of a text that is not UTF-8: gb18030, shift_jis, ...")
    book.add_argument("--title", help="default: the book's, or the file's name")
    book.add_argument("--author", help="default: the book's")
    book.add_argument("--cover", type=Path, metavar="FILE", help="PNG or JPEG (default: the book's)")
    book.add_argument("--subtitles", metavar="FORMAT", help="a file of srt, vtt or lrc beside the sound")
    book.add_argument("--jobs", type=int, default=4, help="fragments in work at once (default: 4)")


def _run(args: argparse.Namespace) -> int:
    bound_native_memory()
    from sovits_service.jobs.model import JOB_FORMATS

    if args.out.suffix.removeprefix(".").lower() not in JOB_FORMATS:
        raise InvalidRequestError(f"-o needs a file that ends in one of: {', '.join(JOB_FORMATS)}")
    require_writable(args.out)
    if not 1 <= args.jobs <= 64:
        raise InvalidRequestError("--jobs must be from 1 to 64")
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices({args.voice}, settings)
    new, key = _plan(args, tts, settings)
    parts = args.out.with_name(f"{args.out.name}.parts")
    _claim_parts(parts, key)
    return asyncio.run(_make(args, tts, settings, new, parts))


def _plan(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings) -> tuple[NewJob, str]:
    """The job, checked before a model is loaded, and what tells it from others."""
    from dataclasses import replace

    from sovits_service.api.job_plan import Circumstances, job_fields, plan_job
    from sovits_service.jobs.document import read_cover
    from sovits_service.jobs.reading.read import read_document
    from sovits_service.storage.stores import open_voices

    options = {name: getattr(args, option) for option, name in _OPTIONS.items() if getattr(args, option) is not None}
    raw: dict[str, Any] = {**options, "format": args.out.suffix.removeprefix(".").lower()}
    data = read_input(args.text)
    fields = job_fields(raw)
    name = "" if args.text == STANDARD else args.text.name
    document = read_document(data, name=name, kind=fields.type, encoding=fields.encoding)
    picture = b""
    if args.cover is not None:
        picture = read_input(args.cover)
        document = replace(document, cover=read_cover(picture))
        if document.cover is None:
            raise InvalidRequestError(f"{args.cover}: is neither a PNG nor a JPEG file")
    voices = {voice.voice_id: voice for voice in open_voices(settings).list()}
    named = {line.fields.get("voice_id") for chapter in document.chapters for line in chapter.lines}
    require_voices({name for name in named if isinstance(name, str) and name}, settings)
    new = plan_job(document, fields, raw, Circumstances(tts.version, voices), settings, name)
    digest = hashlib.sha256(data + picture).hexdigest()
    return new, json.dumps({"text": digest, **raw}, sort_keys=True, ensure_ascii=False)


def _claim_parts(parts: Path, key: str) -> None:
    """Make the folder of the parts; one that is there must be of the same text and options."""
    file = parts / _KEY
    if file.exists() and file.read_text(encoding="utf-8") != key:
        raise InvalidRequestError(
            f"{parts} belongs to another text or other options: delete it to start over, or name another file with -o"
        )
    parts.mkdir(parents=True, exist_ok=True)
    file.write_text(key, encoding="utf-8")


def _job_settings(args: argparse.Namespace, settings: ServiceSettings, parts: Path) -> JobSettings:
    """Without bounds: the user's own disk and time."""
    unbounded = {"max_bytes": 2**62, "ttl_s": 1e9}
    return settings.jobs.model_copy(update={"dir": parts, "at_once": args.jobs, **unbounded})


class _Foreground:
    """The service with nobody beside the book to give way to."""

    def __init__(self, service: SpeechService) -> None:
        self._service = service

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        return await self._service.synthesize(request, deadline)

    @property
    def is_awaited(self) -> bool:
        return False

    async def in_background(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


async def _make(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings, new: NewJob, parts: Path) -> int:
    from sovits_service.jobs.jobs import Jobs

    async with running_service(tts, settings) as service:
        jobs = Jobs(_Foreground(service), _job_settings(args, settings, parts))
        try:
            await jobs.open()
            known = await jobs.all(None)
            job = known[0] if known else await jobs.submit(new)
            if job.state == "failed":
                job = await jobs.resume(job.id, None)
            job = await _follow(jobs, job)
            if job.state == "failed":
                print(f"error: {job.message}; run the same command again to continue", file=sys.stderr)
                return EXIT_FAILED
            await _hand_over(args, jobs, job)
            failures = [(f.number, f.message) for f in await jobs.fragments(job) if f.state == "failed"]
        finally:
            await jobs.stop()
    shutil.rmtree(parts)
    for number, message in failures[:_SHOWN_FAILURES]:
        print(f"error: fragment {number + 1}: {message}", file=sys.stderr)
    misfits = f", {job.misfits} lines are longer than their slot" if job.misfits else ""
    print(f"{args.out}: {job.duration_s:.1f} s of speech, {job.done} fragments, {job.failed} left out{misfits}")
    return EXIT_FAILED if failures else 0


async def _follow(jobs: Jobs, job: Job) -> Job:
    """Show how far it is until it is over."""
    from tqdm import tqdm

    with tqdm(total=job.characters, initial=job.characters_done, unit="character") as progress:
        async with contextlib.aclosing(jobs.watch(job.id, None)) as seen:
            async for now in seen:
                if now is not None:
                    progress.update(now.characters_done - progress.n)
                    job = now
    return job


async def _hand_over(args: argparse.Namespace, jobs: Jobs, job: Job) -> None:
    from sovits_service.storage.files import write_atomic

    file, _ = await jobs.audio(job.id, None)
    await asyncio.to_thread(shutil.move, file, args.out)
    if job.subtitles:
        text, form = await jobs.subtitles(job.id, None)
        await asyncio.to_thread(write_atomic, args.out.with_suffix(f".{form}"), text.encode())
