// Filters the list while somebody types.
import { call, trouble } from "./api.js";
import { say } from "./page.js";

const $ = (id) => document.getElementById(id);
const search = $("search"), list = $("prompts"), count = $("count"), nothing = $("nothing");
const number = new Intl.NumberFormat("en");
let rows = [], all = 0;

function read() {
  rows = Array.from(list.children, (row) => [row, row.textContent.toLowerCase() + " " + row.querySelector(".layer").title.toLowerCase()]);
  all = rows.length;
}

// More than a screen shows: what is below is put in place after the first paint.
const FIRST = 60;
let rest;

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const later = [];
  let shown = 0;
  for (const [row, text] of rows) {
    const matches = words.every((word) => text.includes(word));
    shown += matches;
    if (row.hidden !== matches) continue;
    if (matches && shown > FIRST) later.push(row);
    else row.hidden = !matches;
  }
  const prompts = `${number.format(all)} prompt${all === 1 ? "" : "s"}`;
  count.textContent = shown === all ? prompts : `${number.format(shown)} of ${prompts}`;
  nothing.hidden = shown > 0;
  list.classList.toggle("none", shown === 0);
  cancelAnimationFrame(rest);
  if (later.length) rest = requestAnimationFrame(() => { rest = requestAnimationFrame(() => later.forEach((row) => { row.hidden = false; })); });
}

function remember() {
  const there = new URL(location.href);
  if (search.value) there.searchParams.set("search", search.value);
  else there.searchParams.delete("search");
  history.replaceState(null, "", there);
}

read();
// The server left out what does not match: with a script all of it is wanted.
const narrowed = new URL(location.href).searchParams.has("search");
if (narrowed) loadAll();
async function loadAll() {
  const there = new URL(location.href);
  there.search = "";
  const answer = await fetch(there, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  list.replaceChildren(...fresh.getElementById("prompts").children);
  read(); filter();
}

let remembering;
search.addEventListener("input", () => {
  filter();
  clearTimeout(remembering);
  remembering = setTimeout(remember, 300);
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  const left = rows.filter(([row]) => !row.hidden);
  if (left.length === 1) left[0][0].querySelector("a").click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select") && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});
document.addEventListener("refreshed", () => {
  if (new URL(location.href).searchParams.has("search")) loadAll();
  else { read(); filter(); }
});

$("reload")?.addEventListener("click", async ({ target }) => {
  target.disabled = true;
  const answer = await call("POST", "reload");
  target.disabled = false;
  const words = { published: "There was something new: it is live now.", unchanged: "Nothing new: what the layers hold is live.", held: "There is something new. It waits: a release is held." };
  if (answer.ok) say("good", words[answer.body.status]);
  else say("bad", trouble(answer));
});
