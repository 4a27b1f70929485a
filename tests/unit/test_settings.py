"""Settings from YAML files and variables: what they mean, and how a wrong one is told."""

from __future__ import annotations

import operator
import os
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from sovits_service.config_file import bundled_root, copy_section, find_path, nearest
from sovits_service.errors import SettingsError
from sovits_service.settings import ServiceSettings, load_service_settings
from sovits_service.tts_settings import VERSIONS, load_tts_settings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
SHIPPED_TTS = Path("configs/tts_infer.yaml")
SHIPPED_SERVICE = Path("configs/service.yaml")
ORIGINAL_KEYS = {
    "bert_base_path",
    "cnhuhbert_base_path",
    "device",
    "is_half",
    "t2s_weights_path",
    "version",
    "vits_weights_path",
}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SOVITS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def section(**changes: object) -> str:
    """A file with a `custom` section that is right but for the changes; None takes a key out."""
    values: dict[str, object] = {
        "bert_base_path": "",
        "cnhuhbert_base_path": "models/hubert",
        "device": "cpu",
        "is_half": False,
        "t2s_weights_path": "models/gpt.ckpt",
        "version": "v2",
        "vits_weights_path": "models/sovits.pth",
        **changes,
    }
    return yaml.safe_dump({"custom": {key: value for key, value in values.items() if value is not None}})


class TestTtsInfer:
    def test_the_shipped_file_has_the_originals_sections_and_keys(self) -> None:
        document = yaml.safe_load(SHIPPED_TTS.read_text(encoding="utf-8"))
        assert set(document) == {"custom", "demo", *VERSIONS}
        for name, values in document.items():
            assert set(values) == ORIGINAL_KEYS, name
        for version in VERSIONS:
            assert document[version]["version"] == version

    def test_custom_is_read_first_and_is_the_demo_voice_as_shipped(self) -> None:
        custom, demo = load_tts_settings(), load_tts_settings(section="demo")
        assert custom.vits_weights_path.parts[-2:] == ("demo", "sovits.pth")
        assert custom.model_copy(update={"device": "cpu", "is_half": False}) == demo
        assert custom.bert_base_path is None

    @pytest.mark.parametrize("version", VERSIONS)
    def test_another_section_can_be_picked(self, version: str) -> None:
        settings = load_tts_settings(section=version)
        assert settings.version == version
        assert settings.bert_base_path == Path("pretrained_models/chinese-roberta-wwm-ext-large")

    def test_a_users_own_pair_works_by_replacing_two_paths(self, elsewhere: Path) -> None:
        config = write(
            elsewhere / "my.yaml", section(t2s_weights_path="me-e15.ckpt", vits_weights_path="me_e8_s200.pth")
        )
        settings = load_tts_settings(config)
        assert settings.t2s_weights_path == Path("me-e15.ckpt")
        assert settings.vits_weights_path == Path("me_e8_s200.pth")

    def test_companion_files_are_found_beside_the_hubert_folder(self, elsewhere: Path) -> None:
        hubert = "GPT_SoVITS/pretrained_models/chinese-hubert-base"
        config = write(elsewhere / "c.yaml", section(version="v4", cnhuhbert_base_path=hubert))
        settings = load_tts_settings(config)
        root = Path("GPT_SoVITS/pretrained_models")
        assert settings.vocoder_path == root / "gsv-v4-pretrained/vocoder.pth"
        assert settings.base_vits_path == root / "gsv-v4-pretrained/s2Gv4.pth"
        assert settings.sv_path == root / "sv/pretrained_eres2netv2w24s4ep4.ckpt"

    def test_every_missing_file_is_named_at_once_with_the_command(self, elsewhere: Path) -> None:
        with pytest.raises(SettingsError) as error:
            load_tts_settings(section="v2ProPlus").require_files()
        message = str(error.value)
        for name in (
            "pretrained_models/s1v3.ckpt",
            "pretrained_models/v2Pro/s2Gv2ProPlus.pth",
            "pretrained_models/chinese-hubert-base",
            "pretrained_models/chinese-roberta-wwm-ext-large",
            "pretrained_models/sv/pretrained_eres2netv2w24s4ep4.ckpt",
        ):
            assert name in message
        assert "sovits-service download v2ProPlus" in message

    def test_a_missing_file_of_the_user_is_not_said_to_be_downloadable(self, elsewhere: Path) -> None:
        config = write(elsewhere / "c.yaml", section())
        with pytest.raises(SettingsError, match="correct the path") as error:
            load_tts_settings(config).require_files()
        assert "download" not in str(error.value)

    def test_only_what_is_missing_is_named(self, elsewhere: Path) -> None:
        config = write(elsewhere / "c.yaml", section())
        write(elsewhere / "models/gpt.ckpt", "here")
        (elsewhere / "models/hubert").mkdir()
        settings = load_tts_settings(config)
        assert settings.missing_files() == [Path("models/sovits.pth")]
        write(elsewhere / "models/sovits.pth", "here")
        settings.require_files()

    def test_an_unknown_key_is_refused_with_the_nearest_valid_one(self, elsewhere: Path) -> None:
        config = write(elsewhere / "c.yaml", section(vits_weight_path="x.pth"))
        with pytest.raises(SettingsError, match=r"'vits_weight_path', did you mean 'vits_weights_path'\?"):
            load_tts_settings(config)

    def test_an_unknown_section_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(SettingsError, match=r"no section 'v2proplus', did you mean 'v2ProPlus'\?"):
            load_tts_settings(section="v2proplus")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"device": "gpu"}, "device"),
            ({"version": "v5"}, "version"),
            ({"is_half": "perhaps"}, "is_half"),
            ({"t2s_weights_path": None}, "t2s_weights_path: Field required"),
            ({"vits_weights_path": ""}, "vits_weights_path: Field required"),
            ({"cnhuhbert_base_path": None}, "cnhuhbert_base_path: Field required"),
            ({"t2s_weights_path": ["a"]}, "t2s_weights_path"),
        ],
    )
    def test_a_value_that_cannot_be_used_names_its_key(
        self, change: dict[str, object], expected: str, elsewhere: Path
    ) -> None:
        config = write(elsewhere / "c.yaml", section(**change))
        with pytest.raises(SettingsError, match=re.escape(expected)) as error:
            load_tts_settings(config)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("custom: [1, 2\n", "not valid YAML at line 2"),
            ("- custom\n", "must hold `key: value` lines"),
            ("custom: v2\n", "must be a list of `key: value` lines"),
            ("", "there is no section 'custom'"),
            ("custom: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ],
    )
    def test_a_file_that_is_no_configuration_is_refused(self, text: str, expected: str, elsewhere: Path) -> None:
        with pytest.raises(SettingsError, match=re.escape(expected)):
            load_tts_settings(write(elsewhere / "c.yaml", text))

    def test_a_file_in_another_encoding_is_refused(self, elsewhere: Path) -> None:
        (elsewhere / "c.yaml").write_bytes("custom: 中文".encode("gb18030"))
        with pytest.raises(SettingsError, match="cannot be read"):
            load_tts_settings(Path("c.yaml"))

    def test_a_file_that_is_not_there_is_named(self, elsewhere: Path) -> None:
        with pytest.raises(SettingsError, match=r"nowhere/c\.yaml: there is no such configuration file"):
            load_tts_settings(Path("nowhere/c.yaml"))


class TestBundledFiles:
    def test_the_packaged_configuration_is_the_fallback(self, elsewhere: Path) -> None:
        root = bundled_root()
        assert root is not None
        assert find_path(SHIPPED_TTS) == root / SHIPPED_TTS
        assert load_tts_settings().version == "v2"
        assert load_service_settings() == ServiceSettings()

    def test_a_file_of_the_working_directory_wins(self, elsewhere: Path) -> None:
        write(elsewhere / "configs/tts_infer.yaml", section(version="v1"))
        assert load_tts_settings().version == "v1"

    def test_packaged_voices_come_after_the_users_own(self, elsewhere: Path) -> None:
        (elsewhere / "voices").mkdir()
        own, packaged = load_service_settings().all_voices_roots
        root = bundled_root()
        assert root is not None
        assert own == Path("voices")
        assert packaged == (root / "voices").resolve()

    def test_packaged_voices_are_not_offered_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        root = bundled_root()
        assert root is not None
        monkeypatch.chdir(root)
        assert load_service_settings().all_voices_roots == (Path("voices"),)

    def test_packaged_voices_can_be_switched_off(self, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOVITS_BUNDLED_VOICES", "false")
        assert load_service_settings().all_voices_roots == (Path("voices"),)


class TestCopySection:
    def test_custom_takes_the_model_and_keeps_comments_and_the_machines_own_keys(self, elsewhere: Path) -> None:
        root = bundled_root()
        assert root is not None
        text = (root / SHIPPED_TTS).read_text(encoding="utf-8")
        config = write(elsewhere / "c.yaml", text)
        assert copy_section(config, "v2ProPlus", "custom") == config
        custom, published = load_tts_settings(config), load_tts_settings(config, "v2ProPlus")
        assert (custom.device, custom.is_half) == ("auto", True)
        assert custom.model_copy(update={"device": "cpu", "is_half": False}) == published
        after = config.read_text(encoding="utf-8")
        assert re.findall("#.*", after) == re.findall("#.*", text)
        assert after.partition("\ndemo:")[2] == text.partition("\ndemo:")[2]

    def test_keys_that_the_other_section_has_not_go_away(self, elsewhere: Path) -> None:
        document = yaml.safe_load(section(sv_path="models/sv.ckpt"))
        document["other"] = {**document["custom"], "version": "v1"}
        del document["other"]["sv_path"]
        config = write(elsewhere / "c.yaml", yaml.safe_dump(document))
        copy_section(config, "other", "custom")
        assert "sv_path" not in yaml.safe_load(config.read_text(encoding="utf-8"))["custom"]
        assert load_tts_settings(config).version == "v1"

    def test_the_packaged_file_is_copied_not_changed(self, elsewhere: Path) -> None:
        root = bundled_root()
        assert root is not None
        before = (root / SHIPPED_TTS).read_bytes()
        copy_section(SHIPPED_TTS, "v4", "custom")
        assert (root / SHIPPED_TTS).read_bytes() == before
        assert load_tts_settings().version == "v4"

    def test_an_unknown_section_is_refused(self, elsewhere: Path) -> None:
        with pytest.raises(SettingsError, match="no section 'v9'"):
            copy_section(SHIPPED_TTS, "v9", "custom")


class TestService:
    def test_the_shipped_file_lists_every_key_with_its_default(self) -> None:
        values = yaml.safe_load(SHIPPED_SERVICE.read_text(encoding="utf-8"))
        assert set(values) == set(ServiceSettings.model_fields)
        assert load_service_settings(SHIPPED_SERVICE) == ServiceSettings()

    def test_administration_is_off_and_only_this_machine_is_served_by_default(self) -> None:
        settings = ServiceSettings()
        assert settings.admin.enabled is False
        assert settings.host == "127.0.0.1"
        assert settings.port == 9880
        assert settings.cors_origins == ()

    def test_a_variable_wins_over_the_file_which_wins_over_the_default(
        self, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = write(elsewhere / "s.yaml", "port: 1111\nmax_queue: 7\nadmin: {enabled: false}\n")
        monkeypatch.setenv("SOVITS_PORT", "2222")
        monkeypatch.setenv("SOVITS_ADMIN__ENABLED", "true")
        settings = load_service_settings(config)
        assert (settings.port, settings.max_queue, settings.admin.enabled) == (2222, 7, True)
        assert settings.drain_s == ServiceSettings().drain_s

    @pytest.mark.parametrize("text", ["voices, /data/voices", '["voices", "/data/voices"]'])
    def test_a_list_in_a_variable_is_json_or_comma_separated(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOVITS_VOICES_ROOTS", text)
        assert load_service_settings().voices_roots == (Path("voices"), Path("/data/voices"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("prot: 1\n", r"'prot', did you mean 'port'\?"),
            ("Port: 1\n", r"'Port', did you mean 'port'\?"),
            ("admin: {enable: true}\n", r"'enable', did you mean 'enabled'\?"),
            ("8080: 1\n", "'8080'"),
        ],
    )
    def test_an_unknown_key_is_refused_with_the_nearest_valid_one(
        self, text: str, expected: str, elsewhere: Path
    ) -> None:
        with pytest.raises(SettingsError, match=expected):
            load_service_settings(write(elsewhere / "s.yaml", text))

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("SOVITS_PROT", "SOVITS_PORT"),
            ("SOVITS_ADMIN_ENABLED", "SOVITS_ADMIN__ENABLED"),
            ("SOVITS_UPLOADS_DIR", "SOVITS_UPLOAD_DIR"),
        ],
    )
    def test_an_unknown_variable_is_refused_with_the_nearest_valid_one(
        self, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, "1")
        with pytest.raises(SettingsError, match=rf"{name!r}, did you mean '{expected}'\?"):
            load_service_settings()

    @pytest.mark.parametrize(
        ("name", "value", "key"),
        [
            ("SOVITS_PORT", "tcp://10.0.0.1:9880", "port"),
            ("SOVITS_PORT", "70000", "port"),
            ("SOVITS_MAX_RUNNING", "0", "max_running"),
            ("SOVITS_BACKEND", "tensorrt", "backend"),
            ("SOVITS_PRECISION", "int4", "precision"),
            ("SOVITS_TIMEOUT_S", "-1", "timeout_s"),
            ("SOVITS_LOG_LEVEL", "loud", "log_level"),
            ("SOVITS_ADMIN__ENABLED", "perhaps", "admin.enabled"),
        ],
    )
    def test_a_value_that_cannot_be_used_names_its_key_and_not_the_value(
        self, name: str, value: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=rf" {re.escape(key)}: ") as error:
            load_service_settings()
        assert value not in str(error.value).replace(name, "").replace("greater than 0", "")

    def test_a_broken_list_in_a_variable_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOVITS_CORS_ORIGINS", '["https://a.example"')
        with pytest.raises(SettingsError, match="cors_origins"):
            load_service_settings()

    @pytest.mark.parametrize("value", ["[{", "web", "[1"])
    def test_keys_in_a_variable_that_are_not_json_are_told(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOVITS_API_KEYS", value)
        with pytest.raises(SettingsError, match="api_keys") as error:
            load_service_settings()
        assert value not in str(error.value).replace("[", " ")

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("cors_origins", "https://Page.Example/", ("https://page.example",)),
            ("cors_origins", "http://a:8000, null", ("http://a:8000", "null")),
            ("cors_origins", "*", ("*",)),
            ("allowed_hosts", "speech.lan, box", ("speech.lan", "box")),
        ],
    )
    def test_origins_and_hosts_are_those_that_requests_name(
        self, key: str, value: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(f"SOVITS_{key.upper()}", value)
        assert getattr(load_service_settings(), key) == expected

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("cors_origins", "page.example"),
            ("cors_origins", "https://page.example/path"),
            ("cors_origins", "https://"),
            ("allowed_hosts", "https://speech.lan"),
            ("allowed_hosts", "speech.lan:9880"),
            ("allowed_hosts", "speech.lan/"),
        ],
    )
    def test_an_origin_or_a_host_that_no_request_can_name_is_refused(
        self, key: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(f"SOVITS_{key.upper()}", value)
        with pytest.raises(SettingsError, match=f"{key}.0: Value error, an? (origin|host) is"):
            load_service_settings()

    def test_the_hash_of_a_key_may_be_in_capitals(self) -> None:
        [key] = ServiceSettings(api_keys=[{"name": "a", "sha256": "AB" * 32, "scopes": ["synth"]}]).api_keys  # type: ignore[arg-type, list-item]
        assert key.sha256 == "ab" * 32

    def test_a_file_that_was_asked_for_must_exist(self, elsewhere: Path) -> None:
        with pytest.raises(SettingsError, match=r"s\.yaml: there is no such configuration file"):
            load_service_settings(Path("s.yaml"))


def settings_by_type() -> dict[str, list[str]]:
    """`section.key` of every service setting, by the name of its type."""
    found: dict[str, list[str]] = {}
    for name, field in ServiceSettings.model_fields.items():
        nested = getattr(field.annotation, "model_fields", None)
        for key, leaf in nested.items() if nested else [("", field)]:
            kind = getattr(leaf.annotation, "__name__", "")
            if "off" in get_args(leaf.annotation):
                kind = "off"
            found.setdefault(kind, []).append(f"{name}.{key}".rstrip("."))
    return found


BY_TYPE = settings_by_type()


def value_of(settings: ServiceSettings, key: str) -> object:
    return operator.attrgetter(key)(settings)


def file_of(folder: Path, keys: list[str], value: str) -> Path:
    """A file in which these settings have one value, as it is written here."""
    lines: dict[str, list[str]] = {}
    for key in keys:
        name, _, leaf = key.rpartition(".")
        lines.setdefault(name, []).append(f"{leaf}: {value}\n")
    text = "".join(lines.pop("", [])) + "".join(
        f"{name}:\n" + "".join(f"  {line}" for line in found) for name, found in lines.items()
    )
    return write(folder / "service.yaml", text)


def refuses(folder: Path, key: str, value: str) -> bool:
    try:
        load_service_settings(file_of(folder, [key], value))
    except SettingsError:
        return True
    return False


TABLE = DOCUMENT.partition("### Values")[2].partition("###")[0]
SPELLINGS = {row: re.findall(r"`([^`]+)`", cells) for row, cells in re.findall(r"^\| (.*?) \| (`.*) \|$", TABLE, re.M)}
# The row: types of settings, a value that is surely accepted, and what the row's spellings mean.
MEANT: dict[str, tuple[tuple[str, ...], str, object]] = {
    "switch, on": (("bool",), "true", True),
    "switch, off": (("bool",), "false", False),
    "number, one thousand": (("int", "float"), "1000", 1000),
    "choice that has `off`": (("off",), "off", "off"),
    "text": (("str",), "text", None),
}


class TestDocumentedValues:
    def test_every_row_is_tried(self) -> None:
        assert set(SPELLINGS) == set(MEANT)

    @pytest.mark.parametrize(("row", "spelling"), [(row, spelling) for row in SPELLINGS for spelling in SPELLINGS[row]])
    def test_a_spelling_means_the_same_to_every_setting_of_a_type(
        self, elsewhere: Path, row: str, spelling: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        types, plain, meant = MEANT[row]
        keys = [key for kind in types for key in BY_TYPE[kind] if not refuses(elsewhere, key, plain)]
        assert len(keys) >= (2 if types == ("off",) else 8)
        expected = dict.fromkeys(keys, spelling.strip('"') if meant is None else meant)
        settings = load_service_settings(file_of(elsewhere, keys, spelling))
        assert {key: value_of(settings, key) for key in keys} == expected
        if '"' in spelling:
            return
        for key in keys:
            monkeypatch.setenv("SOVITS_" + key.upper().replace(".", "__"), spelling)
        settings = load_service_settings(write(elsewhere / "service.yaml", ""))
        assert {key: value_of(settings, key) for key in keys} == expected

    def test_what_the_documents_set_can_be_set(self, elsewhere: Path) -> None:
        known = {key for keys in BY_TYPE.values() for key in keys}
        tried = set()
        for document in ROOT.glob("docs/*.md"):
            for key, value in re.findall(r"`([a-z_]+(?:\.[a-z_]+)?): ([^`]+)`", document.read_text(encoding="utf-8")):
                if key in known:
                    load_service_settings(file_of(elsewhere, [key], value))
                    tried.add(key)
        assert {"cache.backend", "objects.backend", "kv_cache", "uploads.access", "voice_aliases"} <= tried

    def test_a_key_without_a_value_has_its_default(self, elsewhere: Path) -> None:
        keys = [key for keys in BY_TYPE.values() for key in keys]
        assert load_service_settings(file_of(elsewhere, keys, "")) == ServiceSettings()

    @pytest.mark.parametrize("value", ["1e3x", "1.5", "nan", "1e400", "off", "[1]"])
    def test_what_is_no_whole_number_is_refused(self, elsewhere: Path, value: str) -> None:
        with pytest.raises(SettingsError, match="max_queue"):
            load_service_settings(write(elsewhere / "service.yaml", f"max_queue: {value}"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("female_clam", ", did you mean 'female_calm'?"),
        ("Child_Happy", ", did you mean 'child_happy'?"),
        ("nobody", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_only_a_close_name_is_suggested(name: str, said: str) -> None:
    assert nearest(name, ["child_happy", "female_calm", "male_narrator"]) == said
