// The strip of devices: each with a shape, its state in words, since when, its level and its backlog.

import * as api from "./api.js";
import { el, setText } from "./dom.js";
import { duration, stopwatch } from "./times.js";

const BARS = 5; // the last levels, newest at the right
const SHEDDING = {
  summaries: "Busy: topic titles come later. Nothing is lost.",
  frames: "Very busy: some frames are not looked at for now. Speech comes first and is all noted.",
};

// deps: { list, toggle (button, phones only), load (element), notices, now() }
export function createDevices({ list, toggle, load, notices, now }) {
  const items = new Map(); // stream -> { element, parts, device, levels }
  const pausedHere = new Set(); // streams this page paused with one key, to be resumed by the same key
  let devices = [];

  function show(state) {
    devices = state.devices;
    const present = new Set(devices.map((device) => device.stream));
    for (const [stream, item] of items) {
      if (present.has(stream)) continue;
      item.element.remove();
      items.delete(stream);
    }
    devices.forEach((device, index) => {
      const item = items.get(device.stream) ?? createItem(device);
      items.set(device.stream, item);
      if (list.children[index] !== item.element) list.insertBefore(item.element, list.children[index] ?? null);
      refresh(item, device);
    });
    setText(load, SHEDDING[state.server.shedding] ?? "");
    summarise();
    tick();
  }

  function createItem(device) {
    const name = el("span", { class: "device-name", dir: "auto" });
    const word = el("span", { class: "device-state" });
    const bars = Array.from({ length: BARS }, () => el("span", {}));
    const meter = el("span", { class: "meter", "aria-hidden": "true" }, ...bars);
    const backlog = el("span", { class: "device-backlog" });
    const button = el("button", { type: "button", class: "device-pause" });
    const element = el("li", { class: "device", data: { stream: device.stream } },
      el("span", { class: "shape", "aria-hidden": "true" }), name, word, meter, backlog, button);
    const item = { element, name, word, bars, backlog, button, device: null, levels: Array(BARS).fill(0) };
    button.addEventListener("click", () => change(item.device, item.device.state === "paused"));
    return item;
  }

  function refresh(item, device) {
    if (item.device === device) return;
    if (item.device?.state !== device.state) item.button.disabled = false;
    item.device = device;
    item.element.dataset.state = device.state;
    setText(item.name, device.device);
    setText(item.backlog, device.backlog ? `${device.backlog.toLocaleString("en-GB")} waiting` : "");
    item.backlog.title = "Records the device still has to send";
    item.button.hidden = device.state === "offline";
    setText(item.button, device.state === "paused" ? "Resume" : "Pause");
    item.button.setAttribute("aria-label", `${item.button.textContent} ${device.device}`);
    item.levels = [...item.levels.slice(1), device.level ?? 0];
    // Loudness is heard in ratios, so the bar grows with the root of the level.
    item.bars.forEach((bar, i) => (bar.style.transform = `scaleY(${Math.max(0.12, Math.sqrt(item.levels[i]))})`));
  }

  function summarise() {
    const only = devices.length === 1 ? devices[0] : null;
    const parts = ["recording", "paused", "offline"].flatMap((state) => {
      const those = devices.filter((device) => device.state === state);
      if (those.length === 0) return [];
      const words = only ? `${only.device} ${state}` : `${those.length} ${state}`;
      return [el("span", { class: "device-summary", data: { state } }, el("span", { class: "shape", "aria-hidden": "true" }), words)];
    });
    toggle.replaceChildren(...(parts.length ? parts : ["No device yet"]));
  }

  // Running times change every second; only their text is written.
  function tick() {
    for (const { device, word } of items.values()) {
      const seconds = device.since ? (now() - Date.parse(device.since)) / 1000 : NaN;
      if (device.state === "recording") setText(word, Number.isNaN(seconds) ? "recording" : `recording ${stopwatch(seconds)}`);
      else if (device.state === "paused") setText(word, Number.isNaN(seconds) ? "paused" : `paused ${duration(seconds)}`);
      else setText(word, Number.isNaN(seconds) ? "offline" : `offline ${duration(seconds)}`);
    }
  }
  setInterval(() => !document.hidden && tick(), 1000);

  async function change(device, resuming) {
    const { button } = items.get(device.stream);
    button.disabled = true;
    setTimeout(() => (button.disabled = false), 4000); // the device may be slow to say so itself
    try {
      await (resuming ? api.resume : api.pause)(device.stream);
      notices.say(resuming ? `${device.device} records again.` : `${device.device} is paused: nothing is recorded until it is resumed.`);
      return true;
    } catch (error) {
      button.disabled = false;
      notices.warn(`${device.device} was not ${resuming ? "resumed" : "paused"}. ${error.message}`);
      return false;
    }
  }

  // One key for all: pause whatever records. Resuming is for what this page paused, or for the only one that is
  // paused: a device that someone silenced on purpose must not wake up by accident.
  async function pauseOrResume() {
    const recording = devices.filter((device) => device.state === "recording");
    if (recording.length) {
      pausedHere.clear();
      for (const device of recording) if (await change(device, false)) pausedHere.add(device.stream);
      return;
    }
    const paused = devices.filter((device) => device.state === "paused");
    const mine = paused.filter((device) => pausedHere.has(device.stream));
    const chosen = mine.length ? mine : paused.length === 1 ? paused : [];
    if (chosen.length === 0) {
      notices.say(paused.length ? "Several devices are paused: resume each in the strip above." : "No device is recording.");
    }
    for (const device of chosen) await change(device, true);
    pausedHere.clear();
  }

  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(open));
    list.classList.toggle("is-open", open);
  });

  return { show, pauseOrResume };
}
