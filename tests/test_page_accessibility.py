"""axe-core finds nothing on any view of the page, light and dark, on a phone and at a desk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser import DESKTOP, PHONE, Visitor, browser, visiting  # noqa: F401 - a fixture
from tests.page_site import TECHNICAL, Site

NAME = "answers/technical"
POLITE = TECHNICAL.replace("at most five", "no more than three")
BROKEN = "system: Be kind.\nsystem: Be brief.\nuser: |\n  Hello {name}.\n  {{ question | uper }}\n"
EVERYTHING = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
COLOURS = {"type": "rule", "values": ["color-contrast"]}
# Each width and each scheme is looked at whole; where both are known, only the colours are new.
LOOKS = (
    (DESKTOP, "light", EVERYTHING),
    (PHONE, "dark", EVERYTHING),
    (DESKTOP, "dark", COLOURS),
    (PHONE, "light", COLOURS),
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A change on top of the first release, then one that is refused."""
    with Site(tmp_path) as site:
        site.publish(NAME, POLITE)
        yield site


def the_list(olga: Visitor) -> None:
    olga.go()
    olga.page.locator("#connection[data-state=connected]").wait_for()
    olga.site.save("answers/billing", BROKEN)
    olga.page.locator("#rejected li.finding").first.wait_for()


def the_list_without_a_match(olga: Visitor) -> None:
    olga.go()
    olga.page.locator("#search").fill("nothing like this")
    expect(olga.page.locator("#nothing")).to_be_visible()


def the_editor(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.page.locator("#history summary").click()


def the_editor_with_findings(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(BROKEN)
    olga.page.locator("#finding-list > li").first.wait_for()


def a_prompt_that_is_locked(olga: Visitor) -> None:
    olga.edit("letters/imprint")


def the_save_dialog(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(TECHNICAL)
    olga.page.locator("#save").click()
    olga.page.locator("#save-dialog .diff").wait_for()


def a_conflict(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(TECHNICAL.replace("small", "tiny"))
    olga.site.save(NAME, POLITE.replace("small", "large"))
    olga.page.locator("#conflict").wait_for()


def a_new_prompt(olga: Visitor) -> None:
    olga.go("/page/new")


def the_releases_of_a_hold(olga: Visitor) -> None:
    olga.site.prompts.rollback()
    olga.go("/page/releases")


def a_diff_to_confirm(olga: Visitor) -> None:
    first = olga.site.prompts.releases()[-1].id
    olga.go(f"/page/releases/live/diff/{first}?do=activate")


def the_log(olga: Visitor) -> None:
    olga.edit(NAME)
    olga.type_text(TECHNICAL)
    olga.save("As it was")
    olga.page.locator("#take-back").wait_for()
    olga.go("/page/audit")


def the_graphs(olga: Visitor) -> None:
    olga.go("/page/graphs")


def a_graph(olga: Visitor) -> None:
    olga.go("/page/graphs")
    olga.page.locator("#content").get_by_role("link", name="support").first.click()
    olga.page.locator("#picture svg").wait_for()


def the_sign_in(olga: Visitor) -> None:
    olga.page.get_by_role("button", name="Sign out").click()
    olga.page.get_by_label("Token").wait_for()


# In an order in which none spoils the next.
LOOKING = (
    the_list,
    the_list_without_a_match,
    the_editor,
    a_prompt_that_is_locked,
    a_new_prompt,
    the_graphs,
    a_graph,
    the_sign_in,
)
CHANGING = (the_editor_with_findings, the_save_dialog, the_log, a_conflict)
OPERATING = (a_diff_to_confirm, the_releases_of_a_hold)


@pytest.mark.parametrize("views", [LOOKING, CHANGING, OPERATING], ids=["look", "change", "operate"])
def test_no_view_has_a_barrier(
    browser: Browser,  # noqa: F811
    site: Site,
    views: tuple[Callable[[Visitor], None], ...],
) -> None:
    found = []
    with visiting(browser, site) as olga:
        olga.come_in("olga")
        for view in views:
            view(olga)
            olga.page.evaluate(Axe().axe_script)
            for look in LOOKS:
                found += [f"{view.__name__}, {line}" for line in barriers(olga.page, *look)]
            olga.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    assert not found, "\n".join(found)


def barriers(page: Page, size: tuple[int, int], scheme: Any, rules: dict[str, Any]) -> list[str]:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    # A colour on its way to another has the contrast of neither.
    page.evaluate("() => Promise.all(document.getAnimations().map(one => one.finished))")
    options = {"runOnly": rules, "resultTypes": ["violations"]}
    told = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{size[0]} px, {scheme}: {found['id']}: {node['target']} {node['failureSummary']}"
        for found in told["violations"]
        for node in found["nodes"]
    ]
