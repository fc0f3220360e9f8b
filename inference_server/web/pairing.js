// How to connect a device, and what will then appear: fills the empty page, and a dialog later on.

import { pairing } from "./api.js";
import { el, setText } from "./dom.js";

// deps: { empty (section), dialog, body (in the dialog), opener (button) }
export function createPairing({ empty, dialog, body, opener }) {
  let filled = false;

  function show(state) {
    const bare = state.lines.length === 0 && state.drafts.length === 0;
    empty.hidden = !bare;
    if (bare && !filled) {
      filled = true;
      fill(empty);
    }
    if (bare) setText(empty.querySelector("h2"), heading(state.devices));
  }

  function heading(devices) {
    const recording = devices.find((device) => device.state === "recording");
    if (recording) return `${recording.device} is recording. The first words will stand here.`;
    if (devices.length) return "No device is recording. Resume one above, or connect another.";
    return "Connect a device, and what is said will stand here.";
  }

  async function fill(place) {
    const steps = el("div", { class: "pairing" });
    place.replaceChildren(el("h2", {}, "Connect a device, and what is said will stand here."), steps, ...(place === empty ? [example()] : []));
    try {
      steps.replaceChildren(...instructions(await pairing()));
    } catch (error) {
      filled = false;
      const again = el("button", { type: "button", on: { click: () => fill(place) } }, "Try again");
      steps.replaceChildren(el("p", {}, `How to connect could not be fetched. ${error.message}`), again);
    }
  }

  opener.addEventListener("click", () => {
    fill(body);
    dialog.showModal();
  });
  return { show };
}

function instructions({ url, command, qr_svg }) {
  const code = el("code", { class: "pairing-command" }, ...command.split(" ").flatMap((word) => [el("span", {}, word), " "]));
  const copy = el("button", { type: "button", class: "copy-command" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      setText(copy, "Copied");
    } catch {
      getSelection().selectAllChildren(code); // no clipboard without a secure page: ready for copying by hand
      setText(copy, "Selected");
    }
  });
  // As an image a drawing is inert: whatever it holds, it cannot run or load anything.
  const picture = el("img", { class: "qr", alt: "QR code with the server's address", width: 168, height: 168, src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(qr_svg)}` });
  return [
    el("div", { class: "pairing-words" },
      el("p", {}, "On the laptop or Raspberry Pi that shall listen:"),
      el("div", { class: "command" }, code, copy),
      el("p", {}, "To read along on a phone, scan the code. It opens ", el("span", { class: "pairing-url" }, url.replace(/\?.*$/, "")), ".")),
    picture,
  ];
}

// The page's own words, so they are plainly marked as an example.
function example() {
  const row = (time, who, text, kind = "heard") => el("div", { class: `line ${kind}` }, el("div", { class: "line-main" },
    el("span", { class: "line-time" }, time), el("span", { class: "line-speaker" }, who), el("p", { class: "line-text" }, text)));
  return el("figure", { class: "example" },
    el("figcaption", { class: "label" }, "An example of what will appear"),
    row("14:02:11", "A", "We move the launch to the twenty-fourth of June."),
    row("14:02:31", "seen", "“ROOM 204 · THU 3 PM”", "seen"),
    row("14:02:40", "B", "Words come as they are spoken. Each line keeps its sound and its picture."));
}
