"""`sovits-service read`, `voices` and `check`: what a text, the voices and the configuration are, without a server."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Literal

from sovits_service.commands.offline import EXIT_FAILED, load_settings, running_service
from sovits_service.commands.parsers import Commands
from sovits_service.errors import InvalidRequestError, SovitsError

if TYPE_CHECKING:
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import TtsSettings


def add_commands(commands: Commands) -> None:
    """Add `read`, `voices` and `check`."""
    read = commands.add("read", _read, "show how a text is read, without speaking")
    read.add_argument("text", help="what would be said")
    read.add_argument("--lang", default="auto", help="language of the text (default: auto)")
    read.add_argument("--emoji", action="store_true", help="say the names of emoji")
    read.add_argument("--split", default="cut5", metavar="cut0...cut5", help="where it is cut (default: cut5)")
    form = read.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="what POST /read answers")
    form.add_argument("--ids", action="store_true", help="JSON with phoneme ids, for programs with exported graphs")

    commands.add("voices", _voices, "list the voice templates", has_model=False)

    check = commands.add("check", _check, "report configuration problems")
    check.add_argument("--convert", action="store_true", help="write a safetensors copy beside the weights")
    check.add_argument("--voices", action="store_true", help="load the model too, and check what the voices' clips say")


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
    return EXIT_FAILED if failures else 0


async def _check_voices(tts: TtsSettings, settings: ServiceSettings) -> int:
    """Print what would spoil the speech with each voice, and with each of its emotions; returns how many errors."""
    errors = 0
    async with running_service(tts, settings) as service:
        for voice in await service.voices.all():
            for emotion in ("", *voice.emotions):
                name = f"voice {voice.voice_id}" + (f", {emotion}" if emotion else "")
                try:
                    report = await service.voices.check(voice.voice_id, emotion)
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
