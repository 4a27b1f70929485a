"""The command line: parses arguments, runs one command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from sovits_service.commands import book, reports, say, serve, weights
from sovits_service.commands.offline import EXIT_FAILED
from sovits_service.commands.parsers import Commands
from sovits_service.errors import InvalidRequestError, SettingsError, SovitsError

_COMMANDS = ("serve", "say", "book", "convert", "read", "voices", "download", "check", "export")
_RESUMED = ("book", "download")
_EXIT_USAGE, _EXIT_INTERRUPTED = 2, 130


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
    args = make_parser().parse_args(given)
    try:
        code: int = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()  # what fails here would end in a traceback when the interpreter does it
    except (SettingsError, InvalidRequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except SovitsError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        can_resume = args.command in _RESUMED or getattr(args, "file", None) is not None
        print(f"interrupted{'; run the same command again to continue' if can_resume else ''}", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _discard_output()
        print(f"error: standard output could not be written: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    return code


def _discard_output() -> None:
    """Send what standard output still holds nowhere, so that the interpreter does not fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of what it gives is the command."""
    parser = argparse.ArgumentParser(prog="sovits-service", description="Speech for GPT-SoVITS voices.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("sovits-service"))
    commands = Commands(parser)
    for group in (serve, say, book, reports, weights):
        group.add_commands(commands)
    return parser


if __name__ == "__main__":  # `python -m sovits_service.cli`, which would otherwise do nothing
    sys.exit(main())
