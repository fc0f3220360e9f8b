// The head of the day: its date, how much was noted, the way to other days, and the notes as a file.

import { el, setText } from "./dom.js";
import { date, shortDay, weekday } from "./times.js";

// deps: { element, onDay(day) } where day "" means the newest
export function createMasthead({ element, onDay }) {
  const eyebrow = el("p", { class: "eyebrow" });
  const title = el("h1", {});
  const count = el("p", { class: "masthead-count" });
  const before = el("button", { type: "button", class: "day-before" });
  const after = el("button", { type: "button", class: "day-after" });
  const pick = el("select", { id: "day-pick", "aria-label": "Day" });
  const file = el("a", { class: "day-file", download: "" }, "Save as Markdown");
  const nav = el("nav", { "aria-label": "Days" }, before, pick, after, file);
  element.append(eyebrow, title, count, nav);
  let shownDays = "";

  function show(state) {
    const { day, days } = state;
    setText(eyebrow, weekday(day));
    setText(title, date(day));
    const topics = new Set(state.lines.map((line) => line.topic)).size;
    setText(count, state.lines.length ? `${plural(state.lines.length, "line")} in ${plural(topics, "topic")}` : "No notes yet");
    const earlier = days.filter((other) => other < day).at(-1);
    const later = days.find((other) => other > day);
    neighbour(before, earlier, "←", "");
    neighbour(after, later, "", "→");
    file.hidden = state.lines.length === 0;
    file.setAttribute("href", `/api/notes.md?day=${day}`);
    const key = `${day} ${days}`;
    if (key === shownDays) return;
    shownDays = key;
    pick.hidden = days.length < 3;
    pick.replaceChildren(...[...new Set([...days, day])].sort().reverse().map((other) => {
      const option = el("option", { value: other }, shortDay(other));
      option.selected = other === day;
      return option;
    }));
  }

  function neighbour(button, day, left, right) {
    button.hidden = !day;
    if (!day) return;
    button.dataset.day = day;
    setText(button, `${left} ${shortDay(day)} ${right}`.trim());
  }

  // The newest day is not pinned: it goes on by itself after midnight.
  const open = (day) => onDay(pick.firstElementChild?.value === day ? "" : day);
  before.addEventListener("click", () => open(before.dataset.day));
  after.addEventListener("click", () => open(after.dataset.day));
  pick.addEventListener("change", () => open(pick.value));
  return { show };
}

const plural = (number, word) => `${number.toLocaleString("en-GB")} ${word}${number === 1 ? "" : "s"}`;
