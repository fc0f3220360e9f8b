// Keeps the state true: a snapshot, then events; over a cut, events again from where they stopped.
// Owns the connection and the retry delays; the state itself changes only in state.js.

import { ApiError, takeSnapshot } from "./api.js";
import { fromSnapshot, reduce } from "./state.js";

const EVENTS = ["draft", "line", "ended", "topic", "removed", "device", "ledger", "answer", "load", "reset"];
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000];
const OPENING_MS = 10000; // no answer by then: the path is dead, whatever the socket believes
const SILENCE_MS = 45000; // three pings missed: the path is dead, whatever the socket believes

// onState(state), onLink({ state: "opening" | "live" | "cut", since, reason, passing })
export function createFeed({ onState, onLink, keep = {} }) {
  let state = null;
  let day = ""; // "" follows the newest day
  let source = null;
  let attempts = 0;
  let retryTimer = 0;
  let openingTimer = 0;
  let heardAt = Date.now();
  let cutSince = 0;
  let skewMs = 0;
  let drawing = 0;
  let loads = 0; // a slow snapshot must not overwrite a newer one

  // Events come in bursts when catching up; the page is drawn once for all of them.
  function publish() {
    if (drawing) return;
    drawing = setTimeout(() => {
      drawing = 0;
      onState(state);
    }, 16);
  }

  function dispatch(event) {
    if (!state) return;
    state = reduce(state, event);
    if (state.stale) load();
    else publish();
  }

  async function load() {
    close();
    const mine = ++loads;
    try {
      const { snapshot, servedAt } = await takeSnapshot(day);
      if (mine !== loads) return;
      const skew = servedAt - Date.now();
      skewMs = Math.abs(skew) > 3000 ? skew : 0; // the Date header has whole seconds: smaller differences mean nothing
      state = fromSnapshot(snapshot, keep);
      publish();
      open();
    } catch (error) {
      if (mine !== loads) return;
      if (!(error instanceof ApiError)) throw error;
      cut(error.status === 0 ? "" : error.message, error.status !== 401);
    }
  }

  function open() {
    close();
    const mine = new EventSource(`/api/events?after=${encodeURIComponent(state.cursor)}`);
    source = mine;
    openingTimer = setTimeout(() => cut(""), OPENING_MS);
    mine.onopen = () => {
      clearTimeout(openingTimer);
      heardAt = Date.now();
      attempts = 0;
      cutSince = 0;
      onLink({ state: "live" });
    };
    // We reopen ourselves: the browser gives up for good after an HTTP error, and never says since when.
    mine.onerror = () => cut("");
    mine.addEventListener("ping", () => { heardAt = Date.now(); });
    for (const type of EVENTS) {
      mine.addEventListener(type, (message) => {
        if (mine !== source) return;
        heardAt = Date.now();
        dispatch({ type, id: message.lastEventId, data: JSON.parse(message.data) });
      });
    }
  }

  function close() {
    clearTimeout(retryTimer);
    clearTimeout(openingTimer);
    source?.close();
    source = null;
  }

  // passing: whether waiting alone can mend it.
  function cut(reason, passing = true) {
    const refused = source?.readyState === 2; // an HTTP error: the snapshot request will say which
    close();
    cutSince ||= Date.now();
    onLink({ state: state ? "cut" : "opening", since: cutSince, reason, passing });
    const delay = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
    retryTimer = setTimeout(refused || !state || state.stale || reason ? load : open, delay);
  }

  function retryNow() {
    if (source?.readyState === 1 && !cutSince) return;
    attempts = 0;
    if (!state || state.stale) load();
    else open();
  }

  function checkSilence() {
    if (source?.readyState === 1 && Date.now() - heardAt > SILENCE_MS) {
      heardAt = Date.now();
      open();
    }
  }

  setInterval(checkSilence, 5000);
  addEventListener("online", retryNow);
  addEventListener("offline", () => cut(""));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    checkSilence();
    if (cutSince) retryNow();
  });

  return {
    dispatch,
    retryNow,
    show(newDay) {
      day = newDay;
      return load();
    },
    pinnedDay: () => day,
    now: () => Date.now() + skewMs,
  };
}
