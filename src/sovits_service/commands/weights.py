"""`sovits-service download` and `export`: published weights, and the model as ONNX graphs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sovits_service.commands.offline import load_settings, require_voices
from sovits_service.commands.parsers import Commands
from sovits_service.errors import SettingsError


def add_commands(commands: Commands) -> None:
    """Add `download` and `export`."""
    download = commands.add(
        "download", _download, "fetch the published weights of a version", has_model=False, has_service=False
    )
    download.add_argument("version", help="v1, v2, v2Pro, v2ProPlus, v3 or v4")
    download.add_argument("--mirror", metavar="URL", help="another server of the hub's protocol")
    download.add_argument("--dir", type=Path, default=Path("pretrained_models"), help="default: pretrained_models")
    download.add_argument("-c", "--config", type=Path, metavar="FILE", help="default: configs/tts_infer.yaml")
    switch = download.add_mutually_exclusive_group()
    switch.add_argument("--switch", action="store_true", default=None, help="make it the model that is served")
    switch.add_argument("--no-switch", dest="switch", action="store_false", help="do not ask")

    export = commands.add("export", _export, "write the model as ONNX graphs")
    export.add_argument("dir", type=Path, metavar="DIR", help="a new or empty folder")
    export.add_argument("--voice", action="append", default=[], help="a voice template to write along; may be repeated")
    export.add_argument("--fused", action="store_true", help="with operators that only ONNX Runtime has: faster there")
    export.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")


def _download(args: argparse.Namespace) -> int:
    from sovits_service.config_file import copy_section, nearest
    from sovits_service.storage.downloads.hub import download_version
    from sovits_service.tts_settings import DEFAULT_TTS_CONFIG, VERSIONS

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


def _export(args: argparse.Namespace) -> int:
    tts, settings = load_settings(args)
    tts.require_files()
    require_voices(set(args.voice), settings)
    from sovits_service.service.export import export_model

    written = export_model(tts, settings, args.dir, voices=args.voice, is_fused=args.fused, overwrite=args.overwrite)
    print(f"{args.dir}: {len(written)} files; README.md describes them")
    return 0
