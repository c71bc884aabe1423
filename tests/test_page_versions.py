"""The page over a database, in a real browser: versions, activations, promotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser import DESKTOP, PHONE, Visitor, browser, visiting  # noqa: F401 - a fixture
from tests.page_site import TECHNICAL, DatabaseSite
from tests.test_page_accessibility import LOOKS, barriers

NAME = "answers/technical"
BRIEF = TECHNICAL.replace("at most five", "no more than three")

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DatabaseSite]:
    with DatabaseSite(tmp_path) as site:
        yield site


def versions(visitor: Visitor) -> list[str]:
    visitor.edit(NAME)
    visitor.page.locator("#history summary").click()
    return visitor.page.locator("#history li").all_inner_texts()


def test_an_operator_sees_compares_and_activates_a_version(
    browser: Browser,  # noqa: F811
    site: DatabaseSite,
) -> None:
    with visiting(browser, site, size=PHONE) as olga:
        olga.come_in("olga")
        newest, first = versions(olga)
        for said in ("Version 2", "(ben)", "Active in staging", "Be brief", "Let us see"):
            assert said in newest
        for said in ("Version 1", "(ada)", "Active in production", "To begin with"):
            assert said in first
        olga.page.get_by_role("button", name="Look at this version").first.click()
        expect(olga.page.locator("#version-dialog .diff")).to_contain_text("no more than three")
        olga.page.keyboard.press("Escape")
        olga.page.get_by_role("link", name="Activate version 2…").press("Enter")
        expect(olga.page.locator(".from-to")).to_have_text("Version 1 → Version 2")
        expect(olga.page.locator("#confirm")).to_contain_text("support.yaml › technical")
        expect(olga.page.locator("article ins")).to_contain_text(["no", "more", "than three"])
        olga.page.get_by_label("Why?").fill("Customers asked for it")
        olga.page.keyboard.press("Enter")
        expect(olga.page.locator("#outcome")).to_contain_text("Version 2 is active")
        assert olga.page.url.endswith(f"/page/prompts/{NAME}")
        assert site.prompts[NAME].data == BRIEF.encode()
        newest, _ = versions(olga)
        assert "Active in production" in newest
        assert "Customers asked for it" in newest


def test_an_author_makes_a_version_that_waits_in_production(
    browser: Browser,  # noqa: F811
    site: DatabaseSite,
) -> None:
    with visiting(browser, site) as ada:
        ada.come_in("ada")
        ada.edit(NAME)
        ada.type_text(TECHNICAL.replace("small", "tiny"))
        ada.save("Smaller")
        expect(ada.page.locator("#outcome")).to_contain_text("It is version 3, and not active")
        assert site.prompts[NAME].data == TECHNICAL.encode()
        assert "Smaller" in versions(ada)[0]
        expect(ada.page.get_by_role("link", name="Activate version 3…")).to_have_count(0)


def test_two_who_activate_at_once_both_understand_what_happened(
    browser: Browser,  # noqa: F811
    site: DatabaseSite,
) -> None:
    with visiting(browser, site) as olga:
        olga.come_in("olga")
        olga.refused.add(412)
        olga.go(f"/page/versions/1/2/{NAME}?do=1")
        third = site.registry.create(NAME, TECHNICAL.replace("small", "big").encode(), who="ben")
        site.registry.activate("production", {NAME: third.number}, who="ben")
        olga.page.get_by_role("button", name="Activate this version").click()
        expect(olga.page.locator("#outcome")).to_contain_text("changed since")
        assert site.registry.active("production")[NAME] == 3


def test_a_promotion_shows_first_what_it_changes(
    browser: Browser,  # noqa: F811
    site: DatabaseSite,
) -> None:
    with visiting(browser, site) as olga:
        olga.come_in("olga")
        olga.go("/page/releases")
        olga.page.get_by_role("link", name="staging…").click()
        expect(olga.page.locator("#summary")).to_have_text("1 prompt changed")
        olga.page.get_by_label("Why?").fill("Tried for a day")
        olga.page.get_by_role("button", name="Promote to production").click()
        expect(olga.page.locator("#outcome")).to_contain_text("promoted")
        assert site.prompts[NAME].data == BRIEF.encode()
        olga.go("/page/promote/staging")
        expect(olga.page.locator("#summary")).to_have_text("Nothing: both have the same prompts.")
    with visiting(browser, site) as vera:
        vera.come_in("vera")
        vera.go("/page/releases")
        expect(vera.page.locator("#promote")).to_have_count(0)


def test_no_view_has_a_barrier(browser: Browser, site: DatabaseSite) -> None:  # noqa: F811
    found = []
    with visiting(browser, site) as olga:
        olga.come_in("olga")
        for path in (f"/page/versions/1/2/{NAME}?do=1", "/page/promote/staging", "/page/releases"):
            olga.go(path)
            olga.page.evaluate(Axe().axe_script)
            for look in LOOKS:
                found += [f"{path}, {line}" for line in barriers(olga.page, *look)]
        versions(olga)
        olga.page.evaluate(Axe().axe_script)
        for look in LOOKS:
            found += [f"versions, {line}" for line in barriers(olga.page, *look)]
        olga.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    assert not found, "\n".join(found)
