// An opened line: its clip, the words as recognised, its frame, and what can be done with it.

import * as api from "./api.js";
import { el, setText } from "./dom.js";
import { fullTime, stopwatch } from "./times.js";

const seconds = (value) => stopwatch(value).replace(/^00:/, "");

// deps: { player, notices, dispatch, linkTo(line), edits: Map id -> unsaved text }
export function createDetail(line, deps) {
  const { player, edits } = deps;
  const status = el("p", { class: "detail-status", role: "status" });
  const detail = el("div", { class: "detail" });
  if (line.frame) detail.append(frameBox(line));
  if (line.audio) detail.append(clip(line, player, detail));
  if (line.heard && line.heard !== line.text) {
    detail.append(el("p", { class: "detail-heard", dir: "auto" }, el("span", { class: "label" }, "As heard "), `“${line.heard}”`));
  }
  const tools = el("div", { class: "detail-tools" });
  detail.append(tools, status, el("p", { class: "detail-when" }, fullTime(line.captured_at)));
  showTools();
  if (edits.has(line.id)) edit();
  return detail;

  function showTools() {
    tools.replaceChildren(
      el("button", { type: "button", class: "copy-link", on: { click: copyLink } }, "Copy link"),
      el("button", { type: "button", class: "correct", on: { click: edit } }, "Correct"),
      el("button", { type: "button", class: "forget", on: { click: confirmForget } }, "Forget this"));
  }

  async function copyLink() {
    const link = deps.linkTo(line);
    try {
      await navigator.clipboard.writeText(link);
      setText(status, "Link copied.");
    } catch {
      // Clipboards need a secure page; the link is then shown for copying by hand.
      status.replaceChildren("Copy this link: ", el("a", { href: link }, link));
    }
  }

  function edit() {
    const field = el("textarea", { class: "correct-text", rows: 3, "aria-label": "Corrected note", dir: "auto" });
    field.value = edits.get(line.id) ?? line.text;
    edits.set(line.id, field.value);
    field.addEventListener("input", () => edits.set(line.id, field.value));
    const cancel = () => {
      edits.delete(line.id);
      setText(status, "");
      showTools();
    };
    const save = () => saveCorrection(field.value.trim(), cancel);
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      } else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        save();
      }
    });
    tools.replaceChildren(field,
      el("button", { type: "button", class: "primary correct-save", on: { click: save } }, "Save"),
      el("button", { type: "button", class: "correct-cancel", on: { click: cancel } }, "Cancel"));
    reveal(field);
  }

  function reveal(element) {
    element.focus({ preventScroll: true });
    tools.scrollIntoView({ block: "nearest" });
  }

  async function saveCorrection(text, close) {
    if (!text) return setText(status, "A note needs words. To remove it, use “Forget this”.");
    if (text === line.text) return close();
    setText(status, "Saving…");
    try {
      await api.correct(line, text);
      close();
      deps.corrected(line, text);
    } catch (error) {
      setText(status, `Not saved. ${error.message} Your words are still in the box.`);
    }
  }

  function confirmForget() {
    const keep = el("button", { type: "button", class: "forget-cancel", on: { click: showTools } }, "Keep it");
    tools.replaceChildren(
      el("p", { class: "detail-question" }, "Forget this for good? Its clip, its frames and all that was made from them go too."),
      el("button", { type: "button", class: "primary forget-confirm", on: { click: forget } }, "Forget it"), keep);
    reveal(keep);
  }

  async function forget() {
    setText(status, "Forgetting…");
    try {
      await api.forget(line);
      player.stop();
      deps.dispatch({ type: "removed", data: { id: line.id } });
      deps.notices.say("Forgotten, with its clip and frames.");
    } catch (error) {
      setText(status, `Not forgotten. ${error.message}`);
      showTools();
    }
  }
}

function frameBox(line) {
  const image = el("img", { alt: `What the camera saw at ${fullTime(line.captured_at)}`, src: line.frame });
  const box = el("a", { class: "detail-frame", href: line.frame, target: "_blank", rel: "noopener", title: "Open the frame by itself" }, image);
  image.addEventListener("error", () => box.replaceChildren(el("span", { class: "detail-missing" }, "The frame is not on the server any more.")));
  return box;
}

function clip(line, player, detail) {
  const button = el("button", { type: "button", class: "clip-play", on: { click: () => player.toggle(line) } });
  const slider = el("input", { type: "range", class: "clip-position", min: 0, step: 0.05, value: 0, "aria-label": "Position in the clip" });
  const time = el("span", { class: "clip-time" });
  const failure = el("p", { class: "clip-failure", role: "status" });
  const spoken = (Date.parse(line.end_at) - Date.parse(line.captured_at)) / 1000;
  slider.addEventListener("input", () => player.seek(Number(slider.value)));
  const refresh = () => {
    const now = player.at(line.id);
    button.classList.toggle("is-playing", now.playing);
    setText(button, now.playing ? "Pause" : "Play");
    slider.max = now.length || spoken;
    slider.value = now.position;
    setText(time, `${seconds(now.position)} / ${seconds(Math.round(now.length || spoken))}`);
    setText(failure, now.failure);
  };
  const unwatch = player.watch(() => (detail.isConnected ? refresh() : unwatch()));
  refresh();
  return el("div", { class: "clip" }, button, slider, time, failure);
}
