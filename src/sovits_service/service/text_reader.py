"""Read the texts of requests, with the lexicon as it is now, and refuse those that are too long."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sovits_service.errors import InvalidRequestError, SovitsError
from sovits_service.models.sovits.spec import VersionSpec
from sovits_service.settings import ServiceSettings
from sovits_service.text.explain import Explanation, explain
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon import Lexicon
from sovits_service.text.lexicon_file import LexiconFile
from sovits_service.threads import run_in
from sovits_service.types import Segment, SplitMethod, SymbolSet, SynthesisRequest

_TEXT_THREADS = 2  # they share the interpreter lock: more would not read faster, one would let a long text stop all


class TextReader:
    """Texts to segments, beside the event loop.

    Args:
        frontend: with the lexicon of `lexicon_file`.
        lexicon_file: the users' pronunciation dictionary.
        settings: how long texts and transcripts may be.

    Attributes:
        lexicon_hash: of the lexicon that later requests are read with.
    """

    def __init__(self, frontend: Frontend, lexicon_file: LexiconFile, settings: ServiceSettings) -> None:
        self.frontend = frontend
        self.lexicon_file = lexicon_file
        self.lexicon_hash = lexicon_file.lexicon.digest()
        self._settings = settings
        # Apart from asyncio's own pool, which has the short work on files: long texts do not stop that.
        self._pool = ThreadPoolExecutor(_TEXT_THREADS, "sovits-text")

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def use_lexicon(self, lexicon: Lexicon) -> None:
        """Read later requests with another lexicon."""
        # Both at once as seen from the event loop, where answers get their place in the cache.
        self.frontend.use_lexicon(lexicon)
        self.lexicon_hash = lexicon.digest()

    async def warm_up(self, text: str) -> None:
        """Load the dictionaries that a Chinese text needs."""
        with contextlib.suppress(SovitsError):  # told when the text is spoken
            await run_in(self._pool, partial(self.frontend.segments, text, "zh", "v2", "cut5"))

    async def read(self, request: SynthesisRequest, spec: VersionSpec) -> tuple[Segment | None, list[Segment]]:
        """The transcript of a request's reference, if it has one, and the fragments of its text.

        Raises:
            InvalidRequestError: one of them is too long, has nothing to read, or its language is not known.
        """
        return await run_in(self._pool, partial(self.read_here, request, spec))

    async def explain(
        self, text: str, language: str, symbols: SymbolSet, split: SplitMethod, *, read_emoji: bool
    ) -> Explanation:
        """What would be said of a text; raises as `read`."""
        self._check_text_length(text)
        read = partial(self.frontend.segments, text, language, symbols, split, read_emoji=read_emoji)
        return explain(text, await run_in(self._pool, read), symbols)

    async def check_transcript(self, text: str, language: str, symbols: SymbolSet) -> None:
        """Raise an InvalidRequestError for a transcript that no synthesis could use."""
        self.check_transcript_length(text)
        await run_in(self._pool, partial(self.frontend.transcript, text, language, symbols))

    def check_transcript_length(self, text: str) -> None:
        """Raise an InvalidRequestError for a transcript that is too long."""
        limit = self._settings.max_prompt_characters
        if len(text) > limit:
            raise InvalidRequestError(f"prompt_text has {len(text):,} characters; at most {limit:,} are accepted")

    def _check_text_length(self, text: str) -> None:
        limit = self._settings.max_text_characters
        if len(text) > limit:
            raise InvalidRequestError(f"text has {len(text)} characters; send at most {limit} at a time")

    def read_here(
        self, request: SynthesisRequest, spec: VersionSpec, *, between: Callable[[], None] = lambda: None
    ) -> tuple[Segment | None, list[Segment]]:
        """As `read`, in the thread of the caller.

        Args:
            between: called before each fragment.
        """
        self._check_text_length(request.text)
        self.check_transcript_length(request.prompt_text)
        symbols = spec.symbols
        if request.source is not None:
            segments = [self._read_source(request, symbols)]
        elif spec.flow_matching is not None and not request.prompt_text:
            raise InvalidRequestError(f"prompt_text is required with {spec.version}: say what the reference says")
        else:
            segments = self.frontend.segments(
                request.text,
                request.text_lang,
                symbols,
                request.split_method,
                read_emoji=request.read_emoji,
                between=between,
            )
        prompt = None
        if request.prompt_text:
            prompt = self.frontend.transcript(request.prompt_text, request.prompt_lang, symbols)
        return prompt, segments

    def _read_source(self, request: SynthesisRequest, symbols: SymbolSet) -> Segment:
        """What a recording says, as one segment; without a phoneme where nobody told."""
        if not request.text:
            return Segment(())
        return self.frontend.transcript(request.text, request.text_lang, symbols, field="text")
