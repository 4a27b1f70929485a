"""The parsers of the commands, and the options that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


class Commands:
    """The commands of a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        self._model = argparse.ArgumentParser(add_help=False)
        self._model.add_argument("-c", "--config", type=Path, metavar="FILE", help="default: configs/tts_infer.yaml")
        self._model.add_argument("--section", default="custom", help="section of that file (default: custom)")
        self._service = argparse.ArgumentParser(add_help=False)
        self._service.add_argument("--service-config", type=Path, metavar="FILE", help="default: configs/service.yaml")

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        help_text: str,
        *,
        has_model: bool = True,
        has_service: bool = True,
    ) -> argparse.ArgumentParser:
        """Add a command; returns its parser, for its own options.

        Args:
            run: does it; returns the exit code.
            help_text: one line.
            has_model, has_service: whether it has the options that name the model's and the service's settings.
        """
        parents = [self._model] * has_model + [self._service] * has_service
        command = self._commands.add_parser(name, parents=parents, help=help_text)
        command.set_defaults(run=run)
        return command
