"""The model's settings: one section of `tts_infer.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sovits_service.config_file import describe_problems, find_path, nearest, read_yaml, refuse_unknown
from sovits_service.errors import SettingsError
from sovits_service.types import ModelVersion

DEFAULT_TTS_CONFIG = Path("configs/tts_infer.yaml")
DEFAULT_SECTION = "custom"
VERSIONS: tuple[ModelVersion, ...] = get_args(ModelVersion)

_DEFAULT_PRETRAINED_ROOT = Path("pretrained_models")
_VOCODERS: Mapping[str, str] = {
    "v3": "models--nvidia--bigvgan_v2_24khz_100band_256x",
    "v4": "gsv-v4-pretrained/vocoder.pth",
}
_BASE_VITS_FILE: Mapping[str, str] = {"v3": "s2Gv3.pth", "v4": "gsv-v4-pretrained/s2Gv4.pth"}


class TtsSettings(BaseModel):
    """One section of `tts_infer.yaml`: which files make up the model, and where it runs.

    Relative paths are seen from the working directory, then from the files that come with the package. The first
    seven keys are the original's; the rest have defaults beside the other pretrained files.

    Attributes:
        bert_base_path: a transformers folder; None means zero BERT features.
        device, is_half: what is asked for; `auto` is CUDA where there is a device, else the CPU. Without CUDA the
            service falls back to float32 on the CPU.
        sv_path: the speaker verification model of v2Pro and v2ProPlus.
        vocoder_path: BigVGAN's folder (v3) or `vocoder.pth` (v4).
        base_vits_path: the SoVITS file that a v3 or v4 LoRA is merged into.
        super_sampling_path: the AP-BWE checkpoint for 24 to 48 kHz (v3); optional, used when it exists.
        g2pw_path: the G2PWModel folder for Chinese polyphones; optional, used when it exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    bert_base_path: Path | None = None
    cnhuhbert_base_path: Path
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    is_half: bool = False
    t2s_weights_path: Path
    vits_weights_path: Path
    version: ModelVersion
    sv_path: Path
    vocoder_path: Path | None = None
    base_vits_path: Path | None = None
    super_sampling_path: Path
    g2pw_path: Path

    @property
    def g2pw_dir(self) -> Path | None:
        """The folder of the Chinese polyphone model; None where it is not there."""
        return self.g2pw_path if self.g2pw_path.exists() else None

    def vocoder_for(self, version: ModelVersion) -> Path:
        """The vocoder of a v3 or v4 model, whichever version is configured."""
        if version == self.version and self.vocoder_path is not None:
            return self.vocoder_path
        return find_path(_pretrained_root(self.cnhuhbert_base_path) / _VOCODERS[version])

    def base_vits_for(self, version: ModelVersion) -> Path:
        """The full weights that a LoRA file of v3 or v4 is merged into, whichever version is configured."""
        if version == self.version and self.base_vits_path is not None:
            return self.base_vits_path
        return find_path(_pretrained_root(self.cnhuhbert_base_path) / _BASE_VITS_FILE[version])

    def required_files(self) -> dict[str, Path]:
        """Configuration key -> file or folder that must exist for this version."""
        files = {"t2s_weights_path": self.t2s_weights_path, "vits_weights_path": self.vits_weights_path}
        files["cnhuhbert_base_path"] = self.cnhuhbert_base_path
        if self.bert_base_path is not None:
            files["bert_base_path"] = self.bert_base_path
        if self.version in ("v2Pro", "v2ProPlus"):
            files["sv_path"] = self.sv_path
        if self.vocoder_path is not None:
            files["vocoder_path"] = self.vocoder_path
        return files

    def missing_files(self) -> list[Path]:
        """Every configured file or folder that does not exist, in the order of the keys."""
        return [path for path in self.required_files().values() if not path.exists()]

    def require_files(self) -> None:
        """Raise a SettingsError that names every missing file and the command that gets them."""
        missing = {key: path for key, path in self.required_files().items() if not path.exists()}
        if not missing:
            return
        lines = [f"  {key}: {path}" for key, path in missing.items()]
        count = "a configured file is" if len(missing) == 1 else f"{len(missing)} configured files are"
        raise SettingsError("\n".join([f"{count} missing:", *lines, self.remedy(missing.values())]))

    def remedy(self, missing: Iterable[Path]) -> str:
        """What to do about configured files that are missing."""
        names = [path.as_posix() for path in missing]
        if all("pretrained_models/demo/" in name for name in names):
            return (
                "the demo pack comes with the source tree and with the wheel; get it back with: "
                "git checkout -- pretrained_models/demo (or install the wheel again)"
            )
        published = [name for name in names if "pretrained_models/" in name and "pretrained_models/demo/" not in name]
        advice = []
        if published:
            advice.append(f"get the published files with: sovits-service download {self.version}")
        if len(published) < len(names):
            advice.append("correct the path of the others in the configuration, or put the file there")
        return "; ".join(advice)


def load_tts_settings(path: Path | None = None, section: str = DEFAULT_SECTION) -> TtsSettings:
    """Read one section of `tts_infer.yaml`.

    Args:
        path: the file; None takes `configs/tts_infer.yaml`, of the working directory or else of the package.
        section: `custom`, or one of the published models (`v1`, `v2`, ..., `demo`).

    Raises:
        SettingsError: no such file or section, an unknown key, a value that cannot be used.
    """
    config_path = find_path(path or DEFAULT_TTS_CONFIG)
    document = read_yaml(config_path)
    if section not in document:
        raise SettingsError(
            f"{config_path}: there is no section {section!r}{nearest(section, document)}; "
            f"it has {', '.join(map(str, document))}"
        )
    values = document[section]
    if not isinstance(values, dict):
        raise SettingsError(f"{config_path}: section {section!r} must be a list of `key: value` lines")
    where = f"{config_path}, section {section}"
    refuse_unknown(values, TtsSettings.model_fields, where)
    filled = {key: value for key, value in values.items() if value not in (None, "")}
    _fill_default_paths(filled)
    for key, value in filled.items():
        if key.endswith("_path") and isinstance(value, (str, Path)):
            filled[key] = find_path(Path(value).expanduser())
    try:
        return TtsSettings.model_validate(filled)
    except ValidationError as error:
        raise SettingsError(describe_problems(error, where)) from None


def _fill_default_paths(values: dict[str, Any]) -> None:
    """Companion files live in the `pretrained_models` folder that holds the HuBERT folder, as published."""
    root = _pretrained_root(Path(str(values.get("cnhuhbert_base_path", ""))))
    values.setdefault("sv_path", root / "sv/pretrained_eres2netv2w24s4ep4.ckpt")
    values.setdefault("super_sampling_path", root / "AP_BWE/24kto48k/g_24kto48k.zip")
    values.setdefault("g2pw_path", root / "G2PWModel")
    version = str(values.get("version"))
    if version in _VOCODERS:
        values.setdefault("vocoder_path", root / _VOCODERS[version])
    if version in _BASE_VITS_FILE:
        values.setdefault("base_vits_path", root / _BASE_VITS_FILE[version])


def _pretrained_root(hubert: Path) -> Path:
    return next((p for p in hubert.parents if p.name == _DEFAULT_PRETRAINED_ROOT.name), _DEFAULT_PRETRAINED_ROOT)
