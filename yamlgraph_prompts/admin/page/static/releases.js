// Makes a release live, goes back, follows again: each behind a view of what differs.
import { call, named, trouble, url } from "./api.js";
import { say, sayNext, signIn } from "./page.js";

const confirm = document.getElementById("confirm");
const said = () => document.getElementById("message").value.trim();
const asked = (path) => path + (said() ? `?message=${encodeURIComponent(said())}` : "");
const routes = {
  activate: ({ release }) => ["POST", asked(`releases/${release}/activate`)],
  rollback: () => ["POST", asked("rollback")],
  follow: () => ["POST", asked("follow")],
  version: (one) => ["PUT", asked(`prompts/${named(one.name)}/activate/${one.number}`), { headers: { "If-Match": `"${one.replaces}"` } }],
  promote: ({ source }) => ["POST", "promote", { json: { from: source, message: said() } }],
};

function done(does, answer) {
  if (does === "version") return ["good", `Version ${answer.body.version} is active.`];
  if (does === "promote") return ["good", "It is promoted."];
  const { status, release, reach } = answer.body;
  const id = release?.slice(0, 8);
  const all = reach.workers > 1 ? ` ${reach.taken} of ${reach.workers} processes have it by now.` : "";
  if (does === "follow") {
    return status === "rejected" ? ["bad", "The layers are followed again, but what they hold is refused. What was live still is."] : ["good", `The layers are followed again. Release ${id} is live.${all}`];
  }
  return ["good", `Release ${id} is live and held.${all}`];
}

if (confirm) {
  const { do: does, live, name } = confirm.dataset;
  const button = document.getElementById("confirm-act");
  let stale = false;

  const again = () => say("bad", "What is live has changed since you looked.", [["Show what differs now", () => location.reload()]]);
  document.addEventListener("news", async () => {
    const answer = await call("GET", "releases");
    const now = answer.body.releases?.find((one) => one.live);
    if (!button.disabled && now && now.id !== live) { stale = true; again(); }
  });

  confirm.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (stale) return again();
    button.disabled = true;
    const answer = await call(...routes[does](confirm.dataset));
    if (answer.ok) {
      sayNext(...done(does, answer));
      location.href = url(name ? `page/prompts/${named(name)}` : "page/releases");
      return;
    }
    button.disabled = false;
    say("bad", answer.status === 0 ? "The connection is lost: look at the releases before you try again." : trouble(answer), answer.status === 401 ? [["Sign in", signIn]] : []);
  });
}
