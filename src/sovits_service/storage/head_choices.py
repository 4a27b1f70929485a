"""Alignment heads by the hash of a GPT's weights, in a JSON file that processes may share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import structlog

from sovits_service.errors import StorageError
from sovits_service.storage.files import write_atomic

log = structlog.get_logger(__name__)
_MOST_WEIGHTS = 256

Heads = Sequence[tuple[int, int]]


class HeadChoices:
    """Heads as (layer, index) pairs. A file that is damaged or cannot be written costs the memory, nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, weights_hash: str) -> list[tuple[int, int]]:
        """None in the list: none were chosen."""
        return self._read().get(weights_hash, [])

    def remember(self, weights_hash: str, heads: Heads) -> None:
        """Keep a choice; the oldest of very many leave."""
        choices = {key: kept for key, kept in self._read().items() if key != weights_hash}
        choices[weights_hash] = [(int(layer), int(index)) for layer, index in heads]
        latest = dict(list(choices.items())[-_MOST_WEIGHTS:])
        try:
            write_atomic(self._path, json.dumps(latest).encode())
        except StorageError as error:
            log.warning("alignment_heads_not_kept", reason=type(error).__name__)

    def _read(self) -> dict[str, list[tuple[int, int]]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): [(int(layer), int(index)) for layer, index in heads] for key, heads in entries.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # none yet, or a damaged one
