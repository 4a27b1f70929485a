"""Debian's Chromium, headless, with a microphone that beeps; the page in it, with a real server behind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from sovits_service.jobs.jobs import Jobs
from sovits_service.setting_sections import JobSettings
from sovits_service.settings import ServiceSettings
from sovits_service.types import Emotion, Voice
from tests.api.conftest import serving
from tests.api.fast_service import FastService
from tests.e2e.conftest import Served, make_checkout, start_server
from tests.e2e.tiny_server import start_tiny, write_tiny
from tests.programs import require_program

_PATIENCE_MS = 20_000  # of the longest speech that the tiny model makes, on a busy machine
_FLAGS = ["--use-fake-device-for-media-stream"]
# Notes what the page has sound played, and when: (start, duration) in seconds of the audio clock;
# and the words that it lights.
_NOTE = """
window.lit = [];
document.addEventListener("DOMContentLoaded", () => {
  let last = null;
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      if (target !== last && target.classList.contains("now")) window.lit.push((last = target).textContent);
    }
  }).observe(document.getElementById("words"), { attributeFilter: ["class"], subtree: true });
});
window.played = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when) {
  window.played.push([when, this.buffer.duration]);
  return start.call(this, when);
};
"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = require_program("chromium")
    expect.set_options(timeout=_PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def service() -> FastService:
    """Two voices, one of them with emotions; a little work for each character."""
    happy = {"happy": Emotion("amy-happy.wav", "hooray", "en"), "sad": Emotion("amy-sad.wav", "oh no", "en")}
    return FastService(
        templates={
            "amy": Voice("amy", "amy.wav", "hello there", "en", description="A calm woman.", emotions=happy),
            "mei": Voice("mei", "mei.wav", "你好", "zh", description="A man.", defaults={"speed_factor": 1.25}),
        }
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that decodes clips and speaks with them; it has no voice of its own."""
    server = start_tiny(write_tiny(tmp_path_factory.mktemp("page") / "served"), SOVITS_MAX_SEQ_TOKENS="300")
    yield server
    server.end()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the demonstration voice, which tells when its words are said."""
    served = start_server(make_checkout(tmp_path_factory.mktemp("page") / "checkout"))
    served.wait_until_ready()
    yield served
    served.end()


@dataclass
class Visit:
    """What a browser did with the page.

    Attributes:
        complaints: errors and warnings of the console, and exceptions.
        elsewhere: requests to any other address than the service's.
    """

    url: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(request.url)


@contextlib.asynccontextmanager
async def visiting(browser: Browser, url: str, *, refusals: bool = False, **options: Any) -> AsyncIterator[Page]:
    """The page as a reader opens it; complaints of the console and requests to elsewhere fail the test at its end.

    Args:
        refusals: whether the service refuses something meanwhile, which the console tells by itself.
        options: of the browser's context: locale, viewport, color_scheme, ...
    """
    visit = Visit(url)
    context = await browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 900}, **options})
    context.set_default_timeout(_PATIENCE_MS)
    await context.add_init_script(_NOTE)
    page = await context.new_page()
    visit.watch(page)
    try:
        await page.goto(url)
        yield page
    finally:
        await context.close()
    refused = "Failed to load resource"
    complaints = [said for said in visit.complaints if not (refusals and said.startswith(refused))]
    assert complaints == []
    assert visit.elsewhere == []


@contextlib.asynccontextmanager
async def opened(
    browser: Browser,
    service: FastService,
    settings: dict[str, Any] | None = None,
    jobs_dir: Path | None = None,
    **options: Any,
) -> AsyncIterator[Page]:
    """The page of a fast service; with a folder for them, it has jobs."""
    jobs = Jobs(service, JobSettings(dir=jobs_dir)) if jobs_dir is not None else None  # type: ignore[arg-type]
    if jobs is not None:
        await jobs.open()
    try:
        async with (
            serving(service, ServiceSettings(**(settings or {})), jobs=jobs) as url,
            visiting(browser, url, **options) as page,
        ):
            yield page
    finally:
        if jobs is not None:
            await jobs.stop()
