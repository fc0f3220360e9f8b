// What the page knows, and how one event changes it. Pure: no DOM, no clock, no network.
//
//     let state = fromSnapshot(snapshot);
//     state = reduce(state, { type: "line", id: "9f3a-121", data: { topic, line } });
//
// Applying an event twice, or an event from before the snapshot, changes nothing: a reconnect may overlap.

const ENDED_KEPT = 200; // utterances remembered as over, so that a repeated draft cannot bring one back
const ANSWERS_KEPT = 20;

export const utteranceKey = (item) => `${item.stream}/${item.utterance}`;
export const utcDay = (iso) => iso.slice(0, 10);

// limit: keep only the newest lines (0 keeps all). rolling: follow the capture day over midnight (a wall display).
export function fromSnapshot(snapshot, { limit = 0, rolling = false } = {}) {
  const topics = {};
  const lines = [];
  for (const { lines: topicLines, ...topic } of snapshot.topics) {
    topics[topic.id] = topic;
    for (const line of topicLines) lines.push({ ...line, topic: topic.id });
  }
  lines.sort(byCapture);
  const state = {
    cursor: snapshot.cursor,
    day: snapshot.day,
    days: snapshot.days,
    newerDay: "", // a later day than the one shown has notes now
    devices: sortDevices(snapshot.devices),
    topics,
    lines: limit ? lines.slice(-limit) : lines,
    drafts: [],
    ledgers: [...snapshot.ledger].sort(byStream),
    answers: snapshot.answers ?? [],
    ended: [],
    server: snapshot.server,
    stale: false, // the server cannot continue from our cursor: take a snapshot
    limit,
    rolling,
  };
  state.drafts = snapshot.drafts.filter((draft) => belongs(state, draft)).sort(byCapture);
  return limit ? withoutUnusedTopics(state) : state;
}

export function reduce(state, event) {
  if (event.type === "reset") return { ...state, stale: true };
  if (event.id && alreadySeen(state.cursor, event.id)) return state;
  const change = changes[event.type];
  const next = change ? change(state, event.data) : state;
  return event.id ? { ...next, cursor: event.id } : next;
}

const changes = {
  line(state, { topic, line }) {
    const next = endUtterance(state, line);
    const day = utcDay(line.captured_at);
    if (day !== state.day) {
      const days = state.days.includes(day) ? state.days : [...state.days, day].sort();
      if (day < state.day) return { ...next, days };
      if (!state.rolling) return { ...next, days, newerDay: day > state.newerDay ? day : state.newerDay };
      return withLine({ ...next, days, day, ledgers: [] }, topic, line);
    }
    const days = state.days.includes(day) ? state.days : [...state.days, day].sort();
    return withLine({ ...next, days }, topic, line);
  },

  draft(state, draft) {
    const key = utteranceKey(draft);
    if (!belongs(state, draft) || state.ended.includes(key)) return state;
    if (state.lines.some((line) => line.kind === "heard" && utteranceKey(line) === key)) return state;
    const others = state.drafts.filter((other) => utteranceKey(other) !== key);
    return { ...state, drafts: [...others, draft].sort(byCapture) };
  },

  ended(state, utterance) {
    return endUtterance(state, utterance);
  },

  topic(state, topic) {
    if (!state.topics[topic.id]) return state; // of another day; its first line brings it along
    return { ...state, topics: { ...state.topics, [topic.id]: topic } };
  },

  removed(state, { id }) {
    const rests = (answer) => answer.evidence.some((item) => item.id === id);
    const known = state.lines.some((line) => line.id === id) || state.answers.some(rests);
    if (!known) return state;
    return withoutUnusedTopics({
      ...state,
      lines: state.lines.filter((line) => line.id !== id),
      answers: state.answers.filter((answer) => !rests(answer)), // what was derived from it goes too
    });
  },

  device(state, device) {
    const others = state.devices.filter((other) => other.stream !== device.stream);
    return { ...state, devices: sortDevices([...others, device]) };
  },

  ledger(state, ledger) {
    if (ledger.day !== state.day) return state;
    const others = state.ledgers.filter((other) => other.stream !== ledger.stream);
    return { ...state, ledgers: [...others, ledger].sort(byStream) };
  },

  answer(state, answer) {
    const others = state.answers.filter((other) => other.id !== answer.id);
    return { ...endUtterance(state, answer), answers: [...others, answer].sort(byCapture).slice(-ANSWERS_KEPT) };
  },

  load(state, { shedding }) {
    return { ...state, server: { ...state.server, shedding } };
  },
};

// The part of the state a person sees, in one canonical order: two states with equal views look the same.
export function view(state) {
  const used = new Set(state.lines.map((line) => line.topic));
  return {
    day: state.day,
    days: state.days,
    devices: state.devices,
    topics: Object.values(state.topics).filter((topic) => used.has(topic.id)).sort(byId),
    lines: state.lines,
    drafts: state.drafts,
    ledgers: state.ledgers,
    server: state.server,
  };
}

// Drafts of a day that is not shown stay away; those of a day that has only just begun do not.
function belongs(state, draft) {
  const day = utcDay(draft.captured_at);
  const newestShown = !state.days.some((other) => other > state.day);
  return day === state.day || (newestShown && day > state.day);
}

function withLine(state, topic, line) {
  const lines = insertLine(state.lines, { ...line, topic: topic.id });
  const next = { ...state, topics: { ...state.topics, [topic.id]: topic }, lines };
  if (!state.limit || lines.length <= state.limit) return next;
  return withoutUnusedTopics({ ...next, lines: lines.slice(-state.limit) });
}

// New lines nearly always belong at the end, so both searches start there.
function insertLine(lines, line) {
  const known = lines.findLastIndex((other) => other.id === line.id);
  if (known >= 0 && byCapture(lines[known], line) === 0) return lines.with(known, line);
  const others = known >= 0 ? lines.toSpliced(known, 1) : lines;
  const before = others.findLastIndex((other) => byCapture(other, line) <= 0);
  return others.toSpliced(before + 1, 0, line);
}

function endUtterance(state, item) {
  if (item.utterance === null || item.utterance === undefined || item.kind === "seen") return state;
  const key = utteranceKey(item);
  const drafts = state.drafts.filter((draft) => utteranceKey(draft) !== key);
  const ended = state.ended.includes(key) ? state.ended : [...state.ended, key].slice(-ENDED_KEPT);
  return { ...state, ended, drafts: drafts.length === state.drafts.length ? state.drafts : drafts };
}

function withoutUnusedTopics(state) {
  const used = new Set(state.lines.map((line) => line.topic));
  const kept = Object.entries(state.topics).filter(([id]) => used.has(id));
  return { ...state, topics: Object.fromEntries(kept) };
}

// Cursors read "epoch-number". Across epochs nothing can be said, so the event counts as new.
function alreadySeen(cursor, id) {
  const [epoch, number] = splitCursor(cursor);
  const [eventEpoch, eventNumber] = splitCursor(id);
  return epoch === eventEpoch && eventNumber <= number;
}

function splitCursor(cursor) {
  const cut = cursor.lastIndexOf("-");
  return [cursor.slice(0, cut), Number(cursor.slice(cut + 1))];
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const byStream = (a, b) => compare(a.stream, b.stream);
const byId = (a, b) => compare(a.id, b.id);
const byCapture = (a, b) =>
  compare(a.captured_at, b.captured_at) || compare(a.stream, b.stream) || compare(String(a.id), String(b.id)) ||
  compare(a.utterance ?? 0, b.utterance ?? 0);
const sortDevices = (devices) => [...devices].sort((a, b) => compare(a.device, b.device) || byStream(a, b));
