"""Find and read configuration files; report unknown keys with the nearest valid one."""

from __future__ import annotations

import contextlib
import difflib
import importlib.resources
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from ruamel.yaml import YAML

from sovits_service.errors import SettingsError


class ConfigModel(BaseModel):
    """A group of settings, read from a file or from variables; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}

    @field_validator("*", mode="before")
    @classmethod
    def _whole_number(cls, value: object, info: ValidationInfo) -> object:
        """`1e3` is a whole number too; pydantic reads it as a float alone."""
        if isinstance(value, str) and cls.model_fields[str(info.field_name)].annotation is int:
            with contextlib.suppress(ValueError):
                number = float(value)
                return int(number) if number.is_integer() else value
        return value


class _TextLoader(yaml.SafeLoader):
    """Reads every scalar as text, as variables are read: the type of its setting decides what it means.

    YAML 1.1 reads `off` and `no` as false, `0123` as 83, and `1e3` as text.
    """


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def bundled_root() -> Path | None:
    """The folder that holds the packaged `configs/`, `voices/` and `pretrained_models/demo/`, if there is one.

    A wheel carries them inside the package; an editable install has them in the source tree.
    """
    package = Path(str(importlib.resources.files("sovits_service")))
    for root in (package / "bundled", package.parent.parent):
        if (root / "configs").is_dir() and (root / "voices").is_dir():
            return root
    return None


def find_path(path: Path) -> Path:
    """`path` as it stands if it exists, else the packaged file of that name, else `path` again."""
    if path.is_absolute() or path.exists():
        return path
    root = bundled_root()
    if root is not None and (root / path).exists():
        return root / path
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, its scalars as text; an empty file holds an empty one."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error.__class__.__name__}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        raise SettingsError(f"{path}: is not valid YAML{line}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must hold `key: value` lines")
    return document


def refuse_unknown(names: Iterable[object], valid: Iterable[str], where: str) -> None:
    """Raise a SettingsError that gives the nearest valid name of every unknown key."""
    valid = list(valid)
    unknown = [str(name) for name in names if name not in valid]
    if unknown:
        found = "; ".join(f"unknown key {name!r}{nearest(name, valid)}" for name in unknown)
        raise SettingsError(f"{where}: {found}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """A question after an unknown name, or nothing where no valid one is close to it."""
    by_folded = {str(candidate).casefold(): str(candidate) for candidate in valid}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1)
    return f", did you mean {by_folded[close[0]]!r}?" if close else ""


def describe_problems(error: ValidationError | json.JSONDecodeError, where: str) -> str:
    """One line for all problems, without the values: one of them may be a secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"{where}: a list in a variable is neither JSON nor comma-separated"
    problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
    return f"{where}: {'; '.join(problems)}"


def copy_section(path: Path, source: str, target: str) -> Path:
    """Make one section of `tts_infer.yaml` name the same model as another, comments and the rest left as they are.

    `device` and `is_half` stay the target's own: they say where this machine runs a model, not which one.

    Returns:
        The file that was written; a copy in the working directory where `path` is the packaged one.

    Raises:
        SettingsError: the file, or one of the sections, is not there.
    """
    config_path = find_path(path)
    document = read_yaml(config_path)
    for section in (source, target):
        if not isinstance(document.get(section), dict):
            raise SettingsError(f"{config_path}: there is no section {section!r}{nearest(section, document)}")
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    edited = editor.load(config_path.read_text(encoding="utf-8"))
    own = ("device", "is_half")
    for key in [key for key in edited[target] if key not in edited[source] and key not in own]:
        del edited[target][key]
    edited[target].update({key: value for key, value in edited[source].items() if key not in own})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as sink:
        editor.dump(edited, sink)
    os.replace(part, path)
    return path
