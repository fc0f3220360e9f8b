// The elements of the notes column: a line, a draft, a topic's heading. Each has a create and an update.

import { el, reducedMotion, setText } from "./dom.js";
import { words } from "./rows.js";
import { clock, fullTime, minute } from "./times.js";

export function createRow(row) {
  const element = builders[row.kind](row);
  updateRow(element, row, null);
  return element;
}

export function updateRow(element, row, previous) {
  updaters[row.kind](element, row, previous);
}

const builders = {
  topic({ topic }) {
    const title = el("span", { class: "topic-title", dir: "auto" });
    const toggle = el("button", { class: "topic-toggle", type: "button", data: { topic: topic.id } },
      el("time", { class: "topic-time", datetime: topic.started_at }, minute(topic.started_at)), title,
      el("span", { class: "topic-device" }), el("span", { class: "topic-fold" }));
    return el("div", { class: "topic", data: { topic: topic.id } }, el("h2", {}, toggle));
  },
  again() {
    return el("p", { class: "again" }, el("span", { class: "again-title", dir: "auto" }), el("span", { class: "again-device" }));
  },
  line({ line }) {
    const time = el("button", { class: "line-time", type: "button", title: fullTime(line.captured_at) },
      el("time", { datetime: line.captured_at }, clock(line.captured_at)));
    const speaker = el("span", { class: "line-speaker", dir: "auto" });
    const text = el("p", { class: "line-text", dir: "auto" });
    const main = el("div", { class: "line-main" }, time, speaker, text);
    const data = { id: line.id, stream: line.stream, utterance: line.utterance ?? "", kind: line.kind };
    return el("article", { class: `line ${line.kind}`, tabindex: "-1", data }, main);
  },
  draft({ draft }) {
    const time = el("time", { class: "line-time", datetime: draft.captured_at }, clock(draft.captured_at));
    const text = el("p", { class: "line-text", dir: "auto" });
    const main = el("div", { class: "line-main" }, time, el("span", { class: "line-speaker" }), text);
    // Not announced word by word: a screen reader gets the finished line.
    return el("div", { class: "draft", "aria-hidden": "true", data: { stream: draft.stream, utterance: draft.utterance } }, main);
  },
};

const updaters = {
  topic(element, { topic, count, collapsed, severalDevices }) {
    const named = topic.title !== "";
    setText(element.querySelector(".topic-title"), named ? topic.title : "Untitled");
    element.querySelector(".topic-title").classList.toggle("is-untitled", !named);
    setText(element.querySelector(".topic-device"), severalDevices ? topic.device : "");
    setText(element.querySelector(".topic-fold"), collapsed ? `show ${count} ${count === 1 ? "line" : "lines"}` : "fold");
    element.querySelector(".topic-toggle").setAttribute("aria-expanded", String(!collapsed));
  },
  again(element, { topic }) {
    setText(element.querySelector(".again-title"), topic.title || `Untitled, from ${minute(topic.started_at)}`);
    setText(element.querySelector(".again-device"), topic.device);
  },
  line(element, { line, position, total }, previous) {
    element.setAttribute("aria-posinset", position + 1);
    element.setAttribute("aria-setsize", total);
    if (previous?.line === line) return;
    const speaker = element.querySelector(".line-speaker");
    setText(speaker, line.kind === "seen" ? "seen" : line.speaker);
    speaker.title = line.speaker;
    speaker.classList.toggle("is-long", line.speaker.length > 5); // a name, not a letter: it stands over the words
    fillText(element.querySelector(".line-text"), line);
    fillFrame(element, line);
  },
  draft(element, { draft, held }) {
    growText(element.querySelector(".line-text"), draft.text);
    element.classList.toggle("is-held", held);
  },
};

function fillText(paragraph, line) {
  paragraph.replaceChildren(line.text);
  if (line.todo) paragraph.append(" ", el("span", { class: "todo" }, "to-do"));
}

// The box is always the same size, so nothing moves when the picture comes, or when it never does.
function fillFrame(element, line) {
  const main = element.querySelector(".line-main");
  main.querySelector(".line-frame")?.remove();
  if (!line.frame) return;
  const image = el("img", { alt: "", width: 56, height: 42, decoding: "async", data: { src: `${line.frame}?w=160` } });
  image.addEventListener("error", () => image.parentElement?.classList.add("is-missing"));
  image.addEventListener("load", () => image.parentElement?.classList.add("is-shown"));
  main.append(el("span", { class: "line-frame" }, image));
}

// Pictures are asked for only once scrolling rests: flying past a thousand lines must not fetch a thousand frames.
export function loadFrames(elements) {
  for (const element of elements) {
    const image = element.querySelector("img[data-src]");
    if (!image) continue;
    image.src = image.dataset.src;
    delete image.dataset.src;
  }
}

// Word by word: words already there stay untouched, only the tail that differs is written, and only new words fade in.
export function growText(paragraph, text) {
  const pieces = words(text);
  const shown = [...paragraph.children];
  let same = 0;
  while (same < shown.length && same < pieces.length && shown[same].textContent === pieces[same]) same++;
  const revised = Math.min(shown.length, pieces.length);
  for (let i = same; i < revised; i++) shown[i].textContent = pieces[i];
  for (const extra of shown.slice(pieces.length)) extra.remove();
  const fade = shown.length > 0 && !reducedMotion();
  for (const piece of pieces.slice(revised)) paragraph.append(el("span", { class: fade ? "word is-new" : "word" }, piece));
}
