// What the page itself has to say: short notices that leave, warnings that stay until closed, the cut-connection
// banner, and new lines for screen readers.

import { el, setText } from "./dom.js";
import { minute } from "./times.js";

const NOTICE_MS = 6000;
const BANNER_MS = 1500; // a cut shorter than this is not worth a word
const STAYS = "What you see stays, devices go on recording, and nothing is lost: the page catches up by itself.";
const ANNOUNCE_MS = 2500; // lines that come together are announced together

// deps: { notice, banner, bannerText, retry (button), announcer, onRetry }
export function createNotices({ notice, banner, bannerText, retry, announcer, onRetry }) {
  let noticeTimer = 0;
  let bannerTimer = 0;
  let announceTimer = 0;
  let waiting = [];

  function put(text, isWarning) {
    clearTimeout(noticeTimer);
    const close = el("button", { type: "button", class: "notice-close", on: { click: hideNotice } }, "Close");
    notice.replaceChildren(el("span", {}, text), ...(isWarning ? [close] : []));
    notice.classList.toggle("is-warning", isWarning);
    notice.hidden = false;
    if (!isWarning) noticeTimer = setTimeout(hideNotice, NOTICE_MS);
  }

  function hideNotice() {
    const wasOpen = !notice.hidden;
    notice.hidden = true;
    return wasOpen;
  }

  function link({ state, since, reason, passing }) {
    clearTimeout(bannerTimer);
    document.body.dataset.link = state;
    if (state === "live") {
      banner.hidden = true;
      return;
    }
    const text = state === "opening"
      ? `The notes could not be fetched at ${minute(since)}. ${reason || "The server cannot be reached. Check that it runs and that this device is on its network."} The page tries again by itself.`
      : `Connection cut since ${minute(since)}. ${reason} ${passing ? STAYS : ""}`;
    setText(bannerText, text);
    bannerTimer = setTimeout(() => (banner.hidden = false), banner.hidden ? BANNER_MS : 0);
  }

  function announce(lines) {
    waiting.push(...lines);
    if (announceTimer || waiting.length === 0) return;
    announceTimer = setTimeout(() => {
      announceTimer = 0;
      const last = waiting.at(-1);
      const words = `${last.kind === "seen" ? "Seen: " : last.speaker ? `${last.speaker}: ` : ""}${last.text}`;
      announcer.textContent = waiting.length > 1 ? `${waiting.length} new lines. The last: ${words}` : words;
      waiting = [];
    }, ANNOUNCE_MS);
  }

  retry.addEventListener("click", onRetry);
  return { say: (text) => put(text, false), warn: (text) => put(text, true), hide: hideNotice, link, announce };
}
