// The notes column: rows in a windowed column, one selected line, one open line, and what is new below.

import { createColumn } from "./column.js";
import { createDetail } from "./detail.js";
import { setText } from "./dom.js";
import { createRow, loadFrames, updateRow } from "./row.js";
import { draftRows, estimateHeight, lineRows } from "./rows.js";

const FOLDED = "fieldnote-folded"; // survives a reload, so that the page looks the same again

// deps: { scroller, newer (button), player, notices, dispatch, linkTo }
export function createLines(deps) {
  const { scroller, newer, player } = deps;
  const folded = new Set(JSON.parse(sessionStorage.getItem(FOLDED) ?? "[]"));
  const edits = new Map();
  const unseen = new Set(); // keys of rows that came below the view of a reader who is not at the end
  let state = null;
  let heard = []; // the rows of finished lines, rebuilt only when these change
  let known = new Set();
  let selected = "";
  let open = "";
  let marked = "";
  let resting = 0;

  const column = createColumn(scroller, {
    create: (row) => decorate(createRow(row), row),
    update(element, row, previous) {
      updateRow(element, row, previous);
      decorate(element, row, previous);
    },
    estimate: (row, columnPx) => estimateHeight(row, { columnPx, lineHeightPx: 26 }),
    onMove: moved,
  });

  function decorate(element, row, previous) {
    if (row.kind !== "line") return element;
    const { id } = row.line;
    element.classList.toggle("is-selected", id === selected);
    element.classList.toggle("is-marked", id === marked);
    element.classList.toggle("is-playing", player.at(id).playing);
    element.classList.toggle("is-open", id === open);
    element.querySelector(".line-time").setAttribute("aria-expanded", String(id === open));
    const detail = element.querySelector(".detail");
    const changed = previous && previous.line !== row.line;
    if (detail && (id !== open || changed)) detail.remove();
    if (id === open && (!detail || changed)) {
      element.append(createDetail(row.line, { ...deps, edits, corrected }));
    }
    return element;
  }

  // The event will say the same; showing it at once spares the wait.
  function corrected(line, text) {
    const { topic, ...rest } = state.lines.find((other) => other.id === line.id) ?? {};
    if (topic) deps.dispatch({ type: "line", data: { topic: state.topics[topic], line: { ...rest, text } } });
  }

  function show(next) {
    const first = !state || state.day !== next.day;
    const dirty = first || state.lines !== next.lines || state.topics !== next.topics;
    if (first) unseen.clear();
    const before = known;
    state = next;
    if (dirty) {
      heard = lineRows(state, folded);
      known = new Set(heard.map((row) => row.key));
    }
    column.setRows([...heard, ...draftRows(state)]);
    if (dirty && !first) noticeUnseen(before);
    if (first) startOfDay();
  }

  // Today begins at its end, where things happen; an earlier day is read from its beginning.
  function startOfDay() {
    if (state.days.some((day) => day > state.day)) column.toStart();
    else column.toEnd();
  }

  function noticeUnseen(before) {
    const end = column.visibleEnd();
    for (const row of heard) {
      if (row.kind !== "line" || before.has(row.key)) continue;
      if (!column.following() && column.position(row.key) > end) unseen.add(row.key);
    }
    moved();
  }

  function moved() {
    if (!resting) resting = setTimeout(rested, 90);
    if (unseen.size) {
      const end = column.visibleEnd();
      for (const key of unseen) if (!(column.position(key) > end)) unseen.delete(key);
    }
    newer.hidden = column.atEnd() || (unseen.size === 0 && column.following());
    setText(newer, unseen.size ? `↓ ${unseen.size} new ${unseen.size === 1 ? "line" : "lines"}` : "↓");
    newer.setAttribute("aria-label", unseen.size ? newer.textContent : "To the newest line");
    newer.classList.toggle("has-new", unseen.size > 0);
  }

  function rested() {
    resting = 0;
    loadFrames(column.elements().map((item) => item.element));
  }

  const key = (id) => `line ${id}`;
  const lineOf = (id) => state?.lines.find((line) => line.id === id);

  function select(id, { focus = true } = {}) {
    const previous = selected;
    selected = id;
    column.refresh(key(previous));
    column.refresh(key(id));
    if (focus) column.element(key(id))?.focus({ preventScroll: true });
  }

  function toggle(id, { play = true } = {}) {
    const previous = open;
    open = open === id ? "" : id;
    if (previous && previous !== id) edits.delete(previous);
    player.stop();
    column.refresh(key(previous));
    select(id);
    if (open && play) player.play(lineOf(id));
    if (open) column.show(key(id), "nearest");
  }

  function step(by) {
    const lines = heard.filter((row) => row.kind === "line");
    if (lines.length === 0) return;
    let index = lines.findIndex((row) => row.line.id === selected);
    if (index < 0) index = by > 0 ? firstVisible(lines) - 1 : firstVisible(lines) + 1;
    const id = lines[Math.min(lines.length - 1, Math.max(0, index + by))].line.id;
    column.show(key(id), "nearest");
    select(id);
  }

  function firstVisible(lines) {
    const edge = scroller.getBoundingClientRect().top;
    const index = lines.findIndex((row) => (column.element(row.key)?.getBoundingClientRect().top ?? -1) >= edge);
    return Math.max(0, index);
  }

  function unfold(topicId) {
    if (!folded.delete(topicId)) folded.add(topicId);
    sessionStorage.setItem(FOLDED, JSON.stringify([...folded]));
    heard = lineRows(state, folded);
    known = new Set(heard.map((row) => row.key));
    column.setRows([...heard, ...draftRows(state)]);
  }

  function goTo(id) {
    const line = lineOf(id);
    if (!line) return false;
    if (folded.has(line.topic)) unfold(line.topic);
    const previous = marked;
    marked = id;
    column.show(key(id), "middle");
    column.refresh(key(previous));
    select(id);
    return true;
  }

  scroller.addEventListener("click", (event) => {
    const fold = event.target.closest(".topic-toggle");
    if (fold) return unfold(fold.dataset.topic);
    const line = event.target.closest("article.line");
    if (!line || event.target.closest(".detail")) return;
    if (getSelection().toString() !== "") return; // a person is selecting words, not opening the line
    toggle(line.dataset.id);
  });
  newer.addEventListener("click", () => column.toEnd());
  player.watch(() => column.elements().forEach(({ element, row }) => {
    if (row.kind === "line") element.classList.toggle("is-playing", player.at(row.line.id).playing);
  }));

  return {
    show,
    step,
    goTo,
    toStart: () => column.toStart(),
    toEnd: () => column.toEnd(),
    following: () => column.following(),
    openSelected: () => selected && lineOf(selected) && toggle(selected),
    playSelected() {
      if (!lineOf(selected)) return;
      if (open === selected) player.toggle(lineOf(selected));
      else toggle(selected);
    },
    closeOpen() {
      if (!open) return false;
      toggle(open);
      return true;
    },
  };
}
