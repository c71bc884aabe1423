// What every view has: outcomes, times, and the live connection that keeps it up to date.
import { call, url } from "./api.js";

const html = document.documentElement;
const $ = (id) => document.getElementById(id);
const outcome = $("outcome");

/** Says what became of something; `actions`: [name, what it does, id]. */
export function say(kind, text, actions = []) {
  outcome.dataset.kind = kind;
  const words = Object.assign(document.createElement("span"), { textContent: text });
  const buttons = [...actions, ["Close", () => {}]].map(([name, act, id]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    if (id) button.id = id;
    if (name === "Close") { button.className = "close"; button.textContent = "✕"; button.setAttribute("aria-label", "Close"); }
    button.onclick = () => { outcome.replaceChildren(); act(); };
    return button;
  });
  outcome.replaceChildren(words, ...buttons);
  html.style.setProperty("--said", `${outcome.offsetHeight}px`);
  const over = outcome.getBoundingClientRect(), at = document.activeElement.getBoundingClientRect();
  if (at.height < over.top && at.bottom > over.top) document.activeElement.scrollIntoView({ block: "nearest" });
}

/** Says it on the next view. */
export function sayNext(kind, text) {
  try { sessionStorage.setItem("yamlgraph-prompts said", JSON.stringify([kind, text])); } catch { /* unsaid */ }
}

export function signIn() {
  const here = location.href.slice(url("").href.length).replace(/#.*/, "");
  location.href = url(`page/sign-in?next=${encodeURIComponent(here)}`);
}

const steps = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
export function ago(seconds) {
  let count = Math.max(0, seconds);
  for (const [size, unit] of steps) {
    if (count < size) {
      const whole = Math.floor(count);
      return unit === "second" && whole < 5 ? "just now" : `${whole} ${unit}${whole === 1 ? "" : "s"} ago`;
    }
    count /= size;
  }
}

function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const then = new Date(time.dateTime);
    const words = ago((Date.now() - then) / 1000);
    if (time.textContent !== words) time.textContent = words;
  }
}

document.addEventListener("pointerover", ({ target }) => {
  if (target.matches?.("time[datetime]")) target.title = new Date(target.dateTime).toLocaleString();
});

// Live regions: the same view is asked for again, and what differs is put in place.

let asking, askAgain = false;
export async function refresh() {
  const regions = document.querySelectorAll("[data-live]");
  if (!regions.length) return;
  if (asking) { askAgain = true; return; }
  asking = true;
  try {
    const answer = await fetch(location.href.replace(/#.*/, ""), { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of regions) {
      const now = fresh.getElementById(region.id);
      if (!now || now.innerHTML === region.innerHTML) continue;
      const focused = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      region.replaceChildren(...now.childNodes);
      if (focused) region.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
    document.dispatchEvent(new Event("refreshed"));
  } catch { /* the connection says so */ } finally {
    asking = false;
    if (askAgain) { askAgain = false; refresh(); }
  }
}

const GRACE_MS = 2500, RETRY_MS = 3000, LOOK_MS = 15000;
const connection = $("connection");
let stream, grace, soon, wasLost = false;

function show(state, text) {
  if (connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.querySelector(".text").textContent = text;
}

function lost() {
  grace ??= setTimeout(() => { wasLost = true; show("lost", "Not connected. Trying again…"); }, navigator.onLine ? GRACE_MS : 0);
}

function news(detail) {
  document.dispatchEvent(new CustomEvent("news", { detail }));
  clearTimeout(soon);
  soon = setTimeout(refresh, 100);
}

async function stopped() {
  // The server refused the stream for good: signed out, or too many listen.
  const answer = await call("GET", "audit?limit=1");
  if (answer.status === 401) {
    show("lost", "Signed out.");
    say("bad", "You are signed out. What you typed is kept in this browser.", [["Sign in", signIn]]);
  } else setTimeout(listen, RETRY_MS);
}

function listen() {
  stream?.close();
  stream = new EventSource(url("events"));
  const first = stream;
  let opened = false;
  stream.onopen = async () => {
    clearTimeout(grace); grace = undefined;
    // Said once it is so: what happened before this stream began is not told by it.
    if (!opened && !wasLost) await look();
    opened = true;
    show("connected", "Up to date");
    if (wasLost) { wasLost = false; news({ kind: "back" }); }
  };
  stream.onerror = () => {
    lost();
    if (first === stream && first.readyState === EventSource.CLOSED) stopped();
  };
  for (const kind of ["publication", "layer-unavailable", "layer-recovered", "watcher-restarted", "watcher-polling", "store-trouble", "held", "following"]) {
    stream.addEventListener(kind, ({ data }) => { seen = null; news(JSON.parse(data)); });
  }
}

// What this view was made of: release, held, and when something was last tried. Null: the stream told.
let seen = html.dataset.seen;

async function look() {
  tick();
  if (document.hidden) return;
  const { ok, body } = await call("GET", "health/ready");
  if (!ok) return;
  const now = [body.release, body.held, body.last?.at_s].join(" ");
  const told = seen === null || seen === now;
  seen = now;
  if (!told) news({ kind: "back" });
  document.querySelectorAll(".layer-state .age").forEach((age, number) => {
    const layer = body.layers[number];
    if (layer?.age_s != null) age.textContent = `looked at ${ago(layer.age_s)}${layer.writable ? "" : ", only read"}`;
  });
}

if (connection) {
  listen();
  // A browser opens six connections to a host: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream.close(); return; }
    listen();
  });
  addEventListener("online", listen);
  addEventListener("offline", lost);
  setInterval(look, LOOK_MS);
  try {
    const said = sessionStorage.getItem("yamlgraph-prompts said");
    if (said) { sessionStorage.removeItem("yamlgraph-prompts said"); say(...JSON.parse(said)); }
  } catch { /* unsaid */ }
}
