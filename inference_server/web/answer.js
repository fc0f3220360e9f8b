// One answer with what it stands on: for questions typed here and for those asked aloud.

import { el, setText } from "./dom.js";
import { clock, minute } from "./times.js";

// deps: { player, goTo(evidence) }
export function createAnswer(question, deps) {
  const asked = el("p", { class: "answer-question", dir: "auto" }, question);
  const text = el("p", { class: "answer-text", dir: "auto" });
  const evidence = el("ol", { class: "evidence" });
  const note = el("p", { class: "answer-note" });
  const element = el("article", { class: "answer" }, asked, text, evidence, note);
  const shown = new Set();

  return {
    element,
    by: (origin) => asked.prepend(el("span", { class: "label" }, origin)),
    say: (words) => text.append(words),
    replace: (words) => setText(text, words),
    note: (words) => setText(note, words),
    evidence(items) {
      for (const item of items) {
        if (shown.has(item.id)) continue;
        shown.add(item.id);
        evidence.append(evidenceItem(item, deps));
      }
    },
  };
}

function evidenceItem(item, { player, goTo }) {
  const quote = el("button", { type: "button", class: "evidence-text", title: "Show it among the notes", on: { click: () => goTo(item) } },
    el("span", { class: "evidence-time" }, clock(item.captured_at)), el("span", { class: "evidence-words", dir: "auto" }, item.text));
  const row = el("li", { data: { id: item.id } }, quote);
  if (item.audio) {
    const play = el("button", { type: "button", class: "evidence-play", on: { click: () => player.toggle(item) } }, "Play");
    play.setAttribute("aria-label", `Play the clip of ${clock(item.captured_at)}`);
    const unwatch = player.watch(() => {
      if (!row.isConnected) return unwatch();
      const { playing } = player.at(item.id);
      play.classList.toggle("is-playing", playing);
      setText(play, playing ? "Pause" : "Play");
    });
    row.append(play);
  }
  if (item.frame) {
    const image = el("img", { alt: `Frame at ${clock(item.captured_at)}`, src: `${item.frame}?w=160`, width: 56, height: 42 });
    image.addEventListener("error", () => image.remove());
    row.append(el("a", { class: "evidence-frame", href: item.frame, target: "_blank", rel: "noopener" }, image));
  }
  return row;
}

export const spokenOrigin = (answer, device) => `Asked aloud${device ? ` on ${device}` : ""} at ${minute(answer.captured_at)}`;
