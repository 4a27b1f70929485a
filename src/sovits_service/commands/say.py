"""`sovits-service say` and `convert`: a text, a file of texts or a recording spoken into files, without a server."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sovits_service.commands.offline import (
    EXIT_FAILED,
    STANDARD,
    load_settings,
    read_input_text,
    require_voices,
    require_writable,
    running_service,
    write_output,
)
from sovits_service.commands.parsers import Commands
from sovits_service.errors import InvalidRequestError
from sovits_service.native_memory import bound_native_memory

if TYPE_CHECKING:
    from sovits_service.commands.batch import BatchLine
    from sovits_service.service.service import SpeechService
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import TtsSettings
    from sovits_service.types import TimedText


def add_commands(commands: Commands) -> None:
    """Add `say` and `convert`."""
    say = commands.add("say", _say, "speak a text, or a file of texts, into files")
    what = say.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", help="what to say; - reads it from standard input")
    what.add_argument(
        "--file",
        type=Path,
        metavar="LINES.jsonl",
        help="one JSON object per line: text, lang, voice, id; - reads standard input",
    )
    say.add_argument("--voice", default="female_calm", help="voice template (default: female_calm)")
    say.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    say.add_argument("--speed", type=float, help="default: 1, or the voice's own")
    say.add_argument("--seed", type=int, help="default: another one each time")
    say.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="its ending gives the format (default: out.wav); - is standard output",
    )
    say.add_argument("--subtitles", metavar="FORMAT", help="a file of srt, vtt or lrc beside the sound of one text")
    say.add_argument("--guard", metavar="MODE", help="off, flag or retry: look for words left out or said twice")
    say.add_argument("--out-dir", type=Path, metavar="DIR", help="where the files of --file go (default: wavs)")
    say.add_argument("--format", default="wav", help="of the files of --file, or of -o - (default: wav)")
    say.add_argument("--jobs", type=int, default=4, help="lines of --file in work at once (default: 4)")

    convert = commands.add("convert", _convert, "say a recording in another voice")
    convert.add_argument("recording", type=Path, metavar="IN", help="an audio file of up to 60 s")
    convert.add_argument("--voice", default="female_calm", help="voice template (default: female_calm)")
    convert.add_argument("--text", default="", help="what the recording says; better with it")
    convert.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    convert.add_argument("-o", "--out", type=Path, default=Path("out.wav"), metavar="FILE", help="default: out.wav")


def _say(args: argparse.Namespace) -> int:
    bound_native_memory()
    from sovits_service.commands.batch import read_lines

    if args.file is None and (args.out_dir is not None or args.text is None):
        raise InvalidRequestError("--out-dir goes with --file; for one text give -o FILE")
    if args.file is not None and args.out is not None:
        raise InvalidRequestError("-o goes with one text; for --file give --out-dir DIR")
    if args.subtitles and args.file is not None:
        raise InvalidRequestError("--subtitles goes with one text, not with --file")
    if args.jobs < 1:
        raise InvalidRequestError("--jobs must be 1 or more")
    if args.subtitles and args.out == STANDARD:
        raise InvalidRequestError("--subtitles needs a file to be beside: give -o FILE")
    lines = read_lines(args.file) if args.file is not None else []
    if args.text == str(STANDARD):
        args.text = read_input_text(STANDARD)
    from sovits_service.audio.encode import file_format

    args.out = args.out or Path("out.wav")
    args.out_dir = args.out_dir or Path("wavs")
    is_named = args.file is None and args.out != STANDARD
    args.format = file_format(args.out.suffix if is_named else args.format)
    if args.out != STANDARD:
        require_writable(args.out if args.file is None else args.out_dir / "file")
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices({line.voice or args.voice for line in lines} or {args.voice}, settings)
    return asyncio.run(_say_file(args, tts, settings, lines) if lines or args.file else _say_text(args, tts, settings))


async def _say_text(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings) -> int:
    async with running_service(tts, settings) as service:
        cues: list[TimedText] = []
        data, duration_s = await _speak(service, args, settings, args.text, cues=cues)
    write_output(args.out, data)
    if args.subtitles:
        from sovits_service.text.subtitles import write_subtitles

        form = args.subtitles.lower()
        write_output(args.out.with_suffix(f".{form}"), write_subtitles(cues, form).encode())
    print(f"{args.out}: {duration_s:.1f} s", file=sys.stderr if args.out == STANDARD else sys.stdout)
    return 0


async def _say_file(
    args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings, lines: list[BatchLine]
) -> int:
    from sovits_service.commands.batch import speak_lines

    async with running_service(tts, settings) as service:

        async def speak(line: BatchLine) -> bytes:
            data, _ = await _speak(service, args, settings, line.text, line.lang, line.voice)
            return data

        result = await speak_lines(lines, args.out_dir, f".{args.format}", speak, at_once=args.jobs)
    for name, reason in result.failed.items():
        print(f"error: {name}: {reason}", file=sys.stderr)
    print(f"{args.out_dir}: {result.made} made, {result.kept} were there, {len(result.failed)} failed")
    return EXIT_FAILED if result.failed else 0


async def _speak(
    service: SpeechService,
    args: argparse.Namespace,
    settings: ServiceSettings,
    text: str,
    lang: str | None = None,
    voice_id: str | None = None,
    cues: list[TimedText] | None = None,
) -> tuple[bytes, float]:
    """The file of a text and its duration in seconds; `cues` is given the fragments with their times."""
    import numpy as np

    from sovits_service.api.schemas import check_limits, parse_tts, to_synthesis_request
    from sovits_service.audio.encode import encode_whole

    voice = await service.voices.get(voice_id or args.voice)
    fields = {"text": text, "text_lang": lang or args.lang, "voice_id": voice.voice_id}
    options = {"speed_factor": args.speed, "seed": args.seed, "subtitles": args.subtitles, "guard": args.guard}
    parsed = parse_tts({**fields, **options}, version=service.version, voice=voice)
    check_limits(parsed, settings)
    synthesis = await service.synthesize(to_synthesis_request(parsed, settings))
    chunks = [chunk async for chunk in synthesis.chunks]
    samples = np.concatenate([chunk.samples for chunk in chunks])
    if cues is not None:
        cues += [chunk.cue for chunk in chunks if chunk.cue is not None]
    data = await asyncio.to_thread(encode_whole, samples, synthesis.sample_rate_hz, args.format)
    return data, len(samples) / synthesis.sample_rate_hz


def _convert(args: argparse.Namespace) -> int:
    bound_native_memory()
    from sovits_service.audio.encode import file_format

    media_type = file_format(args.out.suffix)
    require_writable(args.out)
    if not args.recording.is_file():
        raise InvalidRequestError(f"{args.recording}: there is no such file")
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices({args.voice}, settings)
    return asyncio.run(_convert_file(args, tts, settings, media_type))


async def _convert_file(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings, media_type: str) -> int:
    import numpy as np

    from sovits_service.audio.encode import encode_whole
    from sovits_service.storage.voices.clip import read_clip
    from sovits_service.types import SynthesisRequest

    data = read_clip(args.recording, settings.max_upload_bytes).data
    async with running_service(tts, settings) as service:
        voice = await service.voices.get(args.voice)
        request = SynthesisRequest(
            text=args.text,
            text_lang=args.lang,
            voice_id=voice.voice_id,
            prompt_text=voice.prompt_text,
            prompt_lang=voice.prompt_lang,
            source=await service.voices.decode_source(data),
        )
        synthesis = await service.synthesize(request)
        samples = np.concatenate([chunk.samples async for chunk in synthesis.chunks])
        encoded = await asyncio.to_thread(encode_whole, samples, synthesis.sample_rate_hz, media_type)
    write_output(args.out, encoded)
    print(f"{args.out}: {len(samples) / synthesis.sample_rate_hz:.1f} s")
    return 0
