"""The page for prompt authors in a real browser, on real folders, with a real graph beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser import DESKTOP, PHONE, Visitor, browser, visiting  # noqa: F401 - a fixture
from tests.conftest import wait_until
from tests.files import write
from tests.model_server import ModelServer
from tests.page_site import TECHNICAL, Site

NAME = "answers/technical"
POLITE = TECHNICAL.replace("at most five", "no more than three")
BROKEN = "system: Be kind.\nuser: |\n  Hello {name}.\n  {{ question | uper }}\n"
Enter = Callable[..., Visitor]


@pytest.fixture
def site(tmp_path: Path, model_server: ModelServer) -> Iterator[Site]:
    model_server.fields["intent"] = "technical"
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def enter(browser: Browser, site: Site) -> Iterator[Enter]:  # noqa: F811
    """`enter("ada")`: ada, signed in with a browser of her own."""
    with ExitStack() as stack:

        def enter(name: str, **more: object) -> Visitor:
            visitor = stack.enter_context(visiting(browser, site, **more))
            visitor.come_in(name)
            return visitor

        yield enter


@pytest.fixture
def ada(enter: Enter) -> Visitor:
    return enter("ada")


def system_text(page: Page) -> Locator:
    return page.locator("#messages .message[data-role=system] .content")


def names(page: Page) -> list[str]:
    rows = page.locator("#prompts > li:visible")
    return [row.get_attribute("data-name") or "" for row in rows.all()]


def finding(page: Page, line: int) -> Locator:
    return page.locator(f"#finding-list > li.finding[data-severity=error][data-line='{line}']")


def is_live(page: Page) -> None:
    expect(page.locator("#outcome")).to_have_text(re.compile("^Live now"))


@contextmanager
def late(page: Page, url: str) -> Iterator[None]:
    """What is asked for at `url` comes when the block ends."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route))
    yield
    for route in held:
        route.continue_()
    page.unroute(url)


# -- the walk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "/tools/prompt desk"])
def test_the_walk_of_an_author(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
    model_server: ModelServer,
    root: str,
) -> None:
    """Sign in, find, change a word, see what it says, put it live, go back."""
    model_server.fields["intent"] = "technical"
    with Site(tmp_path, root=root) as site, visiting(browser, site) as olga:
        page = olga.sign_in("olga")
        expect(page.get_by_role("heading", level=1)).to_have_text("Prompts")

        page.get_by_role("searchbox", name="Find a prompt").press_sequentially("techn")
        expect(page.locator("#prompts > li:visible")).to_have_count(1)
        page.locator("#prompts").get_by_role("link", name=NAME).click()

        text = page.get_by_role("textbox", name="Prompt text")
        expect(text).to_have_value(TECHNICAL)
        text.fill(POLITE)
        expect(system_text(page)).to_contain_text("no more than three sentences")
        expect(page.locator("#findings-summary")).to_have_text("No findings")

        page.get_by_role("button", name="Put it live…").click()
        dialog = page.get_by_role("dialog", name="Put it live")
        expect(dialog.locator(".diff ins").first).to_be_visible()
        dialog.get_by_label("What did you change?").fill("Shorter answers")
        dialog.get_by_role("button", name="Put it live").click()
        is_live(page)

        site.run(question="My lamp is dark.", name="Ada")
        assert "no more than three sentences" in model_server.texts()[1]
        assert site.text(NAME) == POLITE

        page.get_by_role("navigation", name="Main").get_by_role("link", name="Releases").click()
        expect(page.locator("#releases > li").first).to_contain_text("Shorter answers")
        page.get_by_role("link", name="Go back…").click()
        expect(page.locator(f".file[data-name='{NAME}'] .diff")).to_contain_text("no more than")
        page.locator("#confirm").get_by_label("Why?").fill("Too short")
        page.get_by_role("button", name="Go back to this release").click()
        expect(page.locator("#following")).to_have_text(re.compile("Held"))

        model_server.clear()
        site.run(question="My lamp is dark.", name="Ada")
        assert "at most five sentences" in model_server.texts()[1]
        assert site.prompts.held


def test_an_author_takes_a_change_back_with_one_button(
    site: Site, ada: Visitor, model_server: ModelServer
) -> None:
    page = ada.edit(NAME)
    ada.type_text(POLITE)
    ada.save("Shorter answers")
    is_live(page)
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_label("Prompt text")).to_have_value(TECHNICAL)
    wait_until(lambda: site.text(NAME) == TECHNICAL)
    site.run(question="My lamp is dark.", name="Ada")
    assert "at most five sentences" in model_server.texts()[1]


def test_a_follower_of_a_held_release_lets_go_again(site: Site, enter: Enter) -> None:
    site.publish(NAME, POLITE)
    site.prompts.rollback()
    olga = enter("olga")
    page = olga.go("/page/releases")
    page.get_by_role("link", name="Follow again…").click()
    expect(page.locator(f".file[data-name='{NAME}'] .diff")).to_contain_text("no more than")
    page.get_by_role("button", name="Follow the layers again").click()
    expect(page.locator("#following")).to_have_text(re.compile("Following"))
    wait_until(lambda: not site.prompts.held)
    assert "no more than three" in (site.prompts[NAME].system or "")


def test_any_kept_release_is_activated_behind_its_diff(site: Site, enter: Enter) -> None:
    first = site.prompts.release.id
    site.publish(NAME, POLITE)
    olga = enter("olga")
    page = olga.go("/page/releases")
    page.locator(f"#releases > li[data-id='{first}']").get_by_text("Make live…").click()
    expect(page.locator(".diff").first).to_be_visible()
    page.get_by_role("button", name="Make this release live").click()
    expect(page.locator(f"#releases > li[data-id='{first}'] .badge").first).to_be_visible()
    assert (site.prompts.release.id, site.prompts.held) == (first, True)


def test_two_releases_are_compared_side_by_side(site: Site, ada: Visitor) -> None:
    first = site.prompts.release.id
    site.publish(NAME, POLITE)
    second = site.publish("letters/new", "user: Hello\n")
    page = ada.go("/page/releases")
    page.get_by_label("From").select_option(first)
    page.get_by_label("To").select_option(second)
    page.get_by_role("button", name="Compare").click()
    changed = page.locator(f"article.file[data-name='{NAME}']")
    expect(changed.locator(".row[data-kind=changed] .old")).to_contain_text("at most five")
    expect(changed.locator(".row[data-kind=changed] .new")).to_contain_text("no more than three")
    expect(page.locator("article.file[data-name='letters/new']")).to_contain_text("added")
    expect(page.locator("#summary")).to_have_text("1 prompt changed, 1 prompt added")
    # Not by their colour alone.
    sign = "one => getComputedStyle(one, '::after').content"
    signs = {"changed] .old": "−", "changed] .new": "+", "same] .new": ""}
    for place, wanted in signs.items():
        number = changed.locator(f".row[data-kind={place} .number").first
        assert number.evaluate(sign) == f'"{wanted}"'


def test_a_new_prompt_is_made_and_found(site: Site, ada: Visitor) -> None:
    page = ada.go()
    page.get_by_role("link", name="New prompt").click()
    page.get_by_label("Name").fill("letters/thanks")
    page.keyboard.press("Enter")
    page.get_by_label("Prompt text").fill("user: Thank you, {name}.\n")
    ada.save("A kind word")
    is_live(page)
    assert site.prompts["letters/thanks"].user == "Thank you, {name}."


def test_a_new_prompt_that_is_taken_back_is_gone(site: Site, ada: Visitor) -> None:
    page = ada.go("/page/prompts/letters/thanks?new=1")
    ada.type_text("user: Thank you, {name}.\n")
    ada.save("A kind word")
    is_live(page)
    page.get_by_role("button", name="Take it back").click()
    wait_until(lambda: "letters/thanks" not in site.prompts.release)


def test_a_prompt_is_removed_after_a_question_and_one_that_a_graph_needs_is_not(
    site: Site, ada: Visitor
) -> None:
    site.publish("letters/old", "user: Hello\n")
    live = site.prompts.release.id

    def remove(name: str) -> Locator:
        page = ada.edit(name)
        page.get_by_role("button", name="Remove this prompt…").click()
        page.get_by_label("Why?").fill("Nobody needs it")
        page.get_by_role("button", name="Remove it").click()
        return page.locator("#outcome")

    ada.refused = {422}
    expect(remove(NAME)).to_contain_text("technical")
    assert site.prompts.release.id == live
    remove("letters/old")
    wait_until(lambda: "letters/old" not in site.prompts.release)


def test_an_earlier_version_is_looked_at_and_used_again(site: Site, ada: Visitor) -> None:
    page = ada.edit(NAME)
    for number in ("three", "two"):
        ada.type_text(TECHNICAL.replace("five", number))
        ada.save(f"At most {number}")
        wait_until(lambda number=number: f"most {number}" in site.text(NAME))
        expect(page.locator("#save")).to_be_disabled()
    page.get_by_text("Earlier changes").click()
    older = page.locator("#history li").filter(has_text="At most three")
    older.get_by_role("button", name="Look at this version").click()
    shown = page.get_by_role("dialog", name="An earlier version")
    expect(shown.locator(".diff")).to_contain_text("at most three")
    shown.get_by_role("button", name="Use this text").click()
    expect(page.get_by_label("Prompt text")).to_have_value(TECHNICAL.replace("five", "three"))
    assert "most two" in site.text(NAME)
    # Nobody made the first one on the page.
    first = page.locator("#history li").last
    expect(first).to_contain_text("at the start")
    first.get_by_role("button", name="Look at this version").click()
    shown.get_by_role("button", name="Use this text").click()
    expect(page.get_by_label("Prompt text")).to_have_value(TECHNICAL)
    expect(page.locator("#history .badge")).to_have_count(1)


def test_what_is_saved_while_a_release_is_held_waits_and_says_so(site: Site, enter: Enter) -> None:
    site.publish(NAME, POLITE)
    site.prompts.rollback()
    held = site.prompts.release.id
    ada = enter("ada")
    page = ada.edit("answers/billing")
    expect(page.locator("#is-held")).to_be_visible()
    billing = site.text("answers/billing").replace("Name the", "Always name the")
    ada.type_text(billing)
    ada.save("Always")
    expect(page.locator("#outcome")).to_have_text(re.compile("^Saved"))
    assert (site.prompts.release.id, site.text("answers/billing")) == (held, billing)


def test_where_the_data_goes_is_not_an_authors_to_change(site: Site, ada: Visitor) -> None:
    live = site.prompts.release.id
    page = ada.edit(NAME)
    ada.type_text(TECHNICAL + "provider: openai\nmodel: gpt-4o\n")
    ada.refused = {403}
    ada.save("Another model")
    expect(page.locator("#outcome[data-kind=bad]")).to_contain_text("operator")
    assert (site.prompts.release.id, site.text(NAME)) == (live, TECHNICAL)


def test_the_search_knows_graphs_nodes_and_layers(site: Site, ada: Visitor) -> None:
    page = ada.go()
    for word, found in {
        "sign": ["letters/signature"],
        "support.yaml": ["answers/billing", NAME, "letters/signature", "router/classify"],
        "prompts/base": ["letters/apology", "letters/imprint"],
        "LETTERS apology": ["letters/apology"],
        "nothing like this": [],
    }.items():
        page.locator("#search").fill(word)
        expect(page.locator("#prompts > li:visible")).to_have_count(len(found))
        assert names(page) == found
    expect(page.locator("#nothing")).to_be_visible()


# -- a break, its finding, the fix -----------------------------------------------------------------


def test_a_break_is_found_at_its_line_while_typing_refused_and_mended(
    site: Site, ada: Visitor
) -> None:
    live = site.prompts.release.id
    page = ada.edit(NAME)
    ada.type_text(BROKEN)
    expect(finding(page, 4)).to_be_visible()
    expect(page.locator("#mirror > .line.error[data-line='4']")).to_be_visible()
    expect(page.locator("#findings-summary")).to_have_text(re.compile("1 error"))

    ada.refused = {422}
    ada.save("Does this work?")
    expect(page.locator("#outcome[data-kind=bad], #save-dialog [role=alert]").first).to_be_visible()
    assert (site.prompts.release.id, site.text(NAME)) == (live, TECHNICAL)

    if page.locator("#save-dialog").is_visible():
        page.keyboard.press("Escape")
    ada.type_text(BROKEN.replace("uper", "upper"))
    expect(page.locator("#finding-list > li.finding[data-severity=error]")).to_have_count(0)
    ada.save("It does")
    is_live(page)
    assert site.prompts.release.id != live


def test_a_finding_leads_to_its_line(ada: Visitor) -> None:
    page = ada.edit(NAME)
    ada.type_text(BROKEN)
    finding(page, 4).get_by_role("button", name="Line 4").click()
    text = page.get_by_label("Prompt text")
    expect(text).to_be_focused()
    start = text.evaluate("area => area.value.slice(0, area.selectionStart).split('\\n').length")
    assert start == 4


def test_a_candidate_that_was_refused_stands_on_top_with_why_and_where(
    site: Site, ada: Visitor
) -> None:
    page = ada.go()
    expect(page.locator("#rejected")).to_have_count(0)
    site.save(NAME, BROKEN)
    shown = page.locator("#rejected li.finding").first
    expect(shown.locator(".where")).to_contain_text("technical.yaml")
    expect(shown.locator(".where")).to_contain_text("4")
    assert "uper" in (shown.locator(".what").text_content() or "")
    site.save(NAME, TECHNICAL)
    expect(page.locator("#rejected")).to_have_count(0)


def test_the_preview_says_why_it_cannot_be_shown(ada: Visitor) -> None:
    page = ada.edit(NAME)
    ada.type_text("user: '{{ question | uper }}'\n")
    expect(page.locator("#preview-problem")).to_contain_text("errors")
    ada.type_text(TECHNICAL)
    expect(page.locator("#preview-problem")).to_be_empty()


def test_sample_values_are_guessed_used_and_remembered(ada: Visitor) -> None:
    page = ada.edit(NAME)
    question = page.get_by_role("group", name="Sample values").get_by_label("question")
    expect(question).not_to_have_value("")
    question.fill("Why is my lamp dark?")
    human = page.locator("#messages .message[data-role=human] .content")
    expect(human).to_contain_text("Why is my lamp dark?")
    page.reload()
    expect(page.get_by_label("question")).to_have_value("Why is my lamp dark?")
    expect(human).to_contain_text("Why is my lamp dark?")


# -- two authors at once ---------------------------------------------------------------------------


def test_two_authors_at_once_are_shown_what_differs_and_nothing_is_overwritten(
    site: Site, enter: Enter
) -> None:
    ada, ben = enter("ada"), enter("ben")
    ada.edit(NAME)
    ben.edit(NAME)
    mine = TECHNICAL.replace("small shop", "large shop")
    ben.type_text(mine)
    ada.type_text(POLITE)
    ada.save("Shorter answers")
    is_live(ada.page)

    conflict = ben.page.locator("#conflict")
    expect(conflict.get_by_role("heading")).to_have_text("Somebody changed this prompt meanwhile")
    expect(conflict.locator(".diff")).to_contain_text("no more than three")
    expect(conflict.locator(".diff")).to_contain_text("large shop")
    expect(ben.page.get_by_label("Prompt text")).to_have_value(mine)
    assert site.text(NAME) == POLITE

    conflict.get_by_role("button", name="Keep mine").click()
    expect(ben.page.get_by_label("Prompt text")).to_have_value(mine)
    both = POLITE.replace("small shop", "large shop")
    ben.type_text(both)
    ben.save("Both")
    is_live(ben.page)
    assert site.text(NAME) == both


def test_a_save_on_top_of_an_unseen_change_is_refused_with_what_differs(
    site: Site, enter: Enter
) -> None:
    ben = enter("ben")
    ben.offline = True
    ben.page.context.route("**/events", lambda route: route.abort())
    ben.edit(NAME)
    ben.type_text(TECHNICAL.replace("small shop", "large shop"))
    site.publish(NAME, POLITE)
    ben.refused = {412}
    ben.save("A large shop")
    expect(ben.page.locator("#conflict .diff")).to_contain_text("no more than three")
    expect(ben.page.locator("#outcome")).to_contain_text("Not saved")
    assert site.text(NAME) == POLITE


def test_the_others_text_can_be_taken(site: Site, enter: Enter) -> None:
    ben = enter("ben")
    ben.edit(NAME)
    ben.type_text(TECHNICAL.replace("small", "large"))
    site.save(NAME, POLITE)
    ben.page.locator("#take-theirs").click()
    expect(ben.page.get_by_label("Prompt text")).to_have_value(POLITE)
    expect(ben.page.locator("#conflict")).to_be_hidden()
    expect(ben.page.locator("#save")).to_be_disabled()


# -- the connection --------------------------------------------------------------------------------


def test_a_dropped_connection_is_told_and_the_draft_goes_on_when_it_is_back(
    site: Site, ada: Visitor
) -> None:
    page = ada.edit(NAME)
    connection = page.locator("#connection")
    expect(connection).to_have_attribute("data-state", "connected")
    ada.offline = True
    site.server.stop()
    expect(connection).to_have_attribute("data-state", "lost")
    expect(connection).to_contain_text("Not connected")
    ada.type_text(POLITE)
    ada.save("Shorter answers")
    expect(page.locator("#outcome[data-kind=bad]")).to_contain_text("Not saved")
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)

    site.restart()
    expect(connection).to_have_attribute("data-state", "connected")
    if page.locator("#save-dialog").is_visible():
        page.keyboard.press("Escape")
    ada.save("Shorter answers")
    is_live(page)
    assert site.text(NAME) == POLITE


def test_an_unsaved_text_survives_a_reload(ada: Visitor) -> None:
    page = ada.edit(NAME)
    ada.type_text(POLITE)
    expect(page.locator("#findings[data-state=done]")).to_be_visible()
    page.reload()
    expect(page.locator("#restored")).to_contain_text("Your unsaved text is back")
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)
    page.locator("#restored").get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Prompt text")).to_have_value(TECHNICAL)


def test_a_tab_without_changes_keeps_the_draft_of_another(ada: Visitor) -> None:
    page = ada.edit(NAME)
    other = page.context.new_page()
    other.goto(page.url)
    other.locator("#findings[data-state=done]").wait_for()
    ada.type_text(POLITE)
    page.wait_for_function("() => Object.keys(localStorage).some(key => key.includes('draft'))")
    page.close()
    other.goto(ada.site.url + "/page/audit")
    other.go_back()
    expect(other.get_by_label("Prompt text")).to_have_value(POLITE)
    expect(other.locator("#restored")).to_be_visible()


def test_a_copy_of_what_another_layer_has_is_said_and_taken_back_by_deleting_it(
    site: Site, ada: Visitor
) -> None:
    copy = site.folder / "prompts/production/letters/imprint.yaml"
    page = ada.edit("letters/imprint")
    before = page.get_by_label("Prompt text").input_value()
    expect(page.locator("#from-below")).to_contain_text("prompts/base")
    expect(page.locator("#from-below")).to_contain_text("prompts/production")
    expect(page.locator("#remove")).to_have_count(0)
    ada.type_text(before.replace("Harbour", "Castle"))
    ada.save("Moved")
    is_live(page)
    expect(page.locator("#from-below")).to_have_count(0)
    assert "Castle" in copy.read_text()

    page.get_by_role("button", name="Take it back").click()
    expect(page.locator("#outcome")).to_have_text(re.compile("^Taken back"))
    assert not copy.exists()
    assert "Harbour" in (site.prompts["letters/imprint"].user or "")
    expect(page.get_by_label("Prompt text")).to_have_value(before)
    expect(page.locator("#from-below")).to_be_visible()
    expect(page.locator("#save")).to_be_disabled()


def test_a_session_that_ends_loses_no_word(site: Site, ada: Visitor) -> None:
    page = ada.edit(NAME)
    ada.type_text(POLITE)
    ada.refused = {401}
    tokens = site.folder / "tokens"
    known = tokens.read_text()
    tokens.write_text("".join(line for line in known.splitlines(True) if " ada" not in line))
    wait_until(lambda: page.context.request.get(f"{site.url}/audit").status == 401)
    ada.save("Shorter answers")
    expect(page.locator("#outcome[data-kind=bad]")).to_contain_text("signed out")
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)

    tokens.write_text(known)
    wait_until(lambda: page.context.request.get(f"{site.url}/audit").status == 200)
    page.locator("#outcome").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)


def test_what_happens_elsewhere_is_shown_without_a_reload(site: Site, enter: Enter) -> None:
    ada, vera = enter("ada"), enter("vera")
    ada.go()
    vera.go("/page/releases")
    expect(vera.page.locator("#releases > li")).to_have_count(1)
    site.save("letters/new", "user: Hello\n")
    expect(ada.page.locator("#prompts > li[data-name='letters/new']")).to_be_visible()
    expect(vera.page.locator("#releases > li")).to_have_count(2)
    expect(vera.page.locator("#live-release")).to_contain_text(site.prompts.release.id[:8])


def test_nothing_is_missed_between_a_page_and_its_events(site: Site, ada: Visitor) -> None:
    with late(ada.page, "**/events"):
        with ada.page.expect_request("**/events"):
            ada.go()
        site.publish("letters/new", "user: Hello\n")
    expect(ada.page.locator("#prompts > li[data-name='letters/new']")).to_be_visible()


def test_an_open_editor_without_changes_takes_the_new_text(site: Site, ada: Visitor) -> None:
    page = ada.edit(NAME)
    site.save(NAME, POLITE)
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)


# -- who may what ----------------------------------------------------------------------------------


def test_a_viewer_is_offered_nothing_that_changes_anything(site: Site, enter: Enter) -> None:
    vera = enter("vera")
    page = vera.edit(NAME)
    expect(page.locator("#locked")).to_be_visible()
    expect(page.locator("#save")).to_have_count(0)
    expect(page.locator("#discard")).to_have_count(0)
    vera.go()
    for name in ("New prompt", "Look at the layers now"):
        expect(page.get_by_text(name)).to_have_count(0)
    site.prompts.publish()
    vera.go("/page/releases")
    for name in ("Go back…", "Make live…", "Follow again…"):
        expect(page.get_by_text(name)).to_have_count(0)


def test_an_author_may_save_but_is_not_offered_to_activate(site: Site, ada: Visitor) -> None:
    first = site.prompts.release.id
    site.publish(NAME, POLITE)
    page = ada.edit(NAME)
    expect(page.locator("#save")).to_be_visible()
    ada.go("/page/releases")
    expect(page.locator("#releases > li")).to_have_count(2)
    for name in ("Go back…", "Make live…"):
        expect(page.get_by_text(name)).to_have_count(0)
    ada.go(f"/page/releases/live/diff/{first}?do=activate")
    expect(page.locator("#confirm")).to_have_count(0)


def test_a_prompt_that_cannot_be_written_says_why(site: Site, ada: Visitor) -> None:
    write(site.folder, {"prompts/base/letters/made.yaml.j2": "user: From {{ environment }}\n"})
    wait_until(lambda: "letters/made" in site.prompts.release)
    page = ada.edit("letters/made")
    expect(page.locator("#locked")).to_contain_text("made.yaml.j2")
    expect(page.locator("#save")).to_have_count(0)


def test_a_wrong_token_is_told_and_a_sign_out_ends_it(
    browser: Browser,  # noqa: F811
    site: Site,
) -> None:
    with visiting(browser, site) as ada:
        ada.refused = {401, 403}
        page = ada.go(f"/page/prompts/{NAME}")
        page.get_by_label("Token").fill("not-a-token")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Token").fill("the-token-of-ada")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert "the-token-of-ada" not in cookie["value"]
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        ada.go()
        expect(page.get_by_label("Token")).to_be_visible()


def test_the_log_says_who_did_what(site: Site, ada: Visitor) -> None:
    ada.go("/page/audit")
    expect(ada.page.locator("main")).to_have_text(re.compile(r"Log\s*Nobody has changed anything"))
    ada.edit(NAME)
    ada.type_text(POLITE)
    ada.save("Shorter answers")
    is_live(ada.page)
    ada.go("/page/audit")
    newest = ada.page.locator("#log > li").first
    for words in ("ada", NAME, "Shorter answers"):
        expect(newest).to_contain_text(words)


# -- the graph -------------------------------------------------------------------------------------


def test_a_click_on_a_node_of_the_graph_opens_its_prompt(ada: Visitor) -> None:
    page = ada.go("/page/graphs")
    page.locator("#content").get_by_role("link", name=re.compile("support")).first.click()
    picture = page.locator("#picture svg")
    expect(picture).to_be_visible()
    picture.get_by_text("technical", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)


ODD_NODES = ["end", "graph", "class", "style", "default", "click", "subgraph", 'say "hi"', "(x)"]
ODD_NODES += ["a<b>c", "[y]", "{z}", "#h;", "1. one", "_soft_", "<img src=x onerror=alert(1)>"]


def test_a_node_of_any_name_is_drawn_and_opens_its_prompt(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
) -> None:
    nodes = {name: {"type": "llm", "prompt": "answers/technical"} for name in ODD_NODES}
    nodes[ODD_NODES[0]]["prompt"] = "letters/apology"
    chain = ["START", *ODD_NODES, "END"]
    graph = {"name": "odd", "state": {"question": "str", "name": "str", "topic": "str"}}
    graph |= {"nodes": nodes, "edges": [{"from": a, "to": b} for a, b in pairwise(chain)]}
    with (
        Site(tmp_path, files={"support.yaml": json.dumps(graph)}) as site,
        visiting(browser, site) as ada,
    ):
        ada.come_in("ada")
        page = ada.go("/page/graphs/0")
        expect(page.locator("#picture svg")).to_be_visible()
        drawn = [one.text_content() or "" for one in page.locator("svg g.node").all()]
        assert sorted(one.strip() for one in drawn) == sorted(["Start", *ODD_NODES, "End"])
        page.locator("svg").get_by_text("end", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("letters/apology")


# -- by keyboard, on a phone, in the dark ----------------------------------------------------------


def test_the_walk_needs_no_mouse(site: Site, ada: Visitor) -> None:
    page = ada.go()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("technical")
    expect(page.locator("#prompts > li:visible")).to_have_count(1)
    tab_to(page, page.locator("#prompts li:visible a").first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    tab_to(page, page.locator("#text"))
    page.keyboard.press("Control+End")
    page.keyboard.type("  Be brief.")
    tab_to(page, page.locator("#save"))
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("Brief")
    tab_to(page, page.locator("#confirm-save"))
    page.keyboard.press("Enter")
    is_live(page)
    assert "Be brief." in site.text(NAME)


def tab_to(page: Page, target: Locator) -> None:
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


def test_the_first_tab_leads_past_the_head_of_the_page(ada: Visitor) -> None:
    page = ada.go()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


def test_what_is_said_covers_nothing_that_has_the_focus(site: Site, enter: Enter) -> None:
    ada = enter("ada", size=PHONE)
    page = ada.edit(NAME)
    ada.type_text(POLITE)
    page.locator("#guess").focus()
    ends = "document.activeElement.getBoundingClientRect().bottom"
    page.evaluate(f"scrollBy(0, {ends} - innerHeight)")
    page.evaluate("document.getElementById('discard').click()")
    expect(page.locator("#outcome")).to_contain_text("discarded")
    covered = """() => {
        const [one, said] = [document.activeElement, document.getElementById("outcome")];
        const [a, b] = [one.getBoundingClientRect(), said.getBoundingClientRect()];
        return !said.contains(one) && a.height < b.top && a.bottom > b.top && a.top < b.bottom;
    }"""
    assert not page.evaluate(covered)
    for _ in range(8):
        page.keyboard.press("Tab")
        assert not page.evaluate(covered), page.evaluate("document.activeElement.outerHTML")


def test_a_dialog_keeps_the_focus_and_gives_it_back(ada: Visitor) -> None:
    page = ada.edit(NAME)
    ada.type_text(POLITE)
    page.locator("#save").focus()
    page.keyboard.press("Enter")
    for _ in range(8):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            "document.activeElement === document.body"
            " || !!document.activeElement.closest('#save-dialog')"
        )
        assert inside
    page.keyboard.press("Escape")
    expect(page.locator("#save-dialog")).to_be_hidden()
    expect(page.locator("#save")).to_be_focused()


VIEWS = (
    "/",
    f"/page/prompts/{NAME}",
    "/page/new",
    "/page/releases",
    "/page/audit",
    "/page/graphs",
    "/page/graphs/0",
)


def test_looking_and_finding_need_no_script(enter: Enter) -> None:
    page = enter("ada", java_script_enabled=False).go()
    page.get_by_role("searchbox", name="Find a prompt").fill("techn")
    page.keyboard.press("Enter")
    expect(page.locator("#prompts > li")).to_have_count(1)
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_label("Prompt text")).to_have_value(TECHNICAL)


def test_what_is_typed_before_the_script_has_come_is_kept(ada: Visitor) -> None:
    page = ada.page
    with late(page, "**/editor.js"):
        page.goto(f"{ada.site.url}/page/prompts/{NAME}", wait_until="commit")
        ada.type_text(POLITE)
    expect(system_text(page)).to_contain_text("no more than three")
    expect(page.get_by_label("Prompt text")).to_have_value(POLITE)
    expect(page.locator("#save")).to_be_enabled()


def test_nothing_is_wider_than_a_phone(site: Site, enter: Enter) -> None:
    first = site.prompts.release.id
    long = "letters/" + "a_long_name_" * 8
    site.publish(long, "user: Hello " + "wordwithoutend" * 30 + "\n")
    olga = enter("olga", size=PHONE, has_touch=True, is_mobile=True)
    for view in (*VIEWS, f"/page/prompts/{long}", f"/page/releases/{first}/diff/live"):
        olga.go(view)
        wide = olga.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE[0], f"{view} is {wide} px wide"


def test_dark_and_light_are_what_the_system_says(enter: Enter) -> None:
    ada = enter("ada", size=DESKTOP)
    ada.go()
    luminance = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g))"
    assert ada.page.evaluate(luminance) > 200
    ada.page.emulate_media(color_scheme="dark")
    assert ada.page.evaluate(luminance) < 80


# -- odd and hostile text --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ünï/ä b #1?", "100%25", "a&b", "nested/a+b/c"])
def test_a_prompt_of_any_name_is_opened_from_the_list(site: Site, ada: Visitor, name: str) -> None:
    site.publish(name, "user: Hi {name}\n")
    page = ada.go()
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator("#messages")).to_contain_text("Hi Ada")


def test_line_ends_stay_as_they_are_in_the_file(site: Site, ada: Visitor) -> None:
    site.publish(NAME, "user: |\r\n  Hello\r\n")
    page = ada.edit(NAME)
    page.locator("#text").press("Control+End")
    page.keyboard.type("  you")
    ada.save("You")
    is_live(page)
    assert site.prompts[NAME].data == b"user: |\r\n  Hello\r\n  you"


HOSTILE = """\
system: |
  </textarea></script><script>document.title = "owned"</script>
  <img src=x onerror="document.title='owned'"> \u202egnp.live\u202c "quotes" 'too' &amp;
user: |
  <b>{name}</b> </title><svg onload="document.title='owned'"> {question}
"""


def test_hostile_text_stays_text_in_every_view(site: Site, enter: Enter) -> None:
    first = site.prompts.release.id
    site.publish(NAME, HOSTILE)
    olga = enter("olga")
    page = olga.edit(NAME)
    expect(page.get_by_label("Prompt text")).to_have_value(HOSTILE)
    expect(system_text(page)).to_contain_text("<script>document.title")
    olga.type_text(HOSTILE + "# </script><script>document.title = 'owned'</script>\n")
    ada_says = "<img src=x onerror=\"document.title='owned'\">"
    olga.save(ada_says)
    is_live(page)
    for view in ("/", "/page/releases", f"/page/releases/{first}/diff/live", "/page/audit"):
        olga.go(view)
        expect(page.locator("h1")).to_be_visible()
        assert page.title() != "owned"
        assert page.locator("img[src=x], svg[onload]").count() == 0
    expect(page.locator("#log > li").first).to_contain_text(ada_says)


def test_nothing_runs_that_is_not_a_script_of_the_page(ada: Visitor) -> None:
    page = ada.go()
    page.evaluate(
        """() => new Promise(done => {
            document.addEventListener("securitypolicyviolation", done, {once: true});
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })"""
    )
    assert page.title() != "owned"
    assert [said for said in ada.problems if "Content Security Policy" in said]
    ada.problems.clear()
