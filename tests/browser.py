"""A real Chromium for tests: one for each module, a context of its own for each visitor.

Whatever a page does that it should not (errors in the console, requests to another host, what the
Content-Security-Policy stops) fails the test that it happens in, whatever that test is about.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.page_site import Site, token

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)
DESKTOP, PHONE = (1280, 800), (390, 844)

_NONE = "There is no Chromium on the PATH (Debian: apt-get install chromium-headless-shell)."
# The browser itself says this of each request that is refused or not answered.
_REFUSED = re.compile(r"Failed to load resource: .*status of (\d+)")
_UNANSWERED = re.compile(r"net::ERR_")


def chromium() -> str | None:
    """The path of this system's Chromium."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium; RuntimeError where there is none."""
    path = chromium()
    if path is None:
        raise RuntimeError(_NONE)
    # No proxy: everything is on this machine.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-proxy-server"])
        try:
            yield browser
        finally:
            browser.close()


# Playwright keeps an event loop in this thread as long as it lasts, and asyncio.run would refuse to
# make another: so it must not outlast the module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the module's tests."""
    need_chromium()
    with launched() as browser:
        yield browser


def need_chromium() -> None:
    """Leave a test out where there is no Chromium; fail it where there must be one."""
    if chromium() is None:
        assert os.environ.get("PAGE_TESTS") != "required", _NONE
        pytest.skip(_NONE)


@dataclass
class Visitor:
    """Somebody with a browser of their own.

    `refused` are the HTTP statuses that the page is expected to meet, and `offline` says that the
    server is expected not to answer: the browser logs both as errors, whatever the page does.
    """

    page: Page
    site: Site
    refused: set[int] = field(default_factory=set)
    offline: bool = False
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.on("request", self._requested)

    def go(self, path: str = "/") -> Page:
        """Open a path of the site."""
        self.page.goto(self.site.url + path)
        return self.page

    def sign_in(self, name: str, path: str = "/") -> Page:
        """Come in as somebody, then go on to `path`."""
        page = self.go(path)
        page.get_by_label("Token").fill(token(name))
        page.get_by_role("button", name="Sign in").click()
        page.locator("#who").wait_for()
        return page

    def come_in(self, name: str) -> None:
        """The same without looking at anything."""
        form = {"token": token(name)}
        url = self.site.url + "/page/sign-in"
        answer = self.page.context.request.post(url, form=form, max_redirects=0)
        assert answer.status == 303, answer.text()

    def edit(self, name: str) -> Page:
        """Open the editor of a prompt; ready when it has been checked once."""
        page = self.go(f"/page/prompts/{name}")
        page.locator("#findings[data-state=done]").wait_for()
        return page

    def type_text(self, text: str) -> None:
        self.page.get_by_label("Prompt text").fill(text)

    def save(self, message: str) -> None:
        """Put the text live through the dialog."""
        self.page.locator("#save").click()
        self.page.locator("#message").fill(message)
        self.page.locator("#confirm-save").click()

    def _said(self, kind: str, text: str) -> None:
        status = _REFUSED.search(text)
        expected = (status and int(status[1]) in self.refused) or (
            self.offline and _UNANSWERED.search(text)
        )
        if kind in ("error", "warning") and not expected:
            self.problems.append(f"{kind}: {text}")

    def _asked(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((quote(self.site.url, safe=":/") + "/", "data:", "blob:")):
            self.problems.append(f"not from us: {request.url}")


@contextmanager
def visiting(
    browser: Browser,
    site: Site,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: Any = "light",
    **more: Any,
) -> Iterator[Visitor]:
    """A visitor of `site`, whose page has done nothing wrong when the block ends."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **more
    )
    context.set_default_timeout(WAIT_MS)
    try:
        visitor = Visitor(context.new_page(), site)
        context.on("page", visitor.watch)
        visitor.watch(visitor.page)
        try:
            yield visitor
        except BaseException as failed:
            failed.add_note(f"What the page did wrong: {visitor.problems}")
            raise
        assert not visitor.problems, visitor.problems
    finally:
        context.close()
