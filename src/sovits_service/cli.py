"""The command line: one function for each command, with its heavy imports."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sovits_service import book
from sovits_service.errors import InvalidRequestError, MissingExtraError, SettingsError, SovitsError
from sovits_service.native_memory import bound_native_memory
from sovits_service.offline import load_settings, require_voices, running_service

if TYPE_CHECKING:
    from sovits_service.batch import BatchLine
    from sovits_service.service.service import SpeechService
    from sovits_service.settings import ServiceSettings, TtsSettings
    from sovits_service.types import TimedText

_COMMANDS = ("serve", "say", "book", "convert", "read", "voices", "download", "check", "export")
_EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None, *, default_command: str | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None takes the process's.
        default_command: what flags without a command mean.

    Returns:
        The exit code: 0 done, 1 failed, 2 a wrong argument, setting or request.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if default_command is not None and (not given or given[0] not in (*_COMMANDS, "-h", "--help", "--version")):
        given.insert(0, default_command)
    args = _parser().parse_args(given)
    try:
        code: int = args.run(args)
    except (SettingsError, InvalidRequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except SovitsError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sovits-service", description="Speech for GPT-SoVITS voices.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("sovits-service"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("-c", "--config", type=Path, metavar="FILE", help="default: configs/tts_infer.yaml")
    model.add_argument("--section", default="custom", help="section of that file (default: custom)")
    service = argparse.ArgumentParser(add_help=False)
    service.add_argument("--service-config", type=Path, metavar="FILE", help="default: configs/service.yaml")

    serve = commands.add_parser("serve", parents=[model, service], help="answer HTTP requests")
    serve.add_argument("-a", "--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("-p", "--port", type=int, help="port to listen on (default: 9880)")
    serve.add_argument("--insecure", action="store_true", help="without keys on an address that others reach: meant so")
    serve.add_argument("--ray", action="store_true", help="on a Ray cluster, with the replicas of configs/ray.yaml")
    serve.add_argument("--ray-config", type=Path, metavar="FILE", help="default: configs/ray.yaml")
    serve.set_defaults(run=_serve)

    say = commands.add_parser("say", parents=[model, service], help="speak a text, or a file of texts, into files")
    what = say.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", help="what to say")
    what.add_argument("--file", type=Path, metavar="LINES.jsonl", help="a line each: text, lang, voice, id")
    say.add_argument("--voice", default="female_calm", help="voice template (default: female_calm)")
    say.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    say.add_argument("--speed", type=float, help="default: 1, or the voice's own")
    say.add_argument("--seed", type=int, help="default: another one each time")
    say.add_argument("-o", "--out", type=Path, metavar="FILE", help="its ending gives the format (default: out.wav)")
    say.add_argument("--subtitles", metavar="FORMAT", help="a file of srt, vtt or lrc beside the sound of one text")
    say.add_argument("--guard", metavar="MODE", help="off, flag or retry: look for words left out or said twice")
    say.add_argument("--out-dir", type=Path, metavar="DIR", help="where the files of --file go (default: wavs)")
    say.add_argument("--format", default="wav", help="format of the files of --file (default: wav)")
    say.add_argument("--jobs", type=int, default=4, help="lines of --file in work at once (default: 4)")
    say.set_defaults(run=_say)

    book.add_command(commands, [model, service])

    convert = commands.add_parser("convert", parents=[model, service], help="say a recording in another voice")
    convert.add_argument("recording", type=Path, metavar="IN", help="an audio file of up to 60 s")
    convert.add_argument("--voice", default="female_calm", help="voice template (default: female_calm)")
    convert.add_argument("--text", default="", help="what the recording says; better with it")
    convert.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    convert.add_argument("-o", "--out", type=Path, default=Path("out.wav"), metavar="FILE", help="default: out.wav")
    convert.set_defaults(run=_convert)

    read = commands.add_parser("read", parents=[model, service], help="tell how a text is read, without speaking")
    read.add_argument("text", help="what would be said")
    read.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    read.add_argument("--emoji", action="store_true", help="say the names of emoji")
    read.add_argument("--split", default="cut5", metavar="cut0...cut5", help="where it is cut (default: cut5)")
    form = read.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="what POST /read answers")
    form.add_argument("--ids", action="store_true", help="JSON with phoneme ids, for programs with exported graphs")
    read.set_defaults(run=_read)

    voices = commands.add_parser("voices", parents=[service], help="list the voice templates")
    voices.set_defaults(run=_voices)

    download = commands.add_parser("download", help="fetch the published weights of a version")
    download.add_argument("version", help="v1, v2, v2Pro, v2ProPlus, v3 or v4")
    download.add_argument("--mirror", metavar="URL", help="another server of the hub's protocol")
    download.add_argument("--dir", type=Path, default=Path("pretrained_models"), help="default: pretrained_models")
    download.add_argument("-c", "--config", type=Path, metavar="FILE", help="default: configs/tts_infer.yaml")
    switch = download.add_mutually_exclusive_group()
    switch.add_argument("--switch", action="store_true", default=None, help="make it the model that is served")
    switch.add_argument("--no-switch", dest="switch", action="store_false", help="do not ask")
    download.set_defaults(run=_download)

    check = commands.add_parser("check", parents=[model, service], help="tell what would keep it from speaking well")
    check.add_argument("--convert", action="store_true", help="write a safetensors copy beside the weights")
    check.add_argument("--voices", action="store_true", help="load the model too, and check what the voices' clips say")
    check.set_defaults(run=_check)

    export = commands.add_parser("export", parents=[model, service], help="write the model as ONNX graphs")
    export.add_argument("dir", type=Path, metavar="DIR", help="a new or empty folder")
    export.add_argument("--voice", action="append", default=[], help="a voice template to write along; may be repeated")
    export.add_argument("--fused", action="store_true", help="with operators that only ONNX Runtime has: faster there")
    export.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")
    export.set_defaults(run=_export)
    return parser


def _serve(args: argparse.Namespace) -> int:
    bound_native_memory()
    tts, settings = load_settings(args)
    tts.require_files()
    host, port = args.host or settings.host, settings.port if args.port is None else args.port
    settings = settings.model_copy(update={"host": host, "port": port})

    if not settings.api_keys and not args.insecure and settings.is_public:
        print(
            f"warning: anyone who reaches {host} may use the service; set api_keys to prevent it, "
            "or pass --insecure to say that it is meant so",
            file=sys.stderr,
        )
    if args.ray:
        return _serve_on_ray(args.ray_config, tts, settings)

    from sovits_service.api.app import create_app
    from sovits_service.api.server import DrainingServer, listen
    from sovits_service.telemetry import configure_logging
    from sovits_service.threads import end_with_threads
    from sovits_service.tracing import open_tracer

    configure_logging(settings.log_level, settings.log_format)
    tracer = open_tracer(settings.traces_endpoint)
    with listen(host, port) as listener:
        from sovits_service.jobs.jobs import Jobs
        from sovits_service.service.service import build_service

        restart = False

        def on_control(command: str) -> None:
            nonlocal restart
            restart = command == "restart"
            server.begin_drain()

        service = build_service(tts, settings)
        jobs = Jobs(service, settings.jobs) if settings.jobs.enabled else None
        server = DrainingServer(create_app(service, settings, on_control, tracer, jobs), service, settings)
        bound_host, bound_port = listener.getsockname()[:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        print(
            f"listening on http://{shown}:{bound_port}; it speaks when /ready answers 200", file=sys.stderr, flush=True
        )
        server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    if restart:
        os.execv(sys.executable, [sys.executable, "-m", "sovits_service", *sys.argv[1:]])  # noqa: S606 - this program again, with its own arguments
    return end_with_threads(0)


def _serve_on_ray(config: Path | None, tts: TtsSettings, settings: ServiceSettings) -> int:
    from sovits_service.ray_serve.options import load_ray_options

    options = load_ray_options(config)
    try:
        from sovits_service import ray_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise MissingExtraError("serve --ray needs Ray: pip install 'sovits-service[ray]'") from None
    ray_app.run(tts, settings, options)
    return 0


def _say(args: argparse.Namespace) -> int:
    bound_native_memory()
    from sovits_service.batch import read_lines

    if args.file is None and (args.out_dir is not None or args.text is None):
        raise InvalidRequestError("--out-dir goes with --file; for one text give -o FILE")
    if args.file is not None and args.out is not None:
        raise InvalidRequestError("-o goes with one text; for --file give --out-dir DIR")
    if args.subtitles and args.file is not None:
        raise InvalidRequestError("--subtitles goes with one text, not with --file")
    if args.jobs < 1:
        raise InvalidRequestError("--jobs must be 1 or more")
    lines = read_lines(args.file) if args.file is not None else []
    media_type = args.format if args.file is not None else (args.out or Path("out.wav")).suffix.removeprefix(".")
    from sovits_service.audio.encode import require_format

    require_format(media_type)
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices({line.voice or args.voice for line in lines} or {args.voice}, settings)
    return asyncio.run(_say_file(args, tts, settings, lines) if lines or args.file else _say_text(args, tts, settings))


async def _say_text(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings) -> int:
    from sovits_service.storage.files import write_atomic

    out = args.out or Path("out.wav")
    async with running_service(tts, settings) as service:
        cues: list[TimedText] = []
        media_type = out.suffix.removeprefix(".")
        data, duration_s = await _speak(service, args, settings, media_type, args.text, cues=cues)
    write_atomic(out, data)
    if args.subtitles:
        from sovits_service.text.subtitles import write_subtitles

        form = args.subtitles.lower()
        write_atomic(out.with_suffix(f".{form}"), write_subtitles(cues, form).encode())
    print(f"{out}: {duration_s:.1f} s")
    return 0


async def _say_file(
    args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings, lines: list[BatchLine]
) -> int:
    from sovits_service.batch import speak_lines

    out_dir = args.out_dir or Path("wavs")
    async with running_service(tts, settings) as service:

        async def speak(line: BatchLine) -> bytes:
            data, _ = await _speak(service, args, settings, args.format, line.text, line.lang, line.voice)
            return data

        result = await speak_lines(lines, out_dir, f".{args.format}", speak, at_once=args.jobs)
    for name, reason in result.failed.items():
        print(f"error: {name}: {reason}", file=sys.stderr)
    print(f"{out_dir}: {result.made} made, {result.kept} were there, {len(result.failed)} failed")
    return _EXIT_FAILED if result.failed else 0


async def _speak(
    service: SpeechService,
    args: argparse.Namespace,
    settings: ServiceSettings,
    media_type: str,
    text: str,
    lang: str | None = None,
    voice_id: str | None = None,
    cues: list[TimedText] | None = None,
) -> tuple[bytes, float]:
    """The file of a text and its duration in seconds; `cues` is given the fragments with their times."""
    import numpy as np

    from sovits_service.api.schemas import check_limits, parse_tts, to_synthesis_request
    from sovits_service.audio.encode import encode_whole

    voice = await service.get_voice(voice_id or args.voice)
    fields = {"text": text, "text_lang": lang or args.lang, "voice_id": voice.voice_id}
    options = {"speed_factor": args.speed, "seed": args.seed, "subtitles": args.subtitles, "guard": args.guard}
    parsed = parse_tts({**fields, **options}, version=service.version, voice=voice)
    check_limits(parsed, settings)
    synthesis = await service.synthesize(to_synthesis_request(parsed, settings))
    chunks = [chunk async for chunk in synthesis.chunks]
    samples = np.concatenate([chunk.samples for chunk in chunks])
    if cues is not None:
        cues += [chunk.cue for chunk in chunks if chunk.cue is not None]
    data = await asyncio.to_thread(encode_whole, samples, synthesis.sample_rate_hz, media_type)
    return data, len(samples) / synthesis.sample_rate_hz


def _convert(args: argparse.Namespace) -> int:
    bound_native_memory()
    from sovits_service.audio.encode import require_format

    media_type = args.out.suffix.removeprefix(".")
    require_format(media_type)
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices({args.voice}, settings)
    return asyncio.run(_convert_file(args, tts, settings, media_type))


async def _convert_file(args: argparse.Namespace, tts: TtsSettings, settings: ServiceSettings, media_type: str) -> int:
    import numpy as np

    from sovits_service.audio.encode import encode_whole
    from sovits_service.storage.clip import read_clip
    from sovits_service.storage.files import write_atomic
    from sovits_service.types import SynthesisRequest

    data = read_clip(args.recording, settings.max_upload_bytes).data
    async with running_service(tts, settings) as service:
        voice = await service.get_voice(args.voice)
        request = SynthesisRequest(
            text=args.text,
            text_lang=args.lang,
            voice_id=voice.voice_id,
            prompt_text=voice.prompt_text,
            prompt_lang=voice.prompt_lang,
            source=await service.decode_source(data),
        )
        synthesis = await service.synthesize(request)
        samples = np.concatenate([chunk.samples async for chunk in synthesis.chunks])
        encoded = await asyncio.to_thread(encode_whole, samples, synthesis.sample_rate_hz, media_type)
    write_atomic(args.out, encoded)
    print(f"{args.out}: {len(samples) / synthesis.sample_rate_hz:.1f} s")
    return 0


def _read(args: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from sovits_service.text.explain import as_ids, as_lines, explain
    from sovits_service.text.frontend import Frontend
    from sovits_service.text.lexicon_file import LexiconFile
    from sovits_service.types import DEFAULT_PAUSE_S, SPLIT_METHODS

    if args.split not in SPLIT_METHODS:
        raise InvalidRequestError(f"there is no split method {args.split!r}; it can be {', '.join(SPLIT_METHODS)}")
    tts, settings = load_settings(args)
    symbols: Literal["v1", "v2"] = "v1" if tts.version == "v1" else "v2"
    frontend = Frontend(lexicon=LexiconFile(settings.lexicon_path).lexicon, g2pw_dir=tts.g2pw_dir)
    segments = frontend.segments(args.text, args.lang, symbols, args.split, read_emoji=args.emoji)
    if args.ids:
        print(json.dumps(as_ids(segments, DEFAULT_PAUSE_S), ensure_ascii=False))
        return 0
    reading = explain(args.text, segments, symbols)
    print(json.dumps(asdict(reading), ensure_ascii=False) if args.json else "\n".join(as_lines(reading)))
    return 0


def _voices(args: argparse.Namespace) -> int:
    from sovits_service.settings import load_service_settings
    from sovits_service.storage.stores import open_voices

    settings = load_service_settings(args.service_config)
    voices = open_voices(settings).list()
    if not voices:
        print(f"no voice templates in {', '.join(map(str, settings.all_voices_roots))}; see docs/voices.md")
        return 0
    width = max(len(voice.voice_id) for voice in voices)
    for voice in voices:
        print(f"{voice.voice_id:<{width}}  {voice.prompt_lang or '-':<4}  {voice.description}".rstrip())
    return 0


def _download(args: argparse.Namespace) -> int:
    from sovits_service.config_file import copy_section, nearest
    from sovits_service.settings import DEFAULT_TTS_CONFIG, VERSIONS
    from sovits_service.storage.hub import download_version

    if args.version not in VERSIONS:
        raise SettingsError(f"there is no version {args.version!r}{nearest(args.version, VERSIONS)}")
    fetched = download_version(args.version, args.dir, mirror=args.mirror)
    print(f"{args.version}: {len(fetched)} files fetched into {args.dir}" if fetched else f"{args.version} is complete")
    config = args.config or DEFAULT_TTS_CONFIG
    switch = args.switch
    if switch is None and sys.stdin.isatty():
        answer = input(f"make {args.version} the model that is served (section custom of {config})? [Y/n] ")
        switch = answer.strip().lower() in ("", "y", "yes")
    if switch:
        print(f"{copy_section(config, args.version, 'custom')}: custom is {args.version} now")
    else:
        print(f"serve it with: sovits-service serve --section {args.version}")
    return 0


def _check(args: argparse.Namespace) -> int:
    tts, settings = load_settings(args)
    from sovits_service.service.diagnostics import convert_weights, examine

    findings = examine(tts, settings)
    for finding in findings:
        print(f"{finding.level:<4}  {finding.subject}: {finding.detail}")
        if finding.advice:
            print(f"      -> {finding.advice}")
    if args.convert:
        tts.require_files()
        for path in convert_weights(tts):
            print(f"ok    written: {path}")
    failures = sum(finding.level == "FAIL" for finding in findings)
    if args.voices and not failures:
        failures += asyncio.run(_check_voices(tts, settings))
    print(f"{failures} problem{'s' * (failures != 1)} found" if failures else "ready to speak")
    return _EXIT_FAILED if failures else 0


async def _check_voices(tts: TtsSettings, settings: ServiceSettings) -> int:
    """Print what would spoil the speech with each voice, and with each of its emotions; returns how many errors."""
    errors = 0
    async with running_service(tts, settings) as service:
        for voice in await service.list_voices():
            for emotion in ("", *voice.emotions):
                name = f"voice {voice.voice_id}" + (f", {emotion}" if emotion else "")
                try:
                    report = await service.check_voice(voice.voice_id, emotion)
                except SovitsError as error:
                    print(f"warn  {name}: {error}")
                    continue
                for finding in report.findings:
                    errors += finding.severity == "error"
                    print(f"{'FAIL' if finding.severity == 'error' else 'warn'}  {name}: {finding.message}")
                for code, reason in report.not_checked.items():
                    print(f"warn  {name}: {code} is not checked: {reason}")
                if not report.findings and not report.not_checked:
                    print(f"ok    {name}: one voice, and it says its transcript")
    return errors


def _export(args: argparse.Namespace) -> int:
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices(set(args.voice), settings)
    from sovits_service.service.export import export_model

    written = export_model(tts, settings, args.dir, voices=args.voice, is_fused=args.fused, overwrite=args.overwrite)
    print(f"{args.dir}: {len(written)} files; README.md tells what they are")
    return 0
