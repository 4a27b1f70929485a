"""The page at /: who gets it, and that its files ask for nothing from elsewhere; tests/browser opens it."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
FILES = ("/", *(f"/page/{name}" for name in ("jobs.js", "page.css", "page.js", "sound.js", "strings.js", "words.js")))
LIMIT_BYTES = 60_000
KEYS = {"api_keys": ({"name": "web", "sha256": hashlib.sha256(b"k").hexdigest()},)}


@pytest.mark.parametrize("settings", [{}, {"dialects": {"api_v1": False}}, KEYS])
async def test_a_browser_gets_the_page_whatever_is_switched_off(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Accept" in page.headers["vary"]
    links = re.findall(r"""(?:src|href)=["']((?!data:)[^"']+)""", page.text)
    assert sorted(set(links)) == ["docs", "page/page.css", "page/page.js"]
    for link in links:
        assert (await client.get(f"/{link}")).status_code == 200


async def test_other_clients_get_what_api_v1_answers(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert (await client.get("/", headers=headers)).json()["code"] == 400
    asked = await client.get("/", params={"text": ""}, headers=BROWSER)
    assert asked.json()["code"] == 400
    assert (await client.post("/", headers=BROWSER)).json()["code"] == 400


async def test_its_files_are_small_and_know_no_other_address(client: httpx.AsyncClient) -> None:
    files = {path: (await client.get(path, headers=BROWSER)).text for path in FILES}
    assert sum(len(text.encode()) for text in files.values()) < LIMIT_BYTES
    for text in files.values():
        assert not re.search(r"//[\w.-]+\.\w", text.replace("http://www.w3.org/2000/svg", ""))
    page = files["/"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)


@pytest.mark.parametrize("path", FILES)
async def test_a_browser_is_told_to_run_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path, headers=BROWSER)).headers
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", FILES)
async def test_a_file_that_is_known_is_not_sent_again(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path, headers=BROWSER)
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={**BROWSER, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head(path, headers=BROWSER)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(first.content)))


@pytest.mark.parametrize("settings", [{"root_path": "/speech"}])
@pytest.mark.parametrize("path", ["/", "/speech", "/speech/"])
async def test_behind_a_prefix_its_links_have_the_prefix(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path, headers=BROWSER)
    assert '<base href="/speech/">' in page.text
    assert (await client.get("/speech/page/page.js")).status_code == 200


async def test_a_host_that_was_pointed_at_this_machine_gets_no_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={**BROWSER, "Host": "evil.example"})
    assert answer.status_code == 403
