// The ledger of the day: one lane per device over the same hours, the sums in words, and every gap with its reason.

import { el, setText } from "./dom.js";
import { clock, duration, minute } from "./times.js";

const KINDS = ["noted", "silence", "gap", "pending"];
const LANE_PX = 7;
const LANE_GAP_PX = 3;
const LOUDEST = { silence: 1, noted: 2, pending: 3, gap: 4 }; // what wins when many spans share one pixel
const REASON_UNKNOWN = "no reason was recorded";

// deps: { bar (canvas), sums (button), panel, tip, onOpen() }
export function createLedger({ bar, sums, panel, tip, onOpen }) {
  let ledgers = [];
  let from = 0;
  let to = 1;

  function show(state) {
    if (state.ledgers === ledgers) return;
    ledgers = state.ledgers;
    const spans = ledgers.flatMap((ledger) => ledger.spans);
    from = Math.min(...spans.map((span) => Date.parse(span.start_at)));
    to = Math.max(...spans.map((span) => Date.parse(span.end_at)), from + 1);
    bar.parentElement.hidden = spans.length === 0;
    if (spans.length === 0) return (panel.hidden = true);
    writeSums();
    if (!panel.hidden) writePanel();
    draw();
  }

  function writeSums() {
    const parts = KINDS.map((kind) => {
      const seconds = ledgers.reduce((sum, ledger) => sum + ledger[`${kind}_s`], 0);
      return el("span", { class: "sum", data: { kind, seconds: Math.round(seconds) } },
        el("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), `${kind} `, el("b", {}, duration(seconds)));
    });
    sums.replaceChildren(...parts);
  }

  function draw() {
    const width = bar.clientWidth;
    if (width === 0) return;
    const scale = devicePixelRatio;
    const height = ledgers.length * (LANE_PX + LANE_GAP_PX) - LANE_GAP_PX;
    bar.style.height = `${height}px`;
    bar.width = Math.round(width * scale);
    bar.height = Math.round(height * scale);
    const pen = bar.getContext("2d");
    pen.scale(scale, scale);
    const colours = getComputedStyle(bar);
    ledgers.forEach((ledger, lane) => drawLane(pen, ledger, lane * (LANE_PX + LANE_GAP_PX), width, colours));
  }

  // Kinds differ in shape as well as in colour: noted is full, silence a thin line, a gap full and striped, pending an outline.
  function drawLane(pen, ledger, top, width, colours) {
    const pixels = new Uint8Array(Math.ceil(width));
    for (const span of ledger.spans) {
      const first = Math.floor(x(Date.parse(span.start_at), width));
      const last = Math.max(first + (span.kind === "gap" ? 3 : 1), Math.ceil(x(Date.parse(span.end_at), width)));
      for (let i = Math.max(0, first); i < last && i < pixels.length; i++) pixels[i] = Math.max(pixels[i], LOUDEST[span.kind]);
    }
    const ink = colours.getPropertyValue("--ledger-noted");
    const loud = colours.getPropertyValue("--accent");
    for (let i = 0; i < pixels.length; i++) {
      if (pixels[i] === LOUDEST.silence) box(pen, ink, i, top + LANE_PX / 2 - 0.5, 1);
      else if (pixels[i] === LOUDEST.noted) box(pen, ink, i, top, LANE_PX);
      else if (pixels[i] === LOUDEST.gap) box(pen, loud, i, top + (i % 4 < 2 ? 0 : LANE_PX / 2), LANE_PX / 2);
      else if (pixels[i] === LOUDEST.pending) {
        box(pen, ink, i, top, 1);
        box(pen, ink, i, top + LANE_PX - 1, 1);
      }
    }
  }

  function box(pen, colour, left, top, height) {
    pen.fillStyle = colour;
    pen.fillRect(left, top, 1, height);
  }

  const x = (time, width) => ((time - from) / (to - from)) * width;

  // What is under the pointer, a few pixels either way: gaps are narrow and thumbs are not.
  function spanAt(event) {
    const box = bar.getBoundingClientRect();
    const lane = Math.min(ledgers.length - 1, Math.max(0, Math.floor((event.clientY - box.top) / (LANE_PX + LANE_GAP_PX))));
    const time = (px) => from + ((event.clientX - box.left + px) / box.width) * (to - from);
    const near = ledgers[lane].spans.filter((span) => Date.parse(span.start_at) <= time(4) && Date.parse(span.end_at) >= time(-4));
    near.sort((a, b) => LOUDEST[b.kind] - LOUDEST[a.kind]);
    return near[0] && { span: near[0], device: ledgers[lane].device };
  }

  function point(event) {
    const found = spanAt(event);
    if (!found) return leave();
    const { span, device } = found;
    const reason = span.kind === "gap" ? `: ${span.reason || REASON_UNKNOWN}` : "";
    setText(tip, `${device} ${clock(span.start_at)} to ${clock(span.end_at)}, ${span.kind}${reason}`);
    tip.hidden = false;
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(innerWidth - half - 8, Math.max(half + 8, event.clientX))}px`;
    tip.style.top = `${bar.getBoundingClientRect().top - tip.offsetHeight - 8}px`;
  }

  function leave() {
    tip.hidden = true;
  }

  function writePanel() {
    const blocks = ledgers.map((ledger) => {
      const gaps = ledger.spans.filter((span) => span.kind === "gap");
      const rows = gaps.map((gap) => el("li", { class: "gap" },
        el("time", { datetime: gap.start_at }, `${clock(gap.start_at)} to ${clock(gap.end_at)}`), ` ${gap.reason || REASON_UNKNOWN}`));
      return el("section", {}, el("h3", { dir: "auto" }, ledger.device),
        el("p", {}, KINDS.map((kind) => `${kind} ${duration(ledger[`${kind}_s`])}`).join(", "), `, of ${duration(ledger.total_s)} captured.`),
        gaps.length ? el("ul", {}, ...rows) : el("p", { class: "quiet" }, "No gaps: every second is accounted for."));
    });
    const head = el("p", { class: "ledger-range" }, `From ${minute(from)} to ${minute(to)}. Every captured second is one of the four.`);
    panel.replaceChildren(closeButton, head, ...blocks);
  }

  const closeButton = el("button", { type: "button", class: "panel-close", on: { click: hide } }, "Close");

  function hide() {
    const wasOpen = !panel.hidden;
    panel.hidden = true;
    sums.setAttribute("aria-expanded", "false");
    return wasOpen;
  }

  sums.addEventListener("click", () => {
    if (!panel.hidden) return hide();
    writePanel();
    onOpen();
    panel.hidden = false;
    sums.setAttribute("aria-expanded", "true");
  });
  bar.addEventListener("pointermove", point);
  bar.addEventListener("pointerdown", point);
  bar.addEventListener("pointerleave", leave);
  new ResizeObserver(draw).observe(bar.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return { show, hide };
}
