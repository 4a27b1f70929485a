"""Types that cross layers: frozen values that text, audio, engine and service hand to each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

ModelVersion = Literal["v1", "v2", "v2Pro", "v2ProPlus", "v3", "v4"]
SymbolSet = Literal["v1", "v2"]  # v1 models know 322 phonemes, all later ones 732
SplitMethod = Literal["cut0", "cut1", "cut2", "cut3", "cut4", "cut5"]
SPLIT_METHODS: tuple[SplitMethod, ...] = get_args(SplitMethod)
Timestamps = Literal["none", "word", "char", "phoneme"]
TIMESTAMPS: tuple[Timestamps, ...] = get_args(Timestamps)
GuardMode = Literal["off", "flag", "retry"]
GUARD_MODES: tuple[GuardMode, ...] = get_args(GuardMode)
FaultKind = Literal["missing", "repeated", "leak", "loop", "too_long", "too_short", "noise", "silence", "clipping"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
FloatArray = npt.NDArray[np.float32]

SEMANTIC_TOKENS_PER_SECOND = 25
DEFAULT_PAUSE_S = 0.3  # between two fragments
_NO_DEFAULTS: Mapping[str, object] = MappingProxyType({})
_NO_EMOTIONS: Mapping[str, Emotion] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LanguageRun:
    """A stretch of a segment in one language.

    Attributes:
        language: `zh`, `en`, `ja`, `ko` or `yue`.
        norm_text: the text as it is read, after normalisation.
        phoneme_ids: ids in the symbol set of the model.
        word2ph: phonemes per character of `norm_text`; None where the language has no BERT features.
        spans: for each phoneme the (start, end) in the request's text that it says; equal for a pause put in between.
    """

    language: str
    norm_text: str
    phoneme_ids: tuple[int, ...]
    word2ph: tuple[int, ...] | None = None
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence or fragment that the engine speaks in one go.

    Attributes:
        runs: its language runs, in order.
        pause_s: silence after it where the text asks for one (`[pause:0.5]`), in place of the request's `pause_s`.
        dropped: places in the request's text of letters that have no reading in it, one for each.
    """

    runs: tuple[LanguageRun, ...]
    pause_s: float | None = None
    dropped: tuple[tuple[int, int], ...] = ()

    @property
    def phoneme_ids(self) -> tuple[int, ...]:
        return tuple(i for run in self.runs for i in run.phoneme_ids)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """For each phoneme its place in the request's text."""
        return tuple(span for run in self.runs for span in run.spans)

    @property
    def dropped_characters(self) -> int:
        return len(self.dropped)

    @property
    def norm_text(self) -> str:
        return "".join(run.norm_text for run in self.runs)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next semantic token is drawn; the names are the field's."""

    top_k: int = 15
    top_p: float = 1.0
    temperature: float = 1.0
    repetition_penalty: float = 1.35
    max_new_tokens: int | None = None  # None: as many as the model and its cache allow


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """One request as the service takes it; `api/schemas.py` maps the public field names onto it once.

    Attributes:
        ref_audio: the reference as the client names it: a path under an allowed root, or an upload's id.
        timbre_ref_audio: whose timbre takes the place of the reference's; empty takes the reference's own.
        streaming_mode: 0 whole, 1 fragment by fragment, 2 token chunks cut at quiet places, 3 of fixed length.
        pause_s: silence between fragments (`fragment_interval`).
        overlap_tokens, min_chunk_tokens: shape of the chunks in modes 2 and 3.
        cfm_steps: flow-matching steps of v3 and v4 (`sample_steps`).
        seed: None draws one at random.
        timeout_s: how long it may wait for its speech, all waits together; None takes the setting's.
        emotion: whose clip of the voice is the reference, where the request names none; empty takes the voice's own.
        read_emoji: say the names of emoji, which are silent otherwise.
        timestamps: what it is told of when it is said: words, what is read as one, phonemes, or nothing.
        guard: whether fragments with a fault are reported, or taken again.
        max_takes: of a fragment, where a faulty one is taken again.
        candidates: takes of each fragment whatever they are like; the best is kept.
        source: a recording to be said in the voice as it is said in it; `text` is then what it says, or empty.
        owner: name of the API key whose uploads it may name, where they are private; None is everybody's.
    """

    text: str
    text_lang: str
    ref_audio: str = ""
    aux_ref_audio: tuple[str, ...] = ()
    timbre_ref_audio: str = ""
    voice_id: str | None = None
    emotion: str = ""
    prompt_text: str = ""
    prompt_lang: str = ""
    split_method: SplitMethod = "cut5"
    sampling: SamplingParams = SamplingParams()
    speed: float = 1.0
    pause_s: float = DEFAULT_PAUSE_S
    seed: int | None = None
    streaming_mode: Literal[0, 1, 2, 3] = 0
    overlap_tokens: int = 2
    min_chunk_tokens: int = 16
    cfm_steps: int = 32
    super_sampling: bool = False
    timeout_s: float | None = None
    owner: str | None = None
    read_emoji: bool = False
    timestamps: Timestamps = "none"
    guard: GuardMode = "off"
    max_takes: int = 3
    candidates: int = 1
    source: ReferenceAudio | None = None


@dataclass(frozen=True, slots=True)
class Emotion:
    """A manner of speaking of a voice: another clip of the same speaker, with what it says."""

    ref_audio: str
    prompt_text: str = ""
    prompt_lang: str = ""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice template: a YAML file beside its audio in a voices root.

    Attributes:
        ref_audio: file name of the reference clip, relative to the template.
        defaults: further request fields by their public names; a field that the request names wins over them.
        consent: who agreed to the use of the voice.
        gpt_weights, sovits_weights: registered files that speak for it; empty takes the service's current ones.
        owner: name of the API key that wrote it; empty is the operator's.
        emotions: further manners of speaking, by the name that a request gives as its emotion.
        timbre_ref_audio: file name of a clip whose timbre takes the place of the reference's; empty is none.
    """

    voice_id: str
    ref_audio: str
    prompt_text: str = ""
    prompt_lang: str = ""
    aux_ref_audio: tuple[str, ...] = ()
    description: str = ""
    defaults: Mapping[str, object] = field(default_factory=lambda: _NO_DEFAULTS)
    consent: str = ""
    gpt_weights: str = ""
    sovits_weights: str = ""
    owner: str = ""
    emotions: Mapping[str, Emotion] = field(default_factory=lambda: _NO_EMOTIONS)
    timbre_ref_audio: str = ""

    @property
    def clip_names(self) -> tuple[str, ...]:
        """Every clip that the template names, the reference first."""
        timbre = (self.timbre_ref_audio,) if self.timbre_ref_audio else ()
        emotions = (emotion.ref_audio for emotion in self.emotions.values())
        return (self.ref_audio, *self.aux_ref_audio, *timbre, *emotions)


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceAudio:
    """A decoded reference clip.

    Attributes:
        samples: (T,) float32 mono in [-1, 1] at its own rate.
        content_hash: SHA-256 of the file's bytes, the key of everything computed from it.
    """

    samples: FloatArray
    sample_rate_hz: int
    content_hash: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class ReferenceFinding:
    """Something that would spoil the speech with a reference.

    Attributes:
        code: what it is, for programs.
        severity: an `error` rules the clip out; a `warning` will be heard.
        message: what it is and what to do about it.
        start_s, end_s: where in the clip, where that is known.
        text_span: from and to, in characters of its transcript, where that is known.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    start_s: float | None = None
    end_s: float | None = None
    text_span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """What a check of a reference has found.

    Attributes:
        not_checked: what could not be looked at, and why, by the code that a finding would have.
    """

    findings: tuple[ReferenceFinding, ...]
    not_checked: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class VoicePrompt:
    """What the models need of a voice, computed once for a reference's content and a pair of weights.

    Attributes:
        prompt_tokens: (T_prompt,) int64 semantic tokens of the reference.
        style_embedding: (1, gin_channels, 1), mean over all references that give their timbre.
        ref_mel: (1, 100, T_mel) normalised mel of the clip that gives the timbre; v3 and v4 only.
        mel_tokens: (T,) int64 semantic tokens of that clip, where it is another than the prompt's; None where not.
    """

    prompt_tokens: torch.Tensor
    style_embedding: torch.Tensor
    ref_mel: torch.Tensor | None = None
    mel_tokens: torch.Tensor | None = None


class FragmentFault(NamedTuple):
    """A fault that was found in the fragment of this number, from 0."""

    fragment: int
    kind: FaultKind


class TimedText(NamedTuple):
    """A part of a request's text, and when it is said.

    Attributes:
        text: the part, or the name of a phoneme.
        start, end: its place, in characters of the text as it was sent.
        start_s, end_s: of the whole answer, pauses included.
        confidence: in [0, 1].
    """

    text: str
    start: int
    end: int
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class PhonemeTimes:
    """When the phonemes of a fragment are said.

    Attributes:
        starts, ends: (P,) in tokens from the fragment's first; equal for a phoneme that nothing says.
        confidence: (P,) in [0, 1].
        tokens: of the whole fragment, whose speech lasts as long as its samples.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    confidence: tuple[float, ...]
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """A piece of speech, in order.

    Attributes:
        samples: (T,) float32 mono in [-1, 1].
        is_fragment_end: whether a fragment (segment) ends here.
        is_last: whether the speech ends here, where that is known.
        times: of the phonemes of the fragment that ends here, where they are asked for and can be told.
        fragment: the number of the fragment that it is of, from 0.
        words: what the request's `timestamps` tells apart in the fragment that ends here; none where nothing is sure.
        cue: the text of the fragment that ends here, where timestamps are asked for.
        takes: of the fragment that ends here, 0 where nobody judged it.
        faults: of the take that was kept.
    """

    samples: FloatArray
    sample_rate_hz: int
    is_fragment_end: bool = True
    is_last: bool = False
    times: PhonemeTimes | None = None
    fragment: int = 0
    words: tuple[TimedText, ...] = ()
    cue: TimedText | None = None
    takes: int = 0
    faults: tuple[FaultKind, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Synthesis:
    """Speech on its way.

    Attributes:
        seed: the seed in use, drawn where the request named none.
        chunks: the speech with the pauses between its fragments; the first chunk exists already. Closing it cancels
            what is not yet made.
        dropped_characters: characters of the text that have no reading.
    """

    sample_rate_hz: int
    seed: int
    chunks: AsyncGenerator[AudioChunk, None]
    dropped_characters: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an answer depends on beside its request.

    Attributes:
        reference_hashes: of the content of the reference, then of the further ones.
        model_hashes: of the weights, and of the settings and the lexicon that the service runs with.
        timbre_hash: of the clip whose timbre takes the place of the reference's; empty where there is none.
    """

    reference_hashes: tuple[str, ...]
    model_hashes: tuple[str, ...]
    timbre_hash: str = ""
