// Builds every part of the page and ties them to the feed: the file to read first.
//
//     feed (snapshot, then events) -> state -> every part's show(state)

import { createAsk } from "./ask.js";
import { createDevices } from "./devices.js";
import { byId } from "./dom.js";
import { createFeed } from "./feed.js";
import { createKeys } from "./keys.js";
import { createLedger } from "./ledger.js";
import { createLines } from "./lines.js";
import { createMasthead } from "./masthead.js";
import { createNotices } from "./notices.js";
import { createPairing } from "./pairing.js";
import { createPlayer } from "./player.js";
import { createSearch } from "./search.js";
import { utcDay } from "./state.js";
import { date } from "./times.js";
import { createWall, WALL_KEEPS } from "./wall.js";

const parameters = () => new URLSearchParams(location.search);

hideToken();
if (parameters().get("display") === "wall") buildWall();
else buildPage();

// The server keeps the token in a cookie by now; in the address it would travel with every copied link.
function hideToken() {
  const query = parameters();
  if (!query.has("token")) return;
  query.delete("token");
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}

function buildWall() {
  document.body.className = "wall";
  byId("page").remove();
  const feed = createFeed({ onState: (state) => wall.show(state), onLink: (link) => wall.link(link), keep: WALL_KEEPS });
  const wall = createWall({ root: document.body, now: feed.now });
  feed.show("");
}

function buildPage() {
  let state = null;
  let wanted = ""; // a line to go to as soon as its day is here

  const notices = createNotices({
    notice: byId("notice"), banner: byId("banner"), bannerText: byId("banner-text"), retry: byId("banner-retry"),
    announcer: byId("announcer"), onRetry: () => feed.retryNow(),
  });
  const feed = createFeed({ onState: show, onLink: notices.link });
  const player = createPlayer();
  const devices = createDevices({
    list: byId("devices"), toggle: byId("devices-toggle"), load: byId("load"), notices, now: feed.now,
  });
  const lines = createLines({ scroller: byId("notes"), newer: byId("newer"), player, notices, dispatch: feed.dispatch, linkTo });
  const masthead = createMasthead({ element: byId("masthead"), onDay: openDay });
  const ask = createAsk({ form: byId("ask"), input: byId("ask-input"), panel: byId("answers"), player, goTo, onOpen: () => ledger.hide() });
  const search = createSearch({
    input: byId("search-input"), panel: byId("results"), goTo,
    onOpen: coverNotes,
  });
  // The notes keep most of the page: answers and ledger details give way to each other.
  const ledger = createLedger({
    bar: byId("ledger-bar"), sums: byId("ledger-sums"), panel: byId("ledger-panel"), tip: byId("tip"), onOpen: () => ask.hide(),
  });
  const pairing = createPairing({
    empty: byId("empty"), dialog: byId("pairing"), body: byId("pairing-body"), opener: byId("pairing-open"),
  });
  const parts = [devices, masthead, pairing, ledger, ask, lines];

  function show(next) {
    const previous = state;
    state = next;
    document.body.dataset.ready = "true";
    for (const part of parts) part.show(state);
    document.title = `${date(state.day)} · Fieldnote`;
    announceNew(previous);
    goToWanted();
    turnTheDay();
  }

  function announceNew(previous) {
    if (!previous || previous.day !== state.day || previous.lines === state.lines) return;
    const known = new Set(previous.lines.map((line) => line.id));
    notices.announce(state.lines.filter((line) => !known.has(line.id)));
  }

  // After midnight the page moves on with a reader at the end, and waits for one who is reading.
  function turnTheDay() {
    const due = state.newerDay !== "" && feed.pinnedDay() === "";
    byId("next-day").hidden = !due;
    if (due && lines.following()) feed.show("");
  }

  function linkTo(line) {
    return `${location.origin}/?day=${utcDay(line.captured_at)}#line/${encodeURIComponent(line.id)}`;
  }

  function openDay(day) {
    history.pushState(null, "", day ? `/?day=${day}` : "/");
    feed.show(day);
  }

  function goTo(item) {
    const day = utcDay(item.captured_at);
    search.leave();
    if (day !== state.day) {
      openDay(day === state.days.at(-1) ? "" : day);
      wanted = item.id;
    } else if (!lines.goTo(item.id)) {
      notices.warn("That line is not among the notes any more: it may have been forgotten.");
    }
  }

  function goToWanted() {
    if (!wanted) return;
    const id = wanted;
    wanted = "";
    if (!lines.goTo(id)) notices.warn("That line is not among the notes of this day: it may have been forgotten.");
  }

  function readAddress() {
    const match = location.hash.match(/^#line\/(.+)$/);
    wanted = match ? decodeURIComponent(match[1]) : "";
    const asked = parameters().get("day") ?? "";
    const day = /^\d{4}-\d{2}-\d{2}$/.test(asked) ? asked : "";
    if (state && feed.pinnedDay() === day) goToWanted();
    else feed.show(day);
  }

  function escape() {
    for (const close of [search.leave, lines.closeOpen, ask.hide, ledger.hide, notices.hide]) if (close()) return;
    document.body.classList.remove("is-searching");
    document.activeElement.blur();
  }

  function coverNotes(covered) {
    byId("notes").classList.toggle("is-covered", covered);
    if (!covered && document.activeElement !== byId("search-input")) document.body.classList.remove("is-searching");
  }

  function openSearch() {
    document.body.classList.add("is-searching");
    search.focus();
  }

  createKeys({
    "/": openSearch,
    a: ask.focus,
    j: () => lines.step(1),
    k: () => lines.step(-1),
    " ": lines.playSelected,
    Enter: lines.openSelected,
    p: devices.pauseOrResume,
    End: lines.toEnd,
    Home: lines.toStart,
    "?": () => byId("help").showModal(),
    Escape: escape,
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("search-open").addEventListener("click", openSearch);
  byId("search-input").addEventListener("blur", () => {
    if (byId("search-input").value === "") document.body.classList.remove("is-searching");
  });
  byId("next-day").addEventListener("click", () => feed.show(""));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  addEventListener("hashchange", readAddress);
  addEventListener("popstate", readAddress);
  readAddress();
}
