// What the model would get, with sample values that this browser remembers for each prompt.
import { call, kept, trouble } from "./api.js";
import { guesses, shown, typed } from "./samples.js";

const $ = (id) => document.getElementById(id);
const WHO = { system: "System", human: "User", ai: "Assistant" };

export class Preview {
  /** `text()` gives the text as it stands; `changed()` is called when a sample value is. */
  constructor(name, path, text, changed) {
    this.key = `samples ${name}`;
    this.path = path;
    this.text = text;
    this.changed = changed;
    this.mine = kept.get(this.key) ?? {};
    this.guessed = {};
    this.fields = "";
    $("guess").addEventListener("click", () => {
      this.mine = {};
      kept.set(this.key, null);
      this.fields = "";
      changed();
    });
  }

  values() {
    const mine = Object.entries(this.mine).map(([name, words]) => [name, typed(words)]);
    return { ...this.guessed, ...Object.fromEntries(mine) };
  }

  /** A text with errors cannot be filled in: what it said before stays, greyed. */
  wait() {
    $("messages").classList.add("old");
    $("preview-problem").textContent = "It cannot be shown until the errors are mended.";
  }

  async look() {
    const text = this.text();
    this.guessed = guesses(text);
    const asked = JSON.stringify(this.values());
    const answer = await call("POST", `preview/${this.path}`, { json: { variables: this.values(), text } });
    if (text !== this.text() || asked !== JSON.stringify(this.values())) return;
    const messages = $("messages");
    if (answer.body.code === "rejected") return this.wait();
    messages.classList.toggle("old", !answer.ok);
    if (!answer.ok) {
      $("preview-problem").textContent = trouble(answer);
      return;
    }
    $("preview-problem").textContent = "";
    this.ask(answer.body.variables);
    messages.replaceChildren(...answer.body.messages.map(message));
  }

  /** One field for each variable; they stay as they are while the names do. */
  ask(names) {
    $("samples").hidden = !names.length;
    const fields = names.join(" ");
    if (fields === this.fields) return;
    this.fields = fields;
    document.querySelector("#samples .fields").replaceChildren(...names.map((name) => {
      const place = document.createElement("div");
      const label = Object.assign(document.createElement("label"), { textContent: name, htmlFor: `sample-${name}` });
      const field = Object.assign(document.createElement("textarea"), { id: `sample-${name}`, rows: 1, spellcheck: false, value: this.mine[name] ?? shown(this.guessed[name] ?? "") });
      field.addEventListener("input", () => {
        this.mine[name] = field.value;
        kept.set(this.key, this.mine);
        this.changed();
      });
      place.append(label, field);
      return place;
    }));
  }
}

function message({ role, content }) {
  const made = document.createElement("article"), title = document.createElement("h3"), words = document.createElement("div");
  made.className = "message";
  made.dataset.role = role;
  title.textContent = WHO[role] ?? role;
  words.className = "content";
  const parts = Array.isArray(content) ? content.map((part) => part.text ?? JSON.stringify(part)) : [content];
  words.textContent = parts.join("\n");
  made.append(title, words);
  return made;
}
