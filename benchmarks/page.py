"""The page for prompt authors in a headless Chromium: bytes of a first load, search, findings.

On a release of 1,000 prompts, 50 of which a graph uses. Every time is taken in the browser, from
the event (of the search field, of the key) until what it leads to has been painted: a pause that
the page makes before it asks the server is included.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from benchmarks.graphs import chain
from benchmarks.measure import Row, Times, duration, is_quick, plain, show, workplace

FIRST_LOAD_KB, SEARCH_S, FINDINGS_S = 150, 0.100, 0.150
PROMPTS, NODES = 1000, 50
TEAMS = ("sales", "support", "legal", "travel", "kitchen", "garden", "school", "music")
TOPICS = ("welcome", "refund", "delay", "summary", "reminder", "invoice", "farewell", "answer")
OPERATOR = "the-operators-token"
# A node of the graph uses it, so the graph is checked too.
EDITED = "steps/step001"

_TEXT = """\
system: |
  You are helper {number}. Keep to what is asked, name your sources, say so when you do not know.
  Answer in at most five sentences, in the language of the question.
user: |
  Tell me of {{{{ topic | upper }}}}
"""

# The second callback of requestAnimationFrame comes after the paint that the first one preceded.
_PAINTED = """
const painted = (reached) => new Promise((done, failed) => {
  const ends = performance.now() + 20000;
  const look = () => requestAnimationFrame(() => {
    if (reached()) requestAnimationFrame(() => done(performance.now()));
    else if (performance.now() < ends) look();
    else failed(new Error("It did not come: " + reached));
  });
  look();
});
"""
# More rows than a screen has: the page may put those below in place after the first paint.
_SEARCH = f"""async ([word, count]) => {{
  {_PAINTED}
  const rows = [...document.querySelectorAll("#prompts > li")];
  const search = document.querySelector("#search");
  const fits = (row) => row.dataset.name.includes(word);
  const shown = () => rows.filter((row) => !row.hidden);
  search.value = word;
  const began = performance.now();
  search.dispatchEvent(new InputEvent("input", {{bubbles: true}}));
  const first = await painted(() => shown().every(fits) && shown().length >= Math.min(count, 40));
  const whole = await painted(() => shown().length === count);
  return [(first - began) / 1000, (whole - began) / 1000];
}}"""
_LISTEN = f"""(wanted) => {{
  {_PAINTED}
  const findings = document.querySelector("#findings");
  window.took = new Promise((done, failed) => document.addEventListener("keydown", (event) => {{
    painted(() => findings.dataset.state === "done"
      && findings.querySelectorAll("li.finding[data-severity=error]").length === wanted
    ).then((ended) => done((ended - event.timeStamp) / 1000), failed);
  }}, {{capture: true, once: true}}));
}}"""


def names() -> list[str]:
    return [
        f"{team}/{topic}/{team}-{number:04d}"
        for number in range(PROMPTS - NODES)
        for team, topic in [(TEAMS[number % 8], TOPICS[number // 8 % 8])]
    ]


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """The page of 1,000 prompts; its URL."""
    from tests.admin_client import TOKENS, served
    from yamlgraph_prompts import LivePrompts, load_and_compile
    from yamlgraph_prompts.admin import admin_app

    graph = chain(folder, NODES)
    for number, name in enumerate(names()):
        file = folder / "prompts" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_TEXT.format(number=number))
    with LivePrompts(
        folder / "prompts", environment="bench", store=folder / "store", watch=False
    ) as prompts:
        app = load_and_compile(graph, prompts=prompts).compile()
        assert len(prompts.release.prompts) == PROMPTS
        with served(admin_app(prompts, TOKENS)) as url:
            yield url
        del app


def session(browser: Any, url: str) -> Any:
    """What a browser keeps of somebody who has signed in."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_label("Token").fill(OPERATOR)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#who").wait_for()
        return context.storage_state()


def first_load(page: Any, url: str, ready: str) -> tuple[float, set[str]]:
    """KB that come over the wire until `ready` is there and nothing more comes, and hosts asked."""
    received: dict[str, float] = defaultdict(float)
    whole: dict[str, float] = {}
    hosts: set[str] = set()
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.setCacheDisabled", {"cacheDisabled": True})

    def heard(name: str, take: Callable[[Any], object]) -> None:
        wire.on(f"Network.{name}", take)

    heard("requestWillBeSent", lambda told: hosts.add(urlsplit(told["request"]["url"]).netloc))
    heard(
        "responseReceived",
        lambda told: received.update(
            {told["requestId"]: told["response"].get("encodedDataLength", 0)}
        ),
    )

    def data(told: Any) -> None:
        received[told["requestId"]] += told["encodedDataLength"]

    heard("dataReceived", data)
    heard("loadingFinished", lambda t: whole.update({t["requestId"]: t["encodedDataLength"]}))
    page.goto(url)
    page.locator(ready).first.wait_for()
    page.wait_for_timeout(1000)
    wire.detach()
    # The stream of events has no end, so it is counted as it comes.
    return sum({**received, **whole}.values()) / 1024, hosts - {""}


def openings(page: Any, url: str, rounds: int) -> Times:
    """From asking for the list until the browser has painted it for the first time."""
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    taken = []
    for _ in range(rounds):
        page.goto(url)
        page.locator("#connection[data-state=connected]").wait_for()
        taken.append(page.evaluate(paint) / 1000)
    return Times(tuple(taken))


def searches(page: Any, url: str, rounds: int) -> tuple[Times, Times]:
    """From the search field's event until the list is painted: its first screen, all of it."""
    page.goto(url)
    page.locator("#connection[data-state=connected]").wait_for()
    every = names() + [f"steps/step{number:03d}" for number in range(NODES)]
    # No word that might be in a folder's name: layers and graphs are searched as well.
    words = [*TEAMS, *TOPICS, "-00", "-012", "-0123", "/refund/sa", "steps/", "nothing like this"]
    order, taken = Random(1), list[tuple[float, float]]()
    for number in range(-3, rounds):
        # Every other time all of them come back, which is the most to paint.
        word = order.choice(words) if number % 2 else ""
        took = page.evaluate(_SEARCH, [word, sum(word in name for name in every)])
        if number >= 0:
            taken.append(took)
    first, whole = zip(*taken, strict=True)
    return Times(first), Times(whole)


def keystrokes(page: Any, url: str, rounds: int) -> Times:
    """From a key that breaks or mends the text until its findings are painted."""
    page.goto(f"{url}/page/prompts/{EDITED}")
    page.locator("#findings[data-state=done]").wait_for()
    page.locator("#text").evaluate(
        """(area) => {
            const at = area.value.indexOf("endif") + 5;
            area.focus();
            area.setSelectionRange(at, at);
        }"""
    )
    taken = list[float]()
    for number in range(-4, rounds):
        breaks = number % 2 == 0
        page.evaluate(_LISTEN, 1 if breaks else 0)
        page.keyboard.press("x" if breaks else "Backspace")
        took = page.evaluate("window.took")
        if number >= 0:
            taken.append(took)
    return Times(tuple(taken))


def rows(folder: Path, *, quick: bool) -> list[Row]:
    from tests.browser import launched

    found = []
    with site(folder) as url, launched() as browser:
        known, asked = session(browser, url), set[str]()
        for what, path, ready, state in (
            ("sign in", "/page/sign-in", "#token", None),
            (f"list of {PROMPTS:,} prompts", "/", "#connection[data-state=connected]", known),
            ("editor", f"/page/prompts/{EDITED}", "#findings[data-state=done]", known),
            ("releases", "/page/releases", "#connection[data-state=connected]", known),
        ):
            with browser.new_context(storage_state=state) as fresh:
                size, hosts = first_load(fresh.new_page(), url + path, ready)
            asked |= hosts
            said = f"{size:.1f} KB"
            met = size <= FIRST_LOAD_KB
            found.append(Row(f"first load, {what}", said, bar=f"≤ {FIRST_LOAD_KB} KB", met=met))
        others = asked - {urlsplit(url).netloc}
        found.append(Row("other hosts asked", str(len(others)), bar="0", met=not others))
        count = 10 if quick else 200
        with browser.new_context(storage_state=known) as context:
            times = openings(context.new_page(), url, 5 if quick else 40)
            found.append(plain("opening the list → first paint", times))
        with browser.new_context(storage_state=known) as context:
            first, whole = searches(context.new_page(), url, count)
            what = "search → filtered list painted"
            found += _bounded(what, first, SEARCH_S, ("slowest", max(first.seconds)))
            found.append(plain("  and every row below in place", whole))
        with browser.new_context(storage_state=known) as context:
            times = keystrokes(context.new_page(), url, count)
            found += _bounded("key → findings painted", times, FINDINGS_S, ("p95", times.p95))
    return found


def _bounded(what: str, times: Times, bar_s: float, tail: tuple[str, float]) -> list[Row]:
    bar, (called, worst) = f"≤ {bar_s * 1e3:.0f} ms", tail
    met = times.median <= bar_s
    return [
        Row(what, duration(times.median), duration(times.p95), bar=bar, met=met),
        Row(f"  its {called}", duration(worst), bar=bar, met=worst <= bar_s),
    ]


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder:
        os.environ.update(PROVIDER="lmstudio", LMSTUDIO_BASE_URL="http://127.0.0.1:9/v1")
        table = rows(folder / "site", quick=quick)
        show("The page, in a headless Chromium", table)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
