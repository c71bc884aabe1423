// The lines behind the text: numbers, what is filled in, and where findings are. Never its content.
const FILLED = /\{\{[^\n]*?\}\}|\{%[^\n]*?%\}|\{#[^\n]*?#\}|\{[A-Za-z_][\w.[\]]*\}/g;

function line(text) {
  const made = document.createElement("div");
  made.className = "line";
  let at = 0;
  for (const { 0: found, index } of text.matchAll(FILLED)) {
    const mark = document.createElement("i");
    mark.textContent = found;
    made.append(text.slice(at, index), mark);
    at = index + found.length;
  }
  made.append(text.slice(at));
  return made;
}

export class Mirror {
  constructor(place) {
    this.place = place;
    this.lines = [];
    place.replaceChildren();
  }

  /** Makes anew only the lines that differ. */
  show(text) {
    const now = text.split("\n"), before = this.lines;
    let start = 0, x = before.length, y = now.length;
    while (start < x && start < y && before[start] === now[start]) start++;
    while (x > start && y > start && before[x - 1] === now[y - 1]) { x--; y--; }
    const rows = this.place.children, after = rows[x] ?? null;
    for (let at = x - 1; at >= start; at--) rows[at].remove();
    const made = document.createDocumentFragment();
    for (let at = start; at < y; at++) made.append(line(now[at]));
    this.place.insertBefore(made, after);
    this.lines = now;
    if (start < x || start < y) this.number();
  }

  number() {
    let at = 1;
    for (const row of this.place.children) row.dataset.line = at++;
  }

  /** `worst`: line → "error" or "warning". */
  mark(worst) {
    for (const row of this.place.querySelectorAll(".error, .warning")) row.classList.remove("error", "warning");
    for (const [at, severity] of worst) this.place.children[at - 1]?.classList.add(severity);
  }

  row(at) {
    return this.place.children[Math.min(at, this.lines.length) - 1];
  }
}
