// The box to ask, and the answers above it: those asked here and those asked aloud.

import { ask } from "./api.js";
import { createAnswer, spokenOrigin } from "./answer.js";
import { el } from "./dom.js";

const KEPT = 20;
const CUT_OFF = "The answer was cut off. Your notes are untouched. Ask again.";
const UNKNOWN = "Nothing in the notes answers this.";

// deps: { form, input, panel, player, goTo, onOpen() }
export function createAsk({ form, input, panel, player, goTo, onOpen }) {
  const list = el("div", { class: "answers", role: "log", "aria-label": "Answers", tabindex: "0" });
  const close = el("button", { type: "button", class: "panel-close", "aria-label": "Close the answers" }, "Close");
  panel.append(close, list);
  const spoken = new Map(); // id -> { answer, text }
  let known = null; // ids of the spoken answers that were there when the page opened
  let running = null;

  close.addEventListener("click", hide);

  function reveal(answer) {
    list.append(answer.element);
    while (list.children.length > KEPT) list.firstChild.remove();
    panel.hidden = false;
    onOpen();
    settle(answer);
  }

  // The question stays in view while its answer grows below it.
  function settle(answer) {
    list.scrollTop = answer.element.offsetTop - list.offsetTop;
  }

  function hide() {
    const wasOpen = !panel.hidden;
    panel.hidden = true;
    return wasOpen;
  }

  async function submit(event) {
    event.preventDefault();
    const question = input.value.trim();
    if (!question) return;
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    const answer = createAnswer(question, { player, goTo });
    answer.note("Looking through the notes…");
    reveal(answer);
    input.value = "";
    try {
      await write(answer, question, signal);
    } catch (error) {
      answer.note(error.name === "AbortError" ? "Left for the next question." : error.message);
      settle(answer);
      if (error.name === "AbortError" || input.value !== "") return;
      input.value = question; // ready to be asked again, or typed over
      input.select();
    }
  }

  async function write(answer, question, signal) {
    let finished = false;
    for await (const part of ask(question, signal)) {
      if (part.type === "piece") {
        answer.say(part.text);
        answer.note("");
      } else if (part.type === "evidence") {
        answer.evidence(part.items);
      } else if (part.type === "error") {
        throw new Error(part.error?.message ?? CUT_OFF);
      } else if (part.type === "done") {
        finished = true;
        answer.note(part.answered ? "" : UNKNOWN);
      }
      settle(answer);
    }
    if (!finished) throw new Error(CUT_OFF);
  }

  // Answers to spoken questions are part of the state; new ones open the panel, known ones grow in place.
  function show(state) {
    const first = known === null;
    if (first) known = new Set(state.answers.filter((answer) => answer.done).map((answer) => answer.id));
    const ids = new Set(state.answers.map((answer) => answer.id));
    for (const [id, { answer }] of spoken) {
      if (ids.has(id)) continue;
      answer.element.remove();
      spoken.delete(id);
    }
    for (const current of state.answers) {
      if (known.has(current.id)) continue;
      if (!spoken.has(current.id)) {
        const answer = createAnswer(current.question, { player, goTo });
        const device = state.devices.find((other) => other.stream === current.stream)?.device;
        answer.by(spokenOrigin(current, device));
        spoken.set(current.id, { answer, seen: null });
        reveal(answer);
      }
      const entry = spoken.get(current.id);
      if (entry.seen === current) continue;
      entry.seen = current;
      entry.answer.replace(current.text);
      entry.answer.evidence(current.evidence);
      entry.answer.note(!current.done ? "…" : current.answered ? "" : UNKNOWN);
    }
    if (list.children.length === 0) panel.hidden = true;
  }

  form.addEventListener("submit", submit);
  return { show, hide, focus: () => input.focus() };
}
