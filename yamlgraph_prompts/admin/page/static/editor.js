// The editor: a text, what is to be said of it, and what the model would get. Loses nothing typed.
import { call, kept, named, trouble } from "./api.js";
import { diff, showDiff } from "./diff.js";
import { Mirror } from "./mirror.js";
import { refresh, say, signIn } from "./page.js";
import { Preview } from "./preview.js";

const $ = (id) => document.getElementById(id);
const facts = $("content").dataset, name = facts.name, path = named(name);
const text = $("text"), mirror = new Mirror($("mirror")), locked = facts.locked === "yes";
const draftKey = `draft ${name}`;

// What the layers hold, as far as this page knows; `sha` is empty for a prompt that is not there.
let base = text.defaultValue, sha = facts.sha, saving = false, theirs = null;
// Whether that comes from another layer than the one that is written to.
let lower = Boolean(sha) && facts.layer !== facts.writes;

const held = () => facts.held === "yes";
const from = (held) => Boolean(held) && held.layer !== facts.writes;
const dirty = () => text.value !== base || !sha;
const sent = (words) => (facts.eol === "crlf" ? words.replaceAll("\n", "\r\n") : words);
const read = (words) => words.replaceAll("\r\n", "\n");

/** Does `work` soon after each call, never twice at once, and once more if it was called meanwhile. */
function pump(work, wait_ms) {
  let timer, busy = false, again = false;
  const run = async () => {
    busy = true;
    again = false;
    try { await work(); } finally { busy = false; if (again) run(); }
  };
  return () => {
    if (busy) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(run, wait_ms);
  };
}

// What is to be said of it, and what it says

let broken = false;
const preview = new Preview(name, path, () => sent(text.value), () => look());
const look = pump(() => (broken ? preview.wait() : preview.look()), 0);

const findings = $("findings"), summary = $("findings-summary"), list = $("finding-list");

const check = pump(async () => {
  const asked = text.value;
  findings.dataset.state = "checking";
  const answer = await call("POST", "check", { json: { prompts: { [name]: sent(asked) } } });
  if (asked !== text.value) return;
  if (answer.ok) {
    tell(answer.body.findings);
    broken = answer.body.findings.some((one) => one.prompt === name && one.severity === "error");
    look();
    return;
  }
  if (answer.status) look();
  findings.dataset.state = answer.status ? "done" : "lost";
  summary.textContent = answer.status ? trouble(answer) : "Not checked: there is no connection. What you type is kept here.";
  if (!answer.status) setTimeout(check, 2000);
}, 10);

function tell(all) {
  const mine = all.filter((one) => one.prompt === name);
  const elsewhere = all.filter((one) => one.prompt !== name && one.severity === "error");
  const worst = new Map();
  for (const { line, severity } of mine) if (line && worst.get(line) !== "error") worst.set(line, severity);
  mirror.mark(worst);
  list.replaceChildren(...[...mine, ...elsewhere].map(item));
  const number = (severity) => mine.filter((one) => one.severity === severity).length;
  const parts = [[number("error"), "error"], [number("warning"), "warning"], [elsewhere.length, "error elsewhere", "errors elsewhere"]];
  const said = parts.filter(([many]) => many).map(([many, one, more]) => `${many} ${many === 1 ? one : more ?? `${one}s`}`);
  const words = said.join(", ") || "No findings";
  if (summary.textContent !== words) summary.textContent = words;
  findings.dataset.worst = number("error") || elsewhere.length ? "error" : number("warning") ? "warning" : "none";
  findings.dataset.state = "done";
}

function item(one) {
  const made = document.createElement("li"), where = document.createElement("p"), what = document.createElement("p");
  made.className = "finding";
  Object.assign(made.dataset, { severity: one.severity, code: one.code, line: one.line ?? "" });
  where.className = "where";
  if (one.prompt === name && one.line) {
    const jump = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: `Line ${one.line}` });
    jump.onclick = () => goTo(one.line, one.column);
    where.append(jump);
  } else where.textContent = one.prompt === name ? "This prompt" : [one.file ?? one.prompt ?? one.graph ?? "The layers", one.line && `line ${one.line}`].filter(Boolean).join(", ");
  what.textContent = one.message;
  made.append(where, what);
  if (one.hint) made.append(Object.assign(document.createElement("p"), { className: "hint", textContent: one.hint }));
  return made;
}

function goTo(line, column = 1) {
  const before = text.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  const ends = text.value.indexOf("\n", before);
  const at = Math.min(before + Math.max(0, (column ?? 1) - 1), ends < 0 ? text.value.length : ends);
  text.focus({ preventScroll: true });
  text.setSelectionRange(at, at);
  mirror.row(line)?.scrollIntoView({ block: "center" });
}

// The text

let keeping, keeps = false;
function keep() {
  clearTimeout(keeping);
  const mine = text.value !== base ? { text: text.value, sha } : null;
  // A tab without changes leaves alone what another tab on this prompt keeps.
  if (mine || keeps) kept.set(draftKey, mine);
  keeps = Boolean(mine);
}

function show() {
  mirror.show(text.value);
  const changed = dirty();
  if ($("save")) $("save").disabled = !changed;
  if ($("discard")) $("discard").disabled = text.value === base;
  if (text.value === base) $("restored").hidden = true;
}

function changed() {
  show();
  findings.dataset.state = "checking";
  check();
  clearTimeout(keeping);
  keeping = setTimeout(keep, 150);
  if (theirs) showDiff($("conflict").querySelector(".diff"), theirs.text, text.value);
}

function put(words) {
  text.value = words;
  changed();
}

text.addEventListener("input", changed);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return;
  const start = text.value.lastIndexOf("\n", text.selectionStart - 1) + 1;
  const indent = text.value.slice(start, text.selectionStart).match(/^ */)[0];
  if (!indent) return;
  event.preventDefault();
  // The one way that the browser's own undo understands.
  document.execCommand("insertText", false, `\n${indent}`);
});
addEventListener("pagehide", keep);
addEventListener("beforeunload", (event) => {
  if (!locked && text.value !== base) event.preventDefault();
});

function discard() {
  const mine = text.value;
  put(base);
  keep();
  say("note", "Your changes are discarded.", [["Undo", () => put(mine)]]);
}
$("discard")?.addEventListener("click", discard);
$("forget").addEventListener("click", discard);

// Saving

const dialog = $("save-dialog"), message = $("message");

function openSave() {
  if (!dialog || dialog.open || saving || !dirty()) return;
  showDiff(dialog.querySelector(".diff"), sha ? base : "", text.value);
  dialog.showModal();
  message.focus();
}

$("save")?.addEventListener("click", openSave);
addEventListener("keydown", (event) => {
  if (event.key === "s" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); openSave(); }
});
for (const cancel of document.querySelectorAll("dialog .cancel")) cancel.onclick = () => cancel.closest("dialog").close();
dialog?.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  dialog.close();
  await save(text.value, message.value.trim());
});

const removal = $("remove-dialog"), because = $("remove-message");
$("remove")?.addEventListener("click", () => { removal.showModal(); because.focus(); });
removal?.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  removal.close();
  save(null, because.value.trim());
});

/** Writes `words` (null: removes the file) where the layers still hold what this page knows; `back`: what was before. */
async function save(words, why, { back = null } = {}) {
  const before = { text: base, sha, lower };
  const headers = sha ? { "If-Match": `"${sha}"` } : { "If-None-Match": "*" };
  const query = `?message=${encodeURIComponent(why)}`;
  saving = true;
  say("note", "Checking and saving…");
  let answer = words === null
    ? await call("DELETE", `prompts/${path}${query}`, { headers })
    : await call("PUT", `prompts/${path}${query}`, { text: sent(words), headers: { ...headers, "Content-Type": "application/yaml" } });
  saving = false;
  const current = answer.body.current;
  if (answer.status === 412 && current && words !== null && read(current.text) === words) {
    // An answer that was lost on the way: it is there.
    answer = { ok: true, status: 200, body: { status: held() ? "held" : "published", sha256: current.sha256 } };
  }
  if (answer.ok) return saved(words, why, before, answer.body, back);
  if (answer.status === 412) return conflict(current);
  if (answer.status === 0) return say("bad", "Not saved: the connection is lost. Your text is kept here.", [["Try again", () => save(words, why, { back })]]);
  if (answer.status === 401) return say("bad", "Not saved: you are signed out. Your text is kept here.", [["Sign in", signIn]]);
  check();
  return say("bad", `Not saved. ${trouble(answer)}`);
}

function saved(words, why, before, change, back) {
  if (change.status === "stored") {
    // What is active is what it was; the text stays until somebody activates the version.
    keep();
    refresh();
    return say("good", change.message);
  }
  const clean = text.value === before.text || text.value === words;
  // What another layer has counts again once the copy of it is gone.
  const now = words ?? (back && change.sha256 ? back.text : null), gone = now === null;
  base = now ?? base;
  sha = gone ? "" : words === null ? back.sha : change.sha256 ?? "";
  lower = words === null && !gone;
  facts.held = change.held ?? held() ? "yes" : "no";
  if (clean && !gone) put(now);
  else show();
  keep();
  if (message) message.value = "";
  if (gone) base = text.value;
  history.replaceState(null, "", location.pathname + (sha ? "" : "?new=1") + location.hash);
  const release = change.release ? `, as release ${change.release.slice(0, 8)}` : "";
  const done = back ? "Taken back" : "Live now";
  const said = {
    published: gone ? "Removed. Where another layer has this prompt, that one is used now." : `${done}${release}. The next run uses it.`,
    unchanged: "Nothing to do: this is live already.",
    held: `${gone ? "Removed" : back ? "Taken back and saved" : "Saved"}. It goes live when somebody follows the layers again.`,
  }[change.status] ?? change.message;
  const undo = before.sha || words !== null
    ? [["Take it back", () => save(before.sha && !before.lower ? before.text : null, `Took back: ${why}`.slice(0, 500), { back: before }), "take-back"]]
    : [];
  say("good", said, back ? [] : undo);
  // The button that was pressed may be gone or disabled: who uses a keyboard must not be lost.
  if (document.activeElement === document.body || document.activeElement.disabled) $("content").focus({ preventScroll: true });
  refresh();
  if (lower && sha !== change.sha256) document.dispatchEvent(new Event("news"));
}

// Somebody else

function conflict(current) {
  theirs = { text: current ? read(current.text) : "", sha: current?.sha256 ?? "", lower: from(current) };
  $("conflict-title").textContent = current ? "Somebody changed this prompt meanwhile" : "Somebody removed this prompt meanwhile";
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  showDiff($("conflict").querySelector(".diff"), theirs.text, text.value);
  $("conflict").hidden = false;
  say("bad", current ? "Not saved: somebody changed this prompt meanwhile. Nothing of theirs or yours is lost." : "Not saved: somebody removed this prompt meanwhile.");
  $("conflict").scrollIntoView({ block: "start" });
  $("keep-mine").focus({ preventScroll: true });
}

function settle() {
  ({ text: base, sha, lower } = theirs);
  theirs = null;
  $("conflict").hidden = true;
}

$("keep-mine").addEventListener("click", () => {
  settle();
  changed();
  keep();
  say("note", locked ? "Your words are still here." : "Your text now stands on top of theirs. Look at it, then put it live.");
  text.focus();
});
$("take-theirs").addEventListener("click", () => {
  const mine = text.value;
  settle();
  put(base);
  keep();
  say("note", "This is their text.", [["Undo", () => put(mine)]]);
  text.focus();
});

document.addEventListener("refreshed", () => {
  facts.held = $("is-held") ? "yes" : "no";
  if (!dialog) return;
  $("save").textContent = held() ? "Save…" : "Put it live…";
  $("save-title").textContent = $("confirm-save").textContent = held() ? "Save it" : "Put it live";
});

async function exists() {
  const answer = await call("GET", `prompts?release=layers&search=${encodeURIComponent(name.slice(0, 200))}`);
  return Boolean(answer.body.prompts?.some((one) => one.name === name));
}

document.addEventListener("news", async () => {
  if (saving) return;
  if (!sha && !(await exists())) return;
  const answer = await call("GET", `prompts/${path}?release=layers`);
  if (saving || (!answer.ok && answer.status !== 404)) return;
  const now = answer.ok ? answer.body : null;
  if ((now?.sha256 ?? "") === sha) { check(); return; }
  if (now && text.value === base) {
    [base, sha, lower] = [read(now.text), now.sha256, from(now)];
    put(base);
    say("note", "Somebody changed this prompt: this is the newest text.");
  } else if (now && text.value === read(now.text)) {
    [base, sha, lower] = [text.value, now.sha256, from(now)];
    show();
  } else if (now || sha) {
    conflict(now);
    say("note", now ? "Somebody changed this prompt while you were writing. Yours is untouched." : "Somebody removed this prompt while you were writing. Yours is untouched.");
  }
});

// Earlier versions

const versions = $("version-dialog");
let version = "";
$("history").addEventListener("click", async ({ target }) => {
  if (!target.matches(".look")) return;
  const answer = await call("GET", `prompts/${path}${target.dataset.path}`);
  if (!answer.ok) return say("bad", answer.status === 404 ? "This version is not kept any more." : trouble(answer));
  version = read(answer.body.text);
  showDiff(versions.querySelector(".diff"), version, text.value);
  const use = $("use-version");
  if (use) use.disabled = !diff(version, text.value).length;
  versions.showModal();
});
versions.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  versions.close();
  const mine = text.value;
  put(version);
  say("note", "The earlier text is in the editor. Put it live when you are ready.", [["Undo", () => put(mine)]]);
});

// The beginning

const draft = kept.get(draftKey);
if (text.value !== base) {
  // Somebody was quicker than this script.
  keep();
} else if (draft && typeof draft.text === "string" && draft.text !== base) {
  text.value = draft.text;
  keeps = true;
  $("restored").hidden = false;
  if (draft.sha !== sha) {
    show();
    conflict({ text: base, sha256: sha, layer: facts.layer });
    say("note", "Your unsaved text is back. Somebody changed the prompt since.");
  }
}
show();
check();
if (location.hash.startsWith("#L")) goTo(Number(location.hash.slice(2)) || 1);
addEventListener("hashchange", () => { if (location.hash.startsWith("#L")) goTo(Number(location.hash.slice(2)) || 1); });
