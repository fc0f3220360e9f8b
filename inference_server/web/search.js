// Search over every day: hits take the place of the notes until Escape brings these back.

import { search } from "./api.js";
import { el, setText } from "./dom.js";
import { clock, shortDay } from "./times.js";

const PAUSE_MS = 220; // typing rests this long before the server is asked

// deps: { input, panel, goTo(hit), onOpen(isOpen) }
export function createSearch({ input, panel, goTo, onOpen }) {
  const title = el("h2", { class: "results-title", role: "status" });
  const list = el("ol", { class: "results-list" });
  const close = el("button", { type: "button", class: "panel-close", on: { click: leave } }, "Close");
  panel.append(el("div", { class: "results-head" }, title, close), list);
  let timer = 0;
  let running = null;

  async function look() {
    const words = input.value.trim();
    running?.abort();
    if (words === "") return hide();
    running = new AbortController();
    const { signal } = running;
    try {
      const hits = await search(words, signal);
      setText(title, hits.length ? `${hits.length}${hits.length === 50 ? " newest" : ""} for “${words}”` : `Nothing was noted about “${words}”.`);
      list.replaceChildren(...hits.map((hit) => hitItem(hit, words)));
      if (hits.length === 0) list.append(el("li", { class: "results-hint" }, "Try fewer letters, or ask below in your own words: the answer looks at meaning, too."));
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(title, `The search did not work. ${error.message}`);
      list.replaceChildren();
    }
    panel.hidden = false;
    panel.scrollTop = 0;
    onOpen(true);
  }

  function hitItem(hit, words) {
    const button = el("button", { type: "button", class: `hit ${hit.kind}`, data: { id: hit.id, day: hit.day } },
      el("span", { class: "hit-when" }, el("span", { class: "hit-day" }, shortDay(hit.day)), clock(hit.captured_at)),
      el("span", { class: "hit-speaker", dir: "auto" }, hit.kind === "seen" ? "seen" : hit.speaker),
      el("span", { class: "hit-text", dir: "auto" }, ...highlighted(hit.snippet || hit.text, words)));
    button.addEventListener("click", () => {
      hide();
      goTo(hit);
    });
    return el("li", {}, button);
  }

  function hide() {
    if (panel.hidden) return false;
    panel.hidden = true;
    onOpen(false);
    return true;
  }

  function leave() {
    clearTimeout(timer);
    running?.abort();
    input.value = "";
    input.blur();
    const wasOpen = hide();
    return wasOpen;
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE_MS);
  });
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    look();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    list.querySelector("button")?.focus();
  });
  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!by) return;
    const buttons = [...list.querySelectorAll("button")];
    const index = buttons.indexOf(document.activeElement) + by;
    event.preventDefault();
    event.stopPropagation();
    (index < 0 ? input : buttons[Math.min(index, buttons.length - 1)])?.focus();
  });

  return { leave, focus: () => input.focus(), isOpen: () => !panel.hidden };
}

// Text and <mark> elements: the words looked for stand out without any markup from the server.
function highlighted(text, words) {
  const wanted = words.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts = text.split(new RegExp(`(${wanted.join("|")})`, "giu"));
  return parts.map((part, index) => (index % 2 ? el("mark", {}, part) : part));
}
