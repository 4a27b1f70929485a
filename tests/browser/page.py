"""The page at / in a real Chromium, with a real server behind it: `make test-browser`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.api.fast_service import CHARACTER_S, RATE_HZ, FastService, tone
from tests.browser.conftest import opened, visiting
from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip
from tests.programs import require_program

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEYS = {"api_keys": ({"name": "web", "sha256": hashlib.sha256(b"k").hexdigest()},)}
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


async def press_speak(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="Text", exact=True).fill(text)
    await page.get_by_role("button", name="Speak").click()


async def finished(page: Page) -> None:
    await expect(page.locator("#progress")).to_have_text("Done.")


class TestSpeech:
    async def test_it_speaks_and_shows_figures(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            sent: list[str] = []
            page.on("request", lambda request: sent.extend(request.headers))
            await press_speak(page, "hellohello")
            await finished(page)
            request = service.requests[-1]
            assert (request.text, request.voice_id, request.streaming_mode) == ("hellohello", "amy", 3)
            assert "authorization" not in " ".join(sent)
            figures = await page.locator("#figures").inner_text()
            for name in ("First sound", "Speech", "RTF", "Seed"):
                assert name in figures
            assert f"{10 * CHARACTER_S:.1f} s" in figures
            assert "1234" in figures

    async def test_pieces_are_played_without_a_gap(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "abcdefghijklmnopqrstuvwxyz")
            await finished(page)
            played = await page.evaluate("window.played")
            assert sum(duration for _, duration in played) == pytest.approx(26 * CHARACTER_S)
            for (start, duration), (following, _) in itertools.pairwise(played):
                assert following == pytest.approx(start + duration, abs=1e-6)

    async def test_it_is_heard_before_it_is_finished(self, browser: Browser, service: FastService) -> None:
        service.gate = asyncio.Semaphore(0)
        async with opened(browser, service) as page:
            await press_speak(page, "abc")
            await expect(page.locator("#progress")).to_have_text("Speaking …")
            await expect(page.locator("#figures")).to_contain_text("First sound")
            assert len(await page.evaluate("window.played")) == 1
            assert service.closed == 0
            await expect(page.get_by_role("button", name="Download")).to_be_disabled()
            for _ in "bc":
                service.gate.release()
            await finished(page)
            await expect(page.get_by_role("button", name="Download")).to_be_enabled()

    @pytest.mark.parametrize("way", ["click", "Escape"])
    async def test_stop_ends_the_work(self, browser: Browser, service: FastService, way: str) -> None:
        service.gate = asyncio.Semaphore(0)
        async with opened(browser, service) as page:
            await press_speak(page, "abc")
            await expect(page.locator("#progress")).to_have_text("Speaking …")
            stop = page.get_by_role("button", name="Stop")
            await (stop.click() if way == "click" else page.keyboard.press(way))
            await asyncio.wait_for(service.closed_early.wait(), 20)
            await expect(page.locator("#progress")).to_have_text("Stopped.")
            await expect(stop).to_be_disabled()
            service.gate = None
            await press_speak(page, "again")
            await finished(page)

    async def test_what_is_downloaded_is_what_was_said(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "hello")
            await finished(page)
            async with page.expect_download() as waiting:
                await page.get_by_role("button", name="Download").click()
            download = await waiting.value
            assert download.suggested_filename == "speech.wav"
            samples, rate_hz = soundfile.read(io.BytesIO(Path(await download.path()).read_bytes()))
            assert rate_hz == RATE_HZ
            np.testing.assert_allclose(samples, tone("amy", "hello"), atol=1e-4)

    async def test_it_plays_again_and_pauses(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "a" * 40)
            await finished(page)
            await page.get_by_role("button", name="Play again").click()
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_role("button", name="Go on").click()
            await finished(page)
            assert (await page.evaluate("window.played"))[-1][1] == pytest.approx(40 * CHARACTER_S)
            assert service.started == 1

    async def test_the_fields_are_those_of_the_form(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await page.get_by_role("combobox", name="Voice", exact=True).select_option("amy")
            await page.get_by_label("Emotion").select_option("happy")
            await page.get_by_label("Language", exact=True).select_option("en")
            await page.get_by_label("Speed").fill("1.5")
            await page.get_by_text("More settings").click()
            await page.get_by_label("Seed").fill("7")
            await page.get_by_label("Temperature").fill("0.5")
            await page.get_by_label("Delivery").select_option("Sentence by sentence")
            await page.get_by_label("Cut the text").select_option("Nowhere")
            await press_speak(page, "hello")
            await finished(page)
            wanted = service.requests[-1]
            assert (wanted.voice_id, wanted.emotion, wanted.text_lang, wanted.speed) == ("amy", "happy", "en", 1.5)
            assert (wanted.seed, wanted.sampling.temperature, wanted.split_method) == (7, 0.5, "cut0")
            assert wanted.streaming_mode == 1

    async def test_a_voice_keeps_its_own_defaults(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await page.get_by_role("combobox", name="Voice", exact=True).select_option("mei")
            await expect(page.locator("#speed-shown")).to_have_text("1.25×")
            await expect(page.get_by_label("Emotion")).to_be_hidden()
            await press_speak(page, "hello")
            await finished(page)
            assert service.requests[-1].speed == 1.25

    async def test_the_curl_command_says_the_same(self, browser: Browser, service: FastService, tmp_path: Path) -> None:
        async with opened(browser, service) as page:
            require_program("curl")
            await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            await page.get_by_role("textbox", name="Text", exact=True).fill("it's 5 o'clock\n\"quoted\" $HOME")
            await page.get_by_text("The same with curl").click()
            await page.get_by_role("button", name="Copy").click()
            await expect(page.locator("#copied")).to_have_text("Copied.")
            command = await page.evaluate("navigator.clipboard.readText()")
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", command, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL
            )
            assert await process.wait() == 0
            assert service.requests[-1].text == "it's 5 o'clock\n\"quoted\" $HOME"
            assert (tmp_path / "speech.wav").read_bytes()[:4] == b"RIFF"


class TestJobs:
    @pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
    async def test_a_file_is_spoken_followed_downloaded_and_deleted(
        self, browser: Browser, service: FastService, tmp_path: Path, locale: str
    ) -> None:
        names = {"en-US": ("Choose text", "Speaking", "Done", "Download", "Delete")}
        names["zh-CN"] = ("选择文本", "朗读中", "完成", "下载", "删除")
        choose, speaking, done, download, delete = names[locale]
        service.gate = asyncio.Semaphore(1)
        async with opened(browser, service, jobs_dir=tmp_path, locale=locale) as page:
            card = page.locator("#jobs-card")
            await page.locator("#speed").fill("1.5")
            await page.locator("#job-format").select_option("wav")
            async with page.expect_file_chooser() as choosing:
                await card.get_by_role("button", name=choose).click()
            files: Any = {"name": "story.txt", "mimeType": "text/plain", "buffer": b"abcdef\nghijkl"}
            await (await choosing.value).set_files(files)
            await expect(card.locator("li strong")).to_have_text("story")
            await expect(card.locator("li")).to_contain_text(f"{speaking} · 50 %")
            assert await card.locator("progress").evaluate("bar => bar.value") == 0.5
            service.gate.release()
            await expect(card.locator("li")).to_contain_text(f"{done} · 0:01")
            await expect(card.locator("progress")).to_be_hidden()
            assert {(request.text, request.speed) for request in service.requests} == {("abcdef", 1.5), ("ghijkl", 1.5)}
            async with page.expect_download() as downloading:
                await card.get_by_role("button", name=download).click()
            saved = await downloading.value
            assert saved.suggested_filename == "story.wav"
            samples, _ = soundfile.read(await saved.path())
            assert len(samples) > 12 * CHARACTER_S * RATE_HZ
            axe = await Axe().run(page, options=AXE_RULES)
            assert axe.violations_count == 0, axe.generate_report()
            await card.get_by_role("button", name=delete).click()
            await expect(card.locator("li")).to_have_count(0)

    async def test_a_wrong_file_is_told_and_jobs_may_be_absent(
        self, browser: Browser, service: FastService, tmp_path: Path
    ) -> None:
        async with opened(browser, service, jobs_dir=tmp_path, refusals=True) as page:
            await expect(page.locator("#jobs-card")).to_be_visible()
            await page.locator("#job-file").set_input_files(
                files={"name": "a.epub", "mimeType": "application/epub+zip", "buffer": b"no"}
            )
            await expect(page.locator("#jobs-error")).to_contain_text("not a zip archive")
        async with opened(browser, service) as page:
            await expect(page.locator("#jobs-card")).to_be_hidden()


class TestWords:
    async def test_each_is_lit_while_it_is_heard(self, browser: Browser, service: FastService) -> None:
        text = f"😀 {'a' * 20}, {'b' * 20}!"
        words = ["a" * 20, "b" * 20]
        async with opened(browser, service) as page:
            await press_speak(page, text)
            await finished(page)
            assert await page.evaluate("window.lit") == words
            assert await said(page) == f"😀 {words[0]}, {words[1]}"
            await expect(page.locator("#words .now")).to_have_count(0)
            await expect(page.locator("#words")).to_have_text(text)
            await page.get_by_role("button", name="Play again").click()
            await finished(page)
            assert await page.evaluate("window.lit") == words * 2

    async def test_one_stays_lit_in_a_pause_and_none_when_stopped(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "a" * 100)
            await expect(page.locator("#words .now")).to_have_count(1)
            await page.get_by_role("button", name="Pause").click()
            await page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            await expect(page.locator("#words .now")).to_have_count(1)
            await page.get_by_role("button", name="Stop").click()
            await expect(page.locator("#words .now")).to_have_count(0)
            assert await said(page) == ""

    async def test_those_of_a_fragment_come_before_the_next(self, browser: Browser, service: FastService) -> None:
        service.gate = asyncio.Semaphore(3)
        async with opened(browser, service) as page:
            await press_speak(page, "one two")
            await expect(page.locator("#words .said").last).to_have_text("one")
            await expect(page.locator("#words")).to_have_text("one two")
            for _ in "two":
                service.gate.release()
            await finished(page)

    async def test_where_the_model_does_not_tell_the_text_stands_as_it_is(
        self, browser: Browser, service: FastService
    ) -> None:
        service.tells_words = False
        service.gate = asyncio.Semaphore(5)
        async with opened(browser, service) as page:
            await press_speak(page, "begin ends")
            await expect(page.locator("#figures")).to_contain_text(f"{6 * CHARACTER_S:.1f} s")
            assert await page.evaluate("document.getElementById('words').className") == ""
            for _ in "ends":
                service.gate.release()
            await finished(page)
            await expect(page.locator("#words")).to_have_text("begin ends")
            await expect(page.locator("#words span")).to_have_count(0)

    async def test_a_long_text_is_followed(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "\n".join(["words", *["word"] * 10, "end"]))
            words = page.locator("#words")
            await expect(words).to_have_attribute("tabindex", "0")
            await finished(page)
            assert (await page.evaluate("window.lit"))[-1] == "end"
            assert await words.evaluate("(e) => e.scrollTop") > 0
            assert await complaints_of_axe(page) == []
            await press_speak(page, "short")
            await finished(page)
            await expect(words).not_to_have_attribute("tabindex", "0")

    async def test_those_of_the_demonstration_voice(self, browser: Browser, demo: Served) -> None:
        text = "2024年的春天，hello world, 我们走。"
        async with visiting(browser, demo.url) as page:
            await page.get_by_role("combobox", name="Voice", exact=True).select_option("female_calm")
            await press_speak(page, text)
            await finished(page)
            lit = await page.evaluate("window.lit")
            assert [word for word in lit if len(word) > 1] == ["2024年", "hello", "world"]
            await expect(page.locator("#words")).to_have_text(text)


async def said(page: Page) -> str:
    """The part of the text that has been said, as it is shown."""
    return "".join(await page.locator("#words .said").all_text_contents())


class TestTrouble:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "The request cannot be answered: text is required."),
            (
                "。",
                "The request cannot be answered: text has nothing to read; send words in the language of text_lang.",
            ),
            ("broken", "The request cannot be answered: tts failed: the model's output is not finite; try again, or"),
            ("late", "It took too long: "),
            ("bug", "The request cannot be answered: tts failed: internal error"),
        ],
    )
    async def test_a_refusal_is_read(self, browser: Browser, service: FastService, text: str, said: str) -> None:
        async with opened(browser, service, refusals=True) as page:
            await press_speak(page, text)
            await expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
            await expect(page.get_by_role("button", name="Stop")).to_be_disabled()
            await press_speak(page, "hello")
            await finished(page)
            await expect(page.locator("#error")).to_be_empty()

    async def test_a_full_queue_says_when_to_try_again(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service, refusals=True) as page:
            service.places = 0
            await press_speak(page, "hello")
            await expect(page.locator("#error")).to_contain_text(
                "busy or loading: the queue is full; try again. Try again in 3 s."
            )

    async def test_a_service_that_loads_is_waited_for(self, browser: Browser, service: FastService) -> None:
        service.is_ready = False
        async with opened(browser, service, refusals=True) as page:
            await expect(page.locator("#status")).to_have_text("Loading the model …")
            service.is_ready = True
            await expect(page.locator("#status")).to_have_text("Ready")
            await expect(page.get_by_role("combobox", name="Voice", exact=True)).to_have_value("amy")

    async def test_no_connection(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service, refusals=True) as page:
            await expect(page.locator("#status")).to_have_text("Ready")
            await page.context.set_offline(True)
            await press_speak(page, "hello")
            await expect(page.locator("#error")).to_have_text("The service cannot be reached. Is it running?")
            await expect(page.locator("#status")).to_have_text("Not reachable")
            await page.context.set_offline(False)
            await expect(page.locator("#status")).to_have_text("Ready")

    async def test_a_stream_that_breaks_is_not_called_finished(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service, refusals=True) as page:
            await press_speak(page, "ab\N{BOMB}")
            await expect(page.locator("#error")).to_have_text("The connection broke: the speech is not complete.")
            await expect(page.locator("#progress")).not_to_have_text("Done.")

    async def test_warnings_of_the_speech_are_shown(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await press_speak(page, "hello 😀")
            await expect(page.locator("#warnings")).to_have_text("1 character has no reading and is left out.")


class TestKey:
    async def test_it_is_asked_for_and_kept_in_the_tab(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service, KEYS, refusals=True) as page:
            dialog = page.get_by_role("dialog", name="API key")
            await expect(dialog).to_be_visible()
            await page.get_by_role("textbox", name="API key").fill("wrong")
            await page.keyboard.press("Enter")
            await expect(page.locator("#key-error")).to_contain_text("the key is not known")
            await page.get_by_role("textbox", name="API key").fill("k")
            await page.keyboard.press("Enter")
            await expect(dialog).to_be_hidden()
            await press_speak(page, "hello")
            await finished(page)
            stores = "JSON.stringify(sessionStorage), JSON.stringify(localStorage)"
            session, *others = await page.evaluate(f"[{stores}, document.cookie, document.body.innerHTML]")
            assert session == '{"api-key":"k"}'
            assert others[:2] == ["{}", ""]
            assert "Bearer k" not in others[2]
            assert "$KEY" in await page.locator("#curl").text_content()
            await page.reload()
            await expect(page.get_by_role("combobox", name="Voice", exact=True)).to_have_value("amy")
            await page.get_by_role("button", name="Key").click()
            await page.get_by_role("button", name="Forget it").click()
            await expect(dialog).to_be_visible()
            assert await page.evaluate("sessionStorage.length") == 0


class TestReader:
    async def test_a_keyboard_is_enough(self, browser: Browser, service: FastService) -> None:
        async with opened(browser, service) as page:
            await expect(page.get_by_role("combobox", name="Voice", exact=True)).to_have_value("amy")
            seen = []
            for _ in range(40):
                await page.keyboard.press("Tab")
                name, outline = await page.evaluate(
                    "(({ activeElement: e }) => [e === document.body ? '' : e.id || e.textContent.trim(), "
                    "getComputedStyle(e).outlineStyle])(document)"
                )
                if not name:
                    break
                assert outline != "none", name
                seen.append(name)
            assert seen == [
                "open-key", "switch-language", "API", "voice", "emotion", "choose", "record", "text", "language",
                "speed", "speak", "More settings", "The same with curl",
            ]  # fmt: skip
            await page.get_by_role("textbox", name="Text", exact=True).focus()
            await page.keyboard.press("Control+A")
            await page.keyboard.type("by keys")
            await page.keyboard.press("Control+Enter")
            await finished(page)
            assert service.requests[-1].text == "by keys"
            await page.get_by_role("combobox", name="Voice", exact=True).focus()
            await page.keyboard.press("ArrowDown")
            await page.get_by_role("button", name="Speak").focus()
            await page.keyboard.press("Enter")
            await finished(page)
            assert service.requests[-1].voice_id == "mei"

    async def test_the_focus_does_not_get_lost(self, browser: Browser, service: FastService) -> None:
        service.gate = asyncio.Semaphore(0)
        async with opened(browser, service) as page:
            await press_speak(page, "abc")
            await expect(page.locator("#progress")).to_have_text("Speaking …")
            await page.get_by_role("button", name="Stop").press("Enter")
            await expect(page.get_by_role("button", name="Speak")).to_be_focused()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
    async def test_axe_finds_nothing(
        self, browser: Browser, service: FastService, scheme: str, options: dict[str, Any]
    ) -> None:
        async with opened(browser, service, refusals=True, color_scheme=scheme, **options) as page:
            await unfold(page)
            await press_speak(page, "hello 😀")
            await finished(page)
            await page.evaluate("document.getElementById('error').textContent = 'Something is wrong.'")
            assert await complaints_of_axe(page) == []
            await page.get_by_role("button", name="Key").click()
            assert await complaints_of_axe(page) == []

    @pytest.mark.parametrize("width", [320, 360, 768])
    @pytest.mark.parametrize("locale", ["en", "zh-CN"])
    async def test_nothing_is_wider_than_the_screen(
        self, browser: Browser, service: FastService, width: int, locale: str
    ) -> None:
        options = {**PHONE, "viewport": {"width": width, "height": 740}, "locale": locale}
        async with opened(browser, service, **options) as page:
            await unfold(page)
            await page.locator("#text").fill("averylongword" * 40)
            await page.locator("#speak").click()
            await expect(page.locator("#again")).to_be_enabled()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            small = await page.evaluate(
                "[...document.querySelectorAll('button, select, summary')].filter((e) => e.offsetParent && "
                "e.getBoundingClientRect().height < 24).map((e) => e.id || e.textContent)"
            )
            assert small == []

    @pytest.mark.parametrize(
        ("locale", "lang", "speak", "voice"),
        [
            ("en-GB", "en", "Speak", "amy"),
            ("zh-CN", "zh-CN", "朗读", "mei"),
            ("zh-TW", "zh-CN", "朗读", "mei"),
            ("fr", "en", "Speak", "amy"),
        ],
    )
    async def test_the_language_is_the_browsers(
        self, browser: Browser, service: FastService, locale: str, lang: str, speak: str, voice: str
    ) -> None:
        async with opened(browser, service, locale=locale) as page:
            await expect(page.locator("html")).to_have_attribute("lang", lang)
            await expect(page.locator("#speak")).to_have_text(speak)
            await expect(page.locator("#voice")).to_have_value(voice)

    async def test_the_language_can_be_switched_and_is_remembered(self, browser: Browser, service: FastService) -> None:
        del service.templates["mei"]  # one voice, which speaks in both languages
        async with opened(browser, service) as page:
            await expect(page.locator("#voice")).to_have_value("amy")
            english = await texts(page)
            await page.get_by_role("button", name="中文").click()
            await expect(page.locator("#speak")).to_have_text("朗读")
            chinese = await texts(page)
            assert len(english) == len(chinese)
            assert not [text for text in english + chinese if "undefined" in text or "null" in text]
            same = {text for text, other in zip(english, chinese, strict=True) if text == other}
            formats = {"mp3", "m4b", "opus", "wav", "zip"}
            assert same <= {"sovits_service", "amy", "happy", "sad", "A calm woman.", "Top k", "Top p"} | formats
            await page.reload()
            await expect(page.locator("#speak")).to_have_text("朗读")


async def unfold(page: Page) -> None:
    await page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")


async def texts(page: Page) -> list[str]:
    """All that is written on the page, piece by piece, but for the text to be said and the command with it."""
    return await page.evaluate(
        "[...document.querySelectorAll('h1, h2, label, button, option, summary, p, a, dt')]"
        ".filter((e) => !['curl', 'words'].includes(e.id)).map((e) => e.textContent.trim()).filter(Boolean)"
    )


async def complaints_of_axe(page: Page) -> list[tuple[str, list[Any]]]:
    found = await Axe().run(page, options=AXE_RULES)
    return [
        (violation["id"], [(node["target"], node["failureSummary"]) for node in violation["nodes"]])
        for violation in found.response["violations"]
    ]


class TestClip:
    async def test_an_uploaded_clip_speaks(self, browser: Browser, tiny: Served) -> None:
        async with visiting(browser, tiny.url) as page:
            await page.locator("#file").set_input_files(
                {"name": "me.wav", "mimeType": "audio/wav", "buffer": clip(1, 4.0)}
            )
            await expect(page.locator("#clip-name")).to_have_text("me.wav")
            await expect(page.locator("#clip-duration")).to_have_text("4.0 s")
            await expect(page.locator("#clip-warnings li").first).to_contain_text("record in a quiet room")
            await expect(page.get_by_label("What the clip says")).to_be_focused()
            await page.get_by_label("What the clip says").fill("one two three")
            async with page.expect_request("**/tts") as waiting:
                await press_speak(page, "hello")
            body = (await waiting.value).post_data_json
            assert (body["prompt_text"], body["prompt_lang"]) == ("one two three", "en")
            assert "voice_id" not in body
            await finished(page)
            await page.get_by_role("button", name="Remove the clip").click()
            await expect(page.locator("#clip")).to_be_hidden()
            await expect(page.get_by_role("button", name="Choose file")).to_be_focused()

    @pytest.mark.parametrize(
        ("content", "said"),
        [(clip(1, 1.5), "1.5 s; it must be 3 to 10 s"), (b"no sound at all", "This is no audio that can be read: ")],
    )
    async def test_a_clip_that_will_not_do(self, browser: Browser, tiny: Served, content: bytes, said: str) -> None:
        async with visiting(browser, tiny.url, refusals=True) as page:
            await page.locator("#file").set_input_files({"name": "a.wav", "mimeType": "audio/wav", "buffer": content})
            await expect(page.locator("#clip-error")).to_contain_text(said)
            await expect(page.locator("#clip")).to_be_hidden()

    async def test_a_recording_speaks(self, browser: Browser, tiny: Served) -> None:
        async with visiting(browser, tiny.url, permissions=["microphone"]) as page:
            await page.get_by_role("button", name="Record").click()
            await expect(page.get_by_role("button", name="Stop recording")).to_be_focused()
            await expect(page.locator("#recording-time")).to_have_text(re.compile(r"^(3\.[6-9]|[4-9]\.\d) s$"))
            await page.get_by_role("button", name="Stop recording").click()
            await expect(page.locator("#clip-name")).to_have_text("Recording")
            await press_speak(page, "hello")
            await finished(page)

    async def test_a_microphone_that_is_refused(self, browser: Browser, tiny: Served) -> None:
        async with visiting(browser, tiny.url) as page:
            await page.get_by_role("button", name="Record").click()
            await expect(page.locator("#clip-error")).to_contain_text("The browser refused the microphone.")
