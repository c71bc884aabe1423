// Two texts side by side: which lines differ, and which words in them.
const CONTEXT = 3, MOST = 4e6, MOST_WORDS = 400;

/** Longest common subsequence: pairs [i, j] of what is the same. */
function same(a, b) {
  let start = 0, x = a.length, y = b.length;
  while (start < x && start < y && a[start] === b[start]) start++;
  while (x > start && y > start && a[x - 1] === b[y - 1]) { x--; y--; }
  const pairs = [];
  for (let i = 0; i < start; i++) pairs.push([i, i]);
  const n = x - start, m = y - start;
  if (n && m && n * m <= MOST) {
    const width = m + 1, best = new Uint32Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        best[i * width + j] = a[start + i] === b[start + j]
          ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < n && j < m;) {
      if (a[start + i] === b[start + j]) { pairs.push([start + i, start + j]); i++; j++; }
      else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++;
      else j++;
    }
  }
  for (let i = x, j = y; i < a.length; i++, j++) pairs.push([i, j]);
  return pairs;
}

function words(old, now) {
  const a = old.match(/\w+|\s+|[^\w\s]/gu) ?? [], b = now.match(/\w+|\s+|[^\w\s]/gu) ?? [];
  if (Math.max(a.length, b.length) > MOST_WORDS) return [[[old, true]], [[now, true]]];
  const pairs = same(a, b), inA = new Set(pairs.map(([i]) => i)), inB = new Set(pairs.map(([, j]) => j));
  const pieces = (parts, kept) => parts.reduce((made, part, at) => {
    const differs = !kept.has(at), last = made.at(-1);
    if (last && last[1] === differs) last[0] += part;
    else made.push([part, differs]);
    return made;
  }, []);
  return [pieces(a, inA), pieces(b, inB)];
}

/** Rows {kind, old: [number, pieces], new: [number, pieces]}. */
export function diff(old, now) {
  const split = (text) => { const lines = text.split("\n"); if (lines.at(-1) === "") lines.pop(); return lines; };
  const a = split(old), b = split(now), rows = [];
  let i = 0, j = 0;
  for (const [x, y] of [...same(a, b), [a.length, b.length]]) {
    while (i < x || j < y) {
      if (i < x && j < y) {
        const [left, right] = words(a[i], b[j]);
        rows.push({ kind: "changed", old: [++i, left], new: [++j, right] });
      } else if (i < x) rows.push({ kind: "removed", old: [i + 1, [[a[i++], true]]] });
      else rows.push({ kind: "added", new: [j + 1, [[b[j++], true]]] });
    }
    if (x < a.length) rows.push({ kind: "same", old: [i + 1, [[a[i++], false]]], new: [j + 1, [[b[j++], false]]] });
  }
  const near = new Set();
  rows.forEach((row, at) => { if (row.kind !== "same") for (let k = -CONTEXT; k <= CONTEXT; k++) near.add(at + k); });
  const shown = [];
  rows.forEach((row, at) => {
    if (near.has(at)) shown.push(row);
    else if (near.size && shown.at(-1)?.kind !== "skip") shown.push({ kind: "skip" });
  });
  return shown;
}

function make(tag, props, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
}

function side(name, line, mark) {
  const cell = make("div", { className: name });
  if (line) {
    const number = make("span", { className: "number", textContent: line[0] });
    number.setAttribute("aria-hidden", "true");
    cell.append(number, make("code", {}, ...line[1].map(([text, differs]) => (differs ? make(mark, {}, text) : text))));
  }
  return cell;
}

export function showDiff(place, old, now) {
  place.replaceChildren(...diff(old, now).map((row) => {
    const made = row.kind === "skip"
      ? make("div", { className: "row" }, make("span", { textContent: "⋯" }))
      : make("div", { className: "row" }, side("old", row.old, "del"), side("new", row.new, "ins"));
    made.dataset.kind = row.kind;
    return made;
  }));
}
