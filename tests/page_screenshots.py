"""Pictures of the page for `docs/page/`: ``python -m tests.page_screenshots [FOLDER]``.

Each view on a phone and at a desk, light and dark, of the support desk that the tests use too.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.browser import DESKTOP, PHONE, Visitor, launched, visiting
from tests.conftest import ROOT
from tests.page_site import TECHNICAL, Site

NAME = "answers/technical"
POLITE = TECHNICAL.replace("at most five", "no more than three")
SLIP = "Hello, I am {name}. {question}", "{{ name | uper }} asks: {{ question }}"
COLOURS = 256


def prompts(olga: Visitor) -> None:
    olga.go()
    olga.page.locator("#connection[data-state=connected]").wait_for()


def refused(olga: Visitor) -> None:
    prompts(olga)
    before = olga.site.text("answers/billing")
    olga.site.save("answers/billing", before.replace("{% endif %}", ""))
    olga.page.locator("#rejected li.finding").first.wait_for()


def editor(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.page.locator("#messages .message").first.wait_for()


def finding(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(POLITE.replace(*SLIP))
    olga.page.locator("#finding-list > li[data-severity=error]").first.wait_for()
    olga.page.locator("#preview-problem:not(:empty)").wait_for()


def save(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(POLITE.replace("small shop", "small shop in Hamburg"))
    olga.page.locator("#save").click()
    olga.page.locator("#message").fill("Say where the shop is")


def conflict(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(POLITE.replace("small shop", "small shop in Hamburg"))
    olga.site.save(NAME, POLITE.replace("devices.", "devices, and nothing else."))
    olga.page.locator("#conflict").wait_for()


def releases(olga: Visitor) -> None:
    olga.go("/page/releases")


def confirm(olga: Visitor) -> None:
    olga.go("/page/releases")
    olga.page.get_by_role("link", name="Go back…").click()
    olga.page.locator("#confirm").wait_for()


def graph(olga: Visitor) -> None:
    olga.go("/page/graphs")
    olga.page.locator("#content").get_by_role("link", name="support").first.click()
    olga.page.locator("#picture svg").wait_for()


def log(olga: Visitor) -> None:
    olga.go("/page/audit")


VIEWS: tuple[Callable[[Visitor], None], ...] = (
    prompts,
    editor,
    finding,
    save,
    releases,
    confirm,
    graph,
    log,
    conflict,
    refused,
)

# Something lies over the view, where the window is.
ON_TOP = (save, conflict)


def taken(browser: Browser, folder: Path, size: tuple[int, int], scheme: str) -> dict[str, bytes]:
    """Every view's picture by its file name, all from the same history."""
    device = "phone" if size == PHONE else "desktop"
    found = {}
    with (
        Site(folder) as site,
        visiting(browser, site, size=size, scheme=scheme, reduced_motion="reduce") as olga,
    ):
        olga.sign_in("olga")
        _history(olga)
        for view in VIEWS:
            view(olga)
            picture = _picture(olga.page, whole=size == PHONE and view not in ON_TOP)
            found[f"{view.__name__}-{device}-{scheme}.png"] = _small(picture)
            # What was typed is kept, also for the next view of the same prompt.
            olga.go("/page/new")
            olga.page.evaluate("localStorage.clear()")
    return found


def _history(olga: Visitor) -> None:
    site = olga.site
    site.publish("letters/signature", 'user: "{answer} Yours sincerely, the team."\n')
    olga.edit(NAME)
    olga.type_text(POLITE)
    olga.save("Shorter answers")
    olga.page.locator("#take-back").wait_for()


def _picture(page: Page, *, whole: bool) -> bytes:
    page.evaluate("document.activeElement.blur()")
    if not whole:
        return page.screenshot()
    # Rows that no screen has shown are not drawn: a phone as high as the page shows all.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": PHONE[0], "height": height})
    picture = page.screenshot()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    return picture


def _small(picture: bytes) -> bytes:
    """Few colours are enough for letters on a plain ground."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    with launched() as browser:
        for size in (DESKTOP, PHONE):
            for scheme in ("light", "dark"):
                with tempfile.TemporaryDirectory() as place:
                    for name, picture in taken(browser, Path(place), size, scheme).items():
                        (folder / name).write_bytes(picture)
                        total += len(picture)
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}, {total / 1024:.0f} KB")


if __name__ == "__main__":
    os.environ.pop("ENVIRONMENT", None)
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "page")
