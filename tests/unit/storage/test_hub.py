"""Downloads from a hub-shaped server: which files, resumed after a break, verified."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sovits_service.errors import DownloadError
from sovits_service.storage.downloads.hub import PUBLISHED_FILES, REPOSITORY, download_version
from sovits_service.tts_settings import VERSIONS, load_tts_settings
from sovits_service.types import ModelVersion
from tests.hub_server import Hub, running_hub

WEIGHTS = random.Random(7).randbytes(5_000_000)
REPOSITORY_FILES = {
    ".gitattributes": b"*.pth filter=lfs",
    "chinese-hubert-base/config.json": b'{"hubert": 1}',
    "chinese-hubert-base/pytorch_model.bin": b"hubert weights",
    "chinese-roberta-wwm-ext-large/config.json": b'{"bert": 1}',
    "chinese-roberta-wwm-ext-large/pytorch_model.bin": b"bert weights",
    "gsv-v2final-pretrained/s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt": b"gpt v2",
    "gsv-v2final-pretrained/s2D2333k.pth": b"a discriminator that speaking does not need",
    "gsv-v2final-pretrained/s2G2333k.pth": b"sovits v2",
    "gsv-v4-pretrained/s2Gv4.pth": b"sovits v4",
    "gsv-v4-pretrained/vocoder.pth": b"vocoder v4",
    "models--nvidia--bigvgan_v2_24khz_100band_256x/bigvgan_generator.pt": b"vocoder v3",
    "models--nvidia--bigvgan_v2_24khz_100band_256x/config.json": b"{}",
    "s1bert25hz-2kh-longer-epoch=68e-step=50232.ckpt": b"gpt v1",
    "s1v3.ckpt": WEIGHTS,
    "s2D488k.pth": b"another discriminator",
    "s2G488k.pth": b"sovits v1",
    "s2Gv3.pth": b"sovits v3",
    "sv/pretrained_eres2netv2w24s4ep4.ckpt": b"speaker",
    "v2Pro/s2Gv2Pro.pth": b"sovits v2Pro",
    "v2Pro/s2Gv2ProPlus.pth": b"sovits v2ProPlus",
}


def files_under(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("version", VERSIONS)
def test_fetches_exactly_what_the_section_of_the_version_names(
    version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Path("configs/tts_infer.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    assert load_tts_settings(config, version).missing_files()
    with running_hub(REPOSITORY, Hub(REPOSITORY_FILES)) as endpoint:
        fetched = download_version(version, Path("pretrained_models"), mirror=endpoint)
    assert load_tts_settings(config, version).missing_files() == []
    on_disk = files_under(tmp_path / "pretrained_models")
    assert {path.relative_to("pretrained_models").as_posix() for path in fetched} == on_disk.keys()
    assert on_disk == {name: REPOSITORY_FILES[name] for name in on_disk}
    assert not any("s2D" in name or name.startswith(".") for name in on_disk)


def test_a_second_download_fetches_only_what_the_next_version_adds(tmp_path: Path) -> None:
    hub = Hub(REPOSITORY_FILES)
    with running_hub(REPOSITORY, hub) as endpoint:
        download_version("v2Pro", tmp_path, mirror=endpoint)
        assert download_version("v2ProPlus", tmp_path, mirror=endpoint + "/") == [tmp_path / "v2Pro/s2Gv2ProPlus.pth"]
        assert download_version("v2ProPlus", tmp_path, mirror=endpoint) == []


def test_goes_on_within_a_run_where_the_connection_broke(tmp_path: Path) -> None:
    hub = Hub(REPOSITORY_FILES, cuts={"s1v3.ckpt": [2_500_000]})
    with running_hub(REPOSITORY, hub) as endpoint:
        download_version("v2ProPlus", tmp_path, mirror=endpoint, retry_wait_s=0)
    assert (tmp_path / "s1v3.ckpt").read_bytes() == WEIGHTS
    starts = [start for name, start in hub.downloads if name == "s1v3.ckpt"]
    assert len(starts) == 2
    assert starts[0] == 0
    assert starts[1] > 1_000_000


def test_goes_on_in_the_next_run_where_the_last_one_gave_up(tmp_path: Path) -> None:
    hub = Hub(REPOSITORY_FILES, cuts={"s1v3.ckpt": [2_500_000, 0, 0, 0, 0, 0]})
    with running_hub(REPOSITORY, hub) as endpoint:
        with pytest.raises(DownloadError, match="run the same command again"):
            download_version("v2ProPlus", tmp_path, mirror=endpoint, retry_wait_s=0)
        assert not (tmp_path / "s1v3.ckpt").exists()
        hub.downloads.clear()
        download_version("v2ProPlus", tmp_path, mirror=endpoint)
    assert (tmp_path / "s1v3.ckpt").read_bytes() == WEIGHTS
    assert [start for name, start in hub.downloads if name == "s1v3.ckpt"] > [1_000_000]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["s1v3.ckpt", "chinese-hubert-base/config.json"])
def test_refuses_a_file_whose_checksum_is_wrong(name: str, tmp_path: Path) -> None:
    content = REPOSITORY_FILES[name]
    hub = Hub(REPOSITORY_FILES, substitutes={name: bytes([content[0] ^ 1]) + content[1:]})
    with running_hub(REPOSITORY, hub) as endpoint:
        with pytest.raises(DownloadError, match=f"damaged {name}"):
            download_version("v2Pro", tmp_path, mirror=endpoint)
        assert not (tmp_path / name).exists()
        hub.substitutes.clear()
        download_version("v2Pro", tmp_path, mirror=endpoint)
    assert (tmp_path / name).read_bytes() == content


def test_says_which_file_the_server_lacks(tmp_path: Path) -> None:
    files = {name: content for name, content in REPOSITORY_FILES.items() if name != "gsv-v4-pretrained/vocoder.pth"}
    with (
        running_hub(REPOSITORY, Hub(files)) as endpoint,
        pytest.raises(DownloadError, match=r"has no gsv-v4-pretrained/vocoder\.pth"),
    ):
        download_version("v4", tmp_path, mirror=endpoint)


def test_says_so_when_the_server_has_no_such_repository(tmp_path: Path) -> None:
    with running_hub("someone/else", Hub({})) as endpoint, pytest.raises(DownloadError, match="--mirror"):
        download_version("v2", tmp_path, mirror=endpoint)


def test_says_so_when_there_is_no_server(tmp_path: Path) -> None:
    with running_hub(REPOSITORY, Hub({})) as endpoint:
        pass
    with pytest.raises(DownloadError, match="was interrupted"):
        download_version("v2", tmp_path, mirror=endpoint)
    assert files_under(tmp_path) == {}


def test_every_version_has_its_list() -> None:
    assert set(PUBLISHED_FILES) == set(VERSIONS)
