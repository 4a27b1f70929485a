"""Switch weights, the default reference and the lexicon on this replica and, within seconds, on all others."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from sovits_service.errors import InvalidRequestError, SovitsError, StorageError
from sovits_service.service.model_store import ModelStore
from sovits_service.service.text_reader import TextReader
from sovits_service.service.voice_library import VoiceLibrary
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.threads import run_in

if TYPE_CHECKING:
    from sovits_service.storage.replicas.replicas import Replicas  # its client is an extra

log = structlog.get_logger(__name__)

_WEIGHTS = ("gpt", "sovits")


class Switches:
    """Changes what later requests are spoken with. A request that has begun keeps what it began with.

    Args:
        replicas: with whom changes are shared; None keeps them here. Replicas of one configuration agree; those of
            another begin with their own.
    """

    def __init__(
        self,
        models: ModelStore,
        library: VoiceLibrary,
        texts: TextReader,
        replicas: Replicas | None,
    ) -> None:
        self._models = models
        self._library = library
        self._texts = texts
        self._state = self._words = None
        if replicas is not None:
            self._state = replicas.state(models.configuration_hash)
            # By what the file said when the process began: a new file, which is rolled out, is not undone.
            self._words = replicas.state(f"lexicon:{texts.lexicon_hash}")
        self._taken: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    async def weights(self, *, gpt: str | None = None, sovits: str | None = None) -> None:
        """Take other weights.

        Raises:
            InvalidRequestError: a name is not registered.
            CheckpointError: a file cannot be used; the current model stays.
            StorageError: other replicas do not know of it; the client should try again.
        """
        names = {what: name for what, name in (("gpt", gpt), ("sovits", sovits)) if name}
        for name in names.values():
            self._models.require_registered(name)
        if self._state is not None:  # so that the others load them while this one does
            await self._publish({"coming": json.dumps([gpt or "", sovits or "", secrets.token_hex(4)])})
        await run_in(self._models.pool, lambda: self._models.switch(gpt, sovits))
        await self._publish(names)

    async def default_reference(self, path: str, details: UploadDetails | None = None) -> None:
        """Take another reference for requests that name none. Raises InvalidRequestError and StorageError."""
        details = details or UploadDetails()
        await self._library.set_default_reference(path, details)
        await self._publish({"reference": json.dumps([path, details.dump().decode()])})

    async def refresh_lexicon(self) -> None:
        """Reload the lexicon when its file has changed; an unusable file is logged."""
        file = self._texts.lexicon_file
        if not await run_in(self._models.pool, file.refresh):
            return
        self._texts.use_lexicon(file.lexicon)
        if self._words is not None:
            self._taken["text"] = file.text
            await self._words.write({"text": file.text})

    async def follow(self) -> None:
        """Take over what other replicas have changed. To be called every second; where Redis is silent, all stays."""
        if self._state is None:
            return
        try:
            state = dict(await self._state.read())
            if self._words is not None:
                state |= await self._words.read()
        except StorageError:
            return  # told by the link
        changed = {name: value for name, value in state.items() if value != self._taken.get(name)}
        weights = {name: changed[name] for name in _WEIGHTS if name in changed}
        if weights:
            await self._take(weights, lambda: self._models.switch(weights.get("gpt"), weights.get("sovits")))
        elif len(coming := _texts(changed.get("coming"))) >= 2:
            await self._take({"coming": changed["coming"]}, lambda: self._models.pair(*coming[:2]))
        if len(reference := _texts(changed.get("reference"))) == 2:
            path, details = reference
            await self._take_reference(changed["reference"], path, UploadDetails.load(details.encode(errors="replace")))
        if "text" in changed:
            self._taken["text"] = changed["text"]
            if self._texts.lexicon_file.take(changed["text"]):
                self._texts.use_lexicon(self._texts.lexicon_file.lexicon)

    async def _publish(self, values: Mapping[str, str]) -> None:
        self._taken.update(values)
        if self._state is not None:
            await self._state.write(values)

    async def _take(self, values: Mapping[str, str], change: Callable[[], object]) -> None:
        try:
            await run_in(self._models.pool, change)
        except InvalidRequestError as error:  # the file may be on its way to this machine
            self._refuse(values, error)
        except SovitsError as error:
            self._refuse(values, error)
            self._taken.update(values)
        else:
            self._taken.update(values)

    async def _take_reference(self, value: str, path: str, details: UploadDetails) -> None:
        try:
            await self._library.set_default_reference(path, details)
        except (InvalidRequestError, StorageError) as error:
            self._refuse({"reference": value}, error)
        else:
            self._taken["reference"] = value

    def _refuse(self, values: Mapping[str, str], error: SovitsError) -> None:
        """Tell once what another replica took and this one cannot."""
        for name, value in values.items():
            if self._refused.get(name) != value:
                self._refused[name] = value
                log.error("switch_not_taken", what=name, reason=str(error))


def _texts(value: str | None) -> list[str]:
    """The list of texts that a value stands for; empty for a value of another version, which this one cannot read."""
    try:
        parsed = json.loads(value or "[]")
    except (ValueError, RecursionError):
        return []
    return parsed if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed) else []
