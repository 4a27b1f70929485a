"""The YAML text of a voice template in, a checked `Voice` out, and back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any

import yaml

from sovits_service.config_file import nearest
from sovits_service.types import Voice

VOICE_ID = re.compile(r"\w[\w-]{0,63}")
MAX_TEMPLATE_BYTES = 64 * 1024
_TEMPLATE_KEYS: Mapping[str, type] = {
    "ref_audio": str,
    "prompt_text": str,
    "prompt_lang": str,
    "aux_ref_audio": list,
    "description": str,
    "consent": str,
    "gpt_weights": str,
    "sovits_weights": str,
    "defaults": dict,
}
# The fields of a request that a template may fill, by their public names.
_DEFAULT_KEYS: Mapping[str, tuple[type, ...]] = {
    "text_lang": (str,),
    "text_split_method": (str,),
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
}
_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "keys",
}


class TemplateError(ValueError):
    """What is wrong with a template, without its path."""


def parse_template(voice_id: str, text: str) -> Voice:
    """Reads a template.

    Args:
        voice_id: the file's name without its suffix.

    Raises:
        TemplateError: no YAML, a key that is not known (the message gives the nearest one), a value of another type.
    """
    if not VOICE_ID.fullmatch(voice_id):
        raise TemplateError("its file name must be 1 to 64 letters, digits, '-' and '_'")
    try:
        document = yaml.load(text, Loader=_StrictLoader)
    except TemplateError:
        raise
    except RecursionError:
        raise TemplateError("the file is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a date that does not exist, for one
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise TemplateError(f"the file is not valid YAML{where}") from None
    return _checked(voice_id, document)


def dump_template(voice: Voice) -> str:
    """The template of a voice, as `parse_template` reads it.

    Raises:
        TemplateError: a field that a template cannot hold.
    """
    document = _document(voice)
    _checked(voice.voice_id, document)
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key twice, and aliases, with which a small file unfolds into a large one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise TemplateError("aliases (*name) are not accepted; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if isinstance(key, Hashable) and keys.count(key) > 1), None)
        if twice is not None:
            raise TemplateError(f"key {twice!r} is there twice")
        return super().construct_mapping(node, deep)


def _checked(voice_id: str, document: object) -> Voice:
    if not isinstance(document, dict):
        raise TemplateError("it must hold `key: value` lines")
    document = {key: value for key, value in document.items() if value is not None}
    for key, value in document.items():
        if key not in _TEMPLATE_KEYS:
            raise TemplateError(f"unknown key {str(key)[:64]!r}{nearest(str(key)[:64], _TEMPLATE_KEYS)}")
        if type(value) is not _TEMPLATE_KEYS[key]:
            raise TemplateError(f"{key} must be {_TYPE_NAMES[_TEMPLATE_KEYS[key]]}{_quote_hint(key)}")
    if not document.get("ref_audio"):
        raise TemplateError("ref_audio is required: the file name of the reference clip")
    aux = document.get("aux_ref_audio", [])
    for name in (document["ref_audio"], *aux):
        if not isinstance(name, str) or not _is_plain_name(name):
            raise TemplateError("a clip must be the name of a file beside the template")
    if bool(document.get("prompt_text")) and not document.get("prompt_lang"):
        raise TemplateError("prompt_lang is required with a prompt_text")
    defaults = document.get("defaults", {})
    _check_defaults(defaults)
    return Voice(
        voice_id=voice_id,
        ref_audio=document["ref_audio"],
        prompt_text=document.get("prompt_text", ""),
        prompt_lang=document.get("prompt_lang", ""),
        aux_ref_audio=tuple(aux),
        description=document.get("description", ""),
        defaults=MappingProxyType(dict(defaults)),
        consent=document.get("consent", ""),
        gpt_weights=document.get("gpt_weights", ""),
        sovits_weights=document.get("sovits_weights", ""),
    )


def _check_defaults(defaults: dict[object, object]) -> None:
    for key, value in defaults.items():
        if not isinstance(key, str) or key not in _DEFAULT_KEYS:
            raise TemplateError(f"defaults: unknown key {str(key)[:64]!r}{nearest(str(key)[:64], _DEFAULT_KEYS)}")
        if type(value) not in _DEFAULT_KEYS[key]:
            raise TemplateError(f"defaults: {key} must be {_TYPE_NAMES[_DEFAULT_KEYS[key][0]]}")


def _quote_hint(key: str) -> str:
    return "; put it in quotes" if _TEMPLATE_KEYS[key] is str else ""


def _document(voice: Voice) -> dict[str, object]:
    values: dict[str, object] = {
        "description": voice.description,
        "ref_audio": voice.ref_audio,
        "prompt_text": voice.prompt_text,
        "prompt_lang": voice.prompt_lang,
        "aux_ref_audio": list(voice.aux_ref_audio),
        "consent": voice.consent,
        "gpt_weights": voice.gpt_weights,
        "sovits_weights": voice.sovits_weights,
        "defaults": dict(voice.defaults),
    }
    return {key: value for key, value in values.items() if value}


def _is_plain_name(name: str) -> bool:
    """Whether a clip's name stays in its folder, or in a folder of it."""
    parts = name.split("/")
    return (
        len(name.encode(errors="replace")) <= 255
        and all(part and not part.startswith(".") for part in parts)
        and not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") or c == "\\" for c in name)
    )
