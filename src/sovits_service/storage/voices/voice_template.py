"""Parse and write voice templates (YAML)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

import yaml

from sovits_service.config_file import nearest
from sovits_service.types import Emotion, Voice

VOICE_ID = re.compile(r"\w[\w-]{0,63}")
MAX_TEMPLATE_BYTES = 64 * 1024
MAX_EMOTIONS, MAX_EMOTION_CHARACTERS = 64, 64


@dataclass(frozen=True, slots=True)
class VoiceField:
    """A field of a voice, in all four places that have it.

    Attributes:
        name: in `Voice` and in the template's file.
        public: in GET and PUT /voices.
        kind: of its value; a list is one of texts.
        max_characters: of the text, or of each in a list; 0 where something else bounds it.
    """

    name: str
    public: str
    kind: type
    max_characters: int = 0
    description: str = ""


# The one list of what a voice has beside its id; the order is that of the file and of the answers.
VOICE_FIELDS: tuple[VoiceField, ...] = (
    VoiceField("description", "description", str, 2000),
    VoiceField("ref_audio", "ref_audio_path", str, 1024, "The path or id of an upload, or a file under a root."),
    VoiceField("aux_ref_audio", "aux_ref_audio_paths", list, 1024, "More clips, whose timbre is averaged."),
    VoiceField("timbre_ref_audio", "timbre_ref_audio_path", str, 1024, "A clip whose timbre replaces the reference's."),
    VoiceField("prompt_text", "prompt_text", str, 2000, "What the reference says."),
    VoiceField("prompt_lang", "prompt_lang", str, 16, "Language of prompt_text; required with it."),
    VoiceField("emotions", "emotions", dict, 0, "More clips, each with its transcript, by the name of an emotion."),
    VoiceField("consent", "consent", str, 2000, "Who agreed to the use of the voice."),
    VoiceField("gpt_weights", "gpt_weights", str, 1024, "A registered GPT file; empty: the service's current one."),
    VoiceField("sovits_weights", "sovits_weights", str, 1024, "A registered SoVITS file, likewise."),
    VoiceField("owner", "owner", str, 64, "The key that wrote it; kept by the service, whatever PUT says."),
    VoiceField("defaults", "defaults", dict, 0, "Further fields of /tts; what a request names wins."),
)
_TEMPLATE_KEYS: Mapping[str, VoiceField] = {field.name: field for field in VOICE_FIELDS}
_EMOTION_KEYS: Mapping[str, VoiceField] = {field.name: _TEMPLATE_KEYS[field.name] for field in fields(Emotion)}
_HIDDEN_KEY = "hidden"
HIDDEN_TEMPLATE = f"{_HIDDEN_KEY}: true\n"
# The fields of a request that a template may fill, by their public names.
DEFAULT_FIELDS: Mapping[str, tuple[type, ...]] = {
    "text_lang": (str,),
    "text_split_method": (str,),
    "read_emoji": (bool,),
    "media_type": (str,),
    "top_k": (int,),
    "top_p": (float, int),
    "temperature": (float, int),
    "repetition_penalty": (float, int),
    "batch_size": (int,),
    "batch_threshold": (float, int),
    "split_bucket": (bool,),
    "parallel_infer": (bool,),
    "speed_factor": (float, int),
    "fragment_interval": (float, int),
    "seed": (int,),
    "streaming_mode": (bool, int),
    "overlap_length": (int,),
    "min_chunk_length": (int,),
    "sample_steps": (int,),
    "super_sampling": (bool,),
    "guard": (str, bool),  # YAML reads off as false
    "candidates": (int,),
    "cache": (bool,),
    "response": (str,),
    "timeout_s": (float, int),
}
_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "keys",
}
# Lists and mappings as a file has them, and as the frozen dataclass has them.
_PLAIN: Mapping[type, Callable[[Any], Any]] = {tuple: list, MappingProxyType: dict}
_FROZEN: Mapping[type, Callable[[Any], Any]] = {list: tuple, dict: lambda value: MappingProxyType(dict(value))}


class TemplateError(ValueError):
    """What is wrong with a template, without its path."""


def parse_template(voice_id: str, text: str) -> Voice | None:
    """Read a template.

    Args:
        voice_id: the file's name without its suffix.

    Returns:
        The voice; None where the template says `hidden: true`, which takes a voice of a later root out.

    Raises:
        TemplateError: no YAML, a key that is not known (the message gives the nearest one), a value of another type.
    """
    if not VOICE_ID.fullmatch(voice_id):
        raise TemplateError("its file name must be 1 to 64 letters, digits, '-' and '_'")
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except TemplateError:
        raise
    except RecursionError:
        raise TemplateError("the file is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a date that does not exist, for one
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise TemplateError(f"the file is not valid YAML{where}") from None
    if isinstance(document, dict) and document.get(_HIDDEN_KEY) is True:
        return None
    return _checked(voice_id, document)


def dump_template(voice: Voice) -> str:
    """The template of a voice, as `parse_template` reads it.

    Raises:
        TemplateError: a field that a template cannot hold.
    """
    values = {field.name: getattr(voice, field.name) for field in VOICE_FIELDS}
    values["emotions"] = {name: _filled(asdict(emotion)) for name, emotion in voice.emotions.items()}
    document = {name: _PLAIN.get(type(value), lambda v: v)(value) for name, value in values.items() if value}
    _checked(voice.voice_id, document)
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"the fields together are longer than {MAX_TEMPLATE_BYTES // 1024} KiB")
    return text


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key twice, and aliases, with which a small file unfolds into a large one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise TemplateError("aliases (*name) are not accepted; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        counts = Counter(key for key in keys if isinstance(key, Hashable))
        twice = next((key for key, count in counts.items() if count > 1), None)
        if twice is not None:
            raise TemplateError(f"key {twice!r} appears twice")
        return super().construct_mapping(node, deep)


def _checked(voice_id: str, document: object) -> Voice:
    if not isinstance(document, dict):
        raise TemplateError("it must hold `key: value` lines")
    document = {key: value for key, value in document.items() if value is not None}
    document.pop(_HIDDEN_KEY, None)
    _check_values(document, _TEMPLATE_KEYS)
    if not document.get("ref_audio"):
        raise TemplateError("ref_audio is required: the file name of the reference clip")
    if bool(document.get("prompt_text")) and not document.get("prompt_lang"):
        raise TemplateError("prompt_lang is required with a prompt_text")
    _check_defaults(document.get("defaults", {}))
    emotions = {name: _emotion(name, value) for name, value in document.pop("emotions", {}).items()}
    if len(emotions) > MAX_EMOTIONS:
        raise TemplateError(f"emotions has {len(emotions)} entries; at most {MAX_EMOTIONS} are accepted")
    frozen = {name: _FROZEN.get(type(value), lambda v: v)(value) for name, value in document.items()}
    voice = Voice(voice_id=voice_id, emotions=MappingProxyType(emotions), **frozen)
    for name in voice.clip_names:
        if not isinstance(name, str) or not _is_plain_name(name):
            raise TemplateError("a clip must be the name of a file beside the template")
    return voice


def _emotion(name: object, value: object) -> Emotion:
    if not is_emotion_name(name):
        raise TemplateError(f"emotions: a name must be a text of 1 to {MAX_EMOTION_CHARACTERS} characters; use quotes")
    if not isinstance(value, dict):
        raise TemplateError("emotions: each must hold ref_audio, prompt_text and prompt_lang")
    value = _filled(value)
    try:
        _check_values(value, _EMOTION_KEYS)
    except TemplateError as error:
        raise TemplateError(f"emotions: {error}") from None
    if not value.get("ref_audio"):
        raise TemplateError("emotions: ref_audio is required in each")
    if value.get("prompt_text") and not value.get("prompt_lang"):
        raise TemplateError("emotions: prompt_lang is required with a prompt_text")
    return Emotion(**value)


def is_emotion_name(name: object) -> bool:
    """Whether an emotion may be called so."""
    return (
        isinstance(name, str) and 0 < len(name) <= MAX_EMOTION_CHARACTERS and name.isprintable() and bool(name.strip())
    )


def _filled(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}


def _check_values(values: Mapping[Any, object], keys: Mapping[str, VoiceField]) -> None:
    for key, value in values.items():
        field = keys.get(key)
        if field is None:
            raise TemplateError(f"unknown key {str(key)[:64]!r}{nearest(str(key)[:64], keys)}")
        _check_value(field, value)


def _check_value(field: VoiceField, value: object) -> None:
    if type(value) is not field.kind:
        hint = "; put it in quotes" if field.kind is str else ""
        raise TemplateError(f"{field.name} must be {_TYPE_NAMES[field.kind]}{hint}")
    texts = value if isinstance(value, list) else [value]
    if field.max_characters and any(isinstance(t, str) and len(t) > field.max_characters for t in texts):
        raise TemplateError(f"{field.name} has more than {field.max_characters} characters")


def _check_defaults(defaults: dict[object, object]) -> None:
    for key, value in defaults.items():
        if not isinstance(key, str) or key not in DEFAULT_FIELDS:
            raise TemplateError(f"defaults: unknown key {str(key)[:64]!r}{nearest(str(key)[:64], DEFAULT_FIELDS)}")
        if type(value) not in DEFAULT_FIELDS[key]:
            raise TemplateError(f"defaults: {key} must be {_TYPE_NAMES[DEFAULT_FIELDS[key][0]]}")


def _is_plain_name(name: str) -> bool:
    """Whether a clip's name stays in its folder, or in a folder of it."""
    parts = name.split("/")
    return (
        len(name.encode(errors="replace")) <= 255
        and all(part and not part.startswith(".") for part in parts)
        and not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") or c == "\\" for c in name)
    )
