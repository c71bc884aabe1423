// Sample values for a prompt's variables, guessed from their names. Pure.
const WORDS = new Set(["and", "or", "not", "if", "else", "elif", "endif", "for", "in", "endfor", "is", "set", "endset", "true", "false", "none", "True", "False", "None", "loop", "recursive", "raw", "endraw", "filter", "endfilter", "with", "endwith", "defined", "undefined"]);

const KNOWN = [
  [/(^|_)(first_?name|user_?name|customer|client|author|user|name)$/, "Ada"],
  [/(question|query)/, "When do you open on Saturday?"],
  [/(language|lang|locale)/, "English"],
  [/(e?mail)$/, "ada@example.org"],
  [/(date|today|day)$/, () => new Date().toISOString().slice(0, 10)],
  [/(time|now)$/, "14:30"],
  [/(topic|subject|theme|title)/, "A day at the sea"],
  [/(city|place|location)/, "Lisbon"],
  [/(country)/, "Portugal"],
  [/(tone|style|mood)/, "friendly"],
  [/(url|link)$/, "https://example.org"],
  [/(^|_)(count|number|num|n|k|limit|max|min|score|age|amount|size|length|words|year|index|rating|price|cost|total)$/, 3],
  [/(message|input|text|content|document|draft|article|story|context|body|notes?|summary|answer|reply|letter)/, (name) => `Some ${plain(name)}, a sentence or two long.`],
  [/(^|_)(is|has|should|use|with)_/, true],
];

const plain = (name) => name.replaceAll("_", " ");

/** Every name that stands in braces, the fields that are asked of it, and of its items. */
function names(text) {
  const found = new Map(), loops = [];
  for (const [inside] of text.matchAll(/\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\}|\{[^{}\n]*\}/g)) {
    const bare = inside.replace(/'[^']*'|"[^"]*"/g, "");
    for (const { 1: name, 2: field } of bare.matchAll(/(?<![.\w])([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?/g)) {
      if (WORDS.has(name)) continue;
      const facts = found.get(name) ?? { fields: new Set() };
      if (field) facts.fields.add(field);
      found.set(name, facts);
    }
    const loop = bare.match(/\bfor\s+([A-Za-z_]\w*)\s+in\s+([A-Za-z_]\w*)/);
    if (loop) loops.push(loop.slice(1));
  }
  for (const [item, list] of loops) {
    if (found.has(list)) found.get(list).items = found.get(item)?.fields;
    found.delete(item);
  }
  return found;
}

const fieldsOf = (fields) => Object.fromEntries([...fields].map((field) => [field, one(field)]));

function one(name) {
  const low = name.toLowerCase();
  for (const [like, value] of KNOWN) if (like.test(low)) return typeof value === "function" ? value(low) : value;
  return `a sample ${plain(low)}`;
}

/** Name → value for every name in braces; more than are variables, which does no harm. */
export function guesses(text) {
  const made = {};
  for (const [name, { fields, items }] of names(text)) {
    const single = plain(name).replace(/s$/, "");
    if (items?.size) made[name] = [fieldsOf(items), fieldsOf(items)];
    else if (items) made[name] = [`first ${single}`, `second ${single}`];
    else made[name] = fields.size ? fieldsOf(fields) : one(name);
  }
  return made;
}

export const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What somebody typed into a field: a number, a list or an object where it looks like one. */
export function typed(text) {
  if (!/^\s*([[{]|-?\d|true$|false$|null$)/.test(text)) return text;
  try { return JSON.parse(text); } catch { return text; }
}
