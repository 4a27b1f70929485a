"""openapi.json against what really comes back, with requests made up from it: right ones and wrong ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sovits_service.jobs.jobs import Jobs
from sovits_service.settings import ServiceSettings
from sovits_service.types import Voice
from tests.api.conftest import serving
from tests.api.fast_service import FastService

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture
async def fuzzed_url(service: FastService, tmp_path: Path) -> AsyncIterator[str]:
    """A server with all that there is, jobs and administration too."""
    settings = ServiceSettings(admin={"enabled": True}, jobs={"dir": tmp_path / "jobs"})  # type: ignore[arg-type]
    jobs = Jobs(service, settings.jobs)  # type: ignore[arg-type] # with the methods of a SpeechService
    await jobs.open()
    async with serving(service, settings, jobs=jobs) as url:
        yield url
    await jobs.stop()


async def test_no_500_and_no_undocumented_answer(fuzzed_url: str, service: FastService, tmp_path: Path) -> None:
    service.templates["female_calm"] = Voice("female_calm", "female_calm.wav", "hello", "en")
    fuzzer = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        *("run", f"{fuzzed_url}/openapi.json", "--checks", ",".join(_CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "10", "--seed", "1", "--no-color", "--request-timeout", "120"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await fuzzer.communicate()
    assert fuzzer.returncode == 0, output.decode()[-4000:]
    assert service.started > 20  # the made-up requests got as far as speech
