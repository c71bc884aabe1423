// Asks the API's own routes, as any client may. Knows no view.
const html = document.documentElement;
const root = new URL(html.dataset.root, location.href);

export const may = { author: ["author", "operator"], operator: ["operator"] };
export const role = html.dataset.role;
export const url = (path) => new URL(path, root);
export const named = (name) => name.split("/").map(encodeURIComponent).join("/");

/** What is kept in this browser; full or forbidden storage loses only comfort. */
export const kept = {
  key: (what) => `yamlgraph-prompts ${root.pathname} ${what}`,
  get(what) {
    try { return JSON.parse(localStorage.getItem(this.key(what))); } catch { return null; }
  },
  set(what, value) {
    try {
      if (value == null) localStorage.removeItem(this.key(what));
      else localStorage.setItem(this.key(what), JSON.stringify(value));
    } catch { /* only comfort */ }
  },
};

/** The answer of a route; status 0 when there was none. */
export async function call(method, path, { json, text, headers = {} } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (method !== "GET" && html.dataset.csrf) sent["X-CSRF-Token"] = html.dataset.csrf;
  if (json !== undefined) sent["Content-Type"] = "application/json";
  const body = json !== undefined ? JSON.stringify(json) : text;
  try {
    const answer = await fetch(url(path), { method, headers: sent, body, cache: "no-store" });
    const said = await answer.text();
    let facts;
    try { facts = JSON.parse(said); } catch { facts = { message: `The server answered ${answer.status}.` }; }
    return { ok: answer.ok, status: answer.status, body: facts };
  } catch {
    return { ok: false, status: 0, body: { code: "dropped", message: "There is no connection to the server." } };
  }
}

/** An answer that is not the one that was asked for, in words. */
export function trouble(answer) {
  if (answer.status === 401) return "You are signed out.";
  const { message = "It did not work.", hint, findings = [] } = answer.body;
  const first = findings.find((one) => one.severity === "error");
  const file = (first?.file ?? first?.prompt ?? "").split("/").slice(-2).join("/");
  const where = first && [file, first.line && `line ${first.line}`].filter(Boolean).join(", ");
  return [message, first && `${where ? `${where}: ` : ""}${first.message}`, !first && hint].filter(Boolean).join(" ");
}
