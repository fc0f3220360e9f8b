// The wall: the last lines, huge, without controls, for days.
//
// Its memory is bounded by the state it is given (a fixed number of lines) and by drawing only what fits.

import { el, setText } from "./dom.js";
import { growText } from "./row.js";
import { clock, minute } from "./times.js";

export const WALL_KEEPS = { limit: 40, rolling: true };
const DRAWN = 9; // more never fit at this size
const ANSWER_MS = 90_000;
const DRIFT_MS = 60_000;
const DRIFT_PX = 6; // half the width of the path; no pixel shows the same edge for long

// deps: { root, now() }
export function createWall({ root, now }) {
  const devices = el("p", { class: "wall-devices" });
  const time = el("time", { class: "wall-clock" });
  const lines = el("div", { class: "wall-lines" });
  const answer = el("div", { class: "wall-answer" });
  const cut = el("p", { class: "wall-cut", role: "status" });
  const stage = el("div", { class: "wall-stage" }, el("header", { class: "wall-head" }, devices, time), lines, answer, cut);
  root.append(stage);
  answer.hidden = cut.hidden = true;
  const rows = new Map(); // key -> element
  let answerAt = 0;
  let answerSeen = null;
  let state = null;

  function show(next) {
    state = next;
    showDevices();
    showAnswer();
    const wanted = [
      ...state.lines.slice(-DRAWN).map((line) => ({ key: `line ${line.id}`, line })),
      ...state.drafts.map((draft) => ({ key: `draft ${draft.stream}/${draft.utterance}`, draft })),
    ];
    const keep = new Set(wanted.map((row) => row.key));
    for (const [key, element] of rows) {
      if (keep.has(key)) continue;
      element.remove();
      rows.delete(key);
    }
    for (const row of wanted) {
      const element = rows.get(row.key) ?? create(row);
      rows.set(row.key, element);
      if (row.draft) growText(element.lastChild, row.draft.text);
      else setText(element.lastChild, row.line.text);
      lines.append(element);
    }
    if (wanted.length === 0) lines.replaceChildren(el("p", { class: "wall-quiet" }, "Nothing has been said yet."));
    else lines.querySelector(".wall-quiet")?.remove();
    fit();
  }

  function create({ line, draft }) {
    const item = line ?? draft;
    const who = line?.kind === "seen" ? "seen" : line?.speaker ?? "";
    return el("div", { class: `wall-line ${draft ? "draft" : line.kind}`, data: { id: line?.id ?? "" } },
      el("p", { class: "wall-when" }, el("span", {}, minute(item.captured_at)), el("span", { class: "wall-who", dir: "auto" }, who)),
      el("p", { class: "wall-text", dir: "auto" }));
  }

  // Only whole lines: the oldest leave until the rest fits.
  function fit() {
    const children = [...lines.children];
    for (const child of children) child.hidden = false;
    for (const child of children.slice(0, -1)) {
      if (lines.scrollHeight <= lines.clientHeight + 1) break;
      child.hidden = true;
    }
  }

  function showDevices() {
    devices.replaceChildren(...state.devices.map((device) => el("span", { class: "wall-device", data: { state: device.state } },
      el("span", { class: "shape", "aria-hidden": "true" }), device.device, " ", el("span", { class: "wall-state" }, device.state))));
  }

  function showAnswer() {
    const newest = state.answers.at(-1) ?? null;
    if (newest !== answerSeen) {
      answerSeen = newest;
      answerAt = Date.now();
    }
    const visible = newest !== null && Date.now() - answerAt < ANSWER_MS;
    answer.hidden = !visible;
    if (visible) answer.replaceChildren(el("p", { class: "wall-question", dir: "auto" }, newest.question), el("p", { class: "wall-text", dir: "auto" }, newest.text));
  }

  function link(status) {
    cut.hidden = status.state === "live";
    if (!cut.hidden) setText(cut, `Connection cut since ${minute(status.since)}. Recording goes on; this wall catches up by itself.`);
    fit();
  }

  // A slow figure of eight, a step a minute.
  let steps = 0;
  function drift() {
    steps += 1;
    stage.style.transform = `translate(${Math.sin(steps / 7) * DRIFT_PX}px, ${Math.sin(steps / 3.5) * DRIFT_PX}px)`;
    if (state) show(state); // also lets an old answer leave
  }

  function tick() {
    setText(time, clock(now()).slice(0, 5));
    setTimeout(tick, 1000);
  }

  // Refused while hidden, and given up when hidden: asked for again on return.
  async function stayAwake() {
    if (document.hidden || !navigator.wakeLock) return;
    try {
      await navigator.wakeLock.request("screen");
    } catch {
      // A wall without this permission relies on its own settings.
    }
  }

  setInterval(drift, DRIFT_MS);
  document.addEventListener("visibilitychange", stayAwake);
  new ResizeObserver(fit).observe(lines);
  stayAwake();
  tick();
  return { show, link };
}
