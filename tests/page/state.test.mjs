// The page's reducer, against a small server of its own. Run: node --test tests/page/state.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromSnapshot, reduce, view } from "../../inference_server/web/state.js";

const DAY = "2026-11-20";
const STREAMS = ["a".repeat(32), "b".repeat(32)];
const at = (second, day = DAY) => new Date(Date.parse(`${day}T08:00:00.000Z`) + second * 1000).toISOString();

// Small, fast and seeded: a failing sequence can be run again.
function random(seed) {
  let x = seed * 2654435761 + 1;
  const next = () => {
    x = (Math.imul(x ^ (x >>> 15), 2246822519) + 3266489917) >>> 0;
    return (x ^ (x >>> 13)) >>> 0;
  };
  return { below: (n) => next() % n, pick: (list) => list[next() % list.length] };
}

const topicOf = (id, stream, second, title = `Topic ${id}`) => ({ id, stream, device: stream[0], title, started_at: at(second) });

function lineOf(stream, utterance, second, changes = {}) {
  return {
    id: `${stream[0]}-${utterance}`, kind: "heard", stream, utterance, captured_at: at(second), end_at: at(second + 2),
    text: `Line ${utterance}.`, heard: `line ${utterance}`, speaker: "A", todo: false, audio: null, frame: null, ...changes,
  };
}

const draftOf = (stream, utterance, second, text) => ({ stream, utterance, captured_at: at(second), text });

function snapshotOf(changes = {}) {
  return {
    cursor: "e-10", day: DAY, days: [DAY], devices: [], topics: [], drafts: [], ledger: [],
    server: { engine: "cascade", shedding: "" }, ...changes,
  };
}

// A small correct server: every act changes its own books and emits the events that docs/api.md promises.
class Server {
  constructor(seed) {
    this.random = random(seed);
    this.second = 0;
    this.number = 0;
    this.events = [];
    this.devices = new Map();
    this.topics = new Map();
    this.lines = new Map(); // id -> { topic, line }
    this.drafts = new Map();
    this.ledgers = new Map();
    this.shedding = "";
    this.utterance = 0;
  }

  emit(type, data) {
    this.number += 1;
    this.events.push({ type, id: `e-${this.number}`, data: structuredClone(data) });
  }

  snapshot() {
    const topics = [...this.topics.values()].map((topic) => ({
      ...topic,
      lines: [...this.lines.values()].filter((entry) => entry.topic === topic.id).map((entry) => entry.line),
    }));
    return structuredClone(snapshotOf({
      cursor: `e-${this.number}`, devices: [...this.devices.values()], topics: topics.filter((topic) => topic.lines.length),
      drafts: [...this.drafts.values()], ledger: [...this.ledgers.values()], server: { engine: "cascade", shedding: this.shedding },
    }));
  }

  act() {
    this.second += this.random.below(4);
    const acts = ["speak", "speak", "speak", "grow", "grow", "finish", "finish", "silence", "see", "late", "correct", "forget", "retitle", "device", "ledger", "load"];
    this[this.random.pick(acts)]();
  }

  speak() {
    this.utterance += 1;
    const draft = draftOf(this.random.pick(STREAMS), this.utterance, this.second, "and");
    this.drafts.set(this.utterance, draft);
    this.emit("draft", draft);
  }

  grow() {
    const draft = this.random.pick([...this.drafts.values()]);
    if (!draft) return;
    draft.text += " then";
    this.emit("draft", draft);
  }

  put(topic, line) {
    this.topics.set(topic.id, topic);
    this.lines.set(line.id, { topic: topic.id, line });
    this.emit("line", { topic, line });
  }

  topicFor(stream) {
    const own = [...this.topics.values()].filter((topic) => topic.stream === stream);
    if (own.length && this.random.below(5)) return own.at(-1);
    return topicOf(`t${this.topics.size}`, stream, this.second, "");
  }

  finish() {
    const draft = this.random.pick([...this.drafts.values()]);
    if (!draft) return;
    this.drafts.delete(draft.utterance);
    this.put(this.topicFor(draft.stream), { ...lineOf(draft.stream, draft.utterance, 0), captured_at: draft.captured_at });
  }

  silence() {
    const draft = this.random.pick([...this.drafts.values()]);
    if (!draft) return;
    this.drafts.delete(draft.utterance);
    this.emit("ended", { stream: draft.stream, utterance: draft.utterance, outcome: "silence" });
  }

  see() {
    const stream = this.random.pick(STREAMS);
    const id = `seen-${this.number}`;
    this.put(this.topicFor(stream), { ...lineOf(stream, null, this.second), id, kind: "seen", heard: "" });
  }

  late() {
    this.utterance += 1;
    const stream = this.random.pick(STREAMS);
    this.put(this.topicFor(stream), lineOf(stream, this.utterance, this.random.below(this.second + 1)));
  }

  correct() {
    const entry = this.random.pick([...this.lines.values()]);
    if (!entry) return;
    entry.line = { ...entry.line, text: `Corrected ${this.number}.` };
    this.emit("line", { topic: this.topics.get(entry.topic), line: entry.line });
  }

  forget() {
    const entry = this.random.pick([...this.lines.values()]);
    if (!entry) return;
    this.lines.delete(entry.line.id);
    this.emit("removed", { id: entry.line.id });
  }

  retitle() {
    const used = [...this.lines.values()].map((entry) => entry.topic);
    if (used.length === 0) return;
    const topic = this.topics.get(this.random.pick(used));
    topic.title = `Title ${this.number}`;
    this.emit("topic", topic);
  }

  device() {
    const stream = this.random.pick(STREAMS);
    const state = this.random.pick(["recording", "paused", "offline"]);
    this.devices.set(stream, { stream, device: stream[0], state, since: at(this.second), backlog: this.random.below(9), level: 0 });
    this.emit("device", this.devices.get(stream));
  }

  ledger() {
    const stream = this.random.pick(STREAMS);
    this.ledgers.set(stream, { stream, device: stream[0], day: DAY, noted_s: this.second, silence_s: 0, gap_s: 0, pending_s: 0, total_s: this.second, spans: [] });
    this.emit("ledger", this.ledgers.get(stream));
  }

  load() {
    this.shedding = this.random.pick(["", "summaries", "frames"]);
    this.emit("load", { shedding: this.shedding });
  }
}

const play = (server, acts) => {
  for (let i = 0; i < acts; i++) server.act();
};

for (let seed = 1; seed <= 60; seed++) {
  test(`a snapshot and the events after it show what a later snapshot shows (seed ${seed})`, () => {
    const server = new Server(seed);
    play(server, 5 + (seed % 40));
    const early = server.snapshot();
    const from = server.events.length;
    play(server, 150);
    const state = server.events.slice(from).reduce(reduce, fromSnapshot(early));
    assert.deepEqual(view(state), view(fromSnapshot(server.snapshot())));
    assert.equal(state.cursor, server.snapshot().cursor);
  });

  test(`events that come again change nothing (seed ${seed})`, () => {
    const server = new Server(seed);
    const { random: dice } = server;
    play(server, 20);
    let state = fromSnapshot(server.snapshot());
    const from = server.events.length;
    play(server, 100);
    for (let i = from; i < server.events.length; i++) {
      state = reduce(state, server.events[i]);
      const again = server.events[dice.below(i + 1)];
      assert.deepEqual(reduce(state, again), state, `event ${again.id} repeated after ${server.events[i].id}`);
    }
    assert.deepEqual(view(state), view(fromSnapshot(server.snapshot())));
  });
}

test("a line ends the draft of its utterance, and a repeated draft does not bring it back", () => {
  let state = fromSnapshot(snapshotOf());
  const topic = topicOf("t", STREAMS[0], 0);
  state = reduce(state, { type: "draft", data: draftOf(STREAMS[0], 1, 5, "we move") });
  state = reduce(state, { type: "draft", data: draftOf(STREAMS[0], 1, 5, "we move the launch") });
  assert.deepEqual(state.drafts.map((draft) => draft.text), ["we move the launch"]);
  state = reduce(state, { type: "line", data: { topic, line: lineOf(STREAMS[0], 1, 5) } });
  state = reduce(state, { type: "draft", data: draftOf(STREAMS[0], 1, 5, "we") });
  assert.deepEqual(state.drafts, []);
  assert.equal(state.lines.length, 1);
});

test("an utterance that became no line leaves no draft", () => {
  let state = fromSnapshot(snapshotOf({ drafts: [draftOf(STREAMS[0], 1, 5, "hm"), draftOf(STREAMS[1], 1, 6, "yes")] }));
  state = reduce(state, { type: "ended", data: { stream: STREAMS[0], utterance: 1, outcome: "unintelligible" } });
  assert.deepEqual(state.drafts.map((draft) => draft.text), ["yes"]);
});

test("what was seen while someone speaks leaves the draft alone", () => {
  let state = fromSnapshot(snapshotOf({ drafts: [draftOf(STREAMS[0], 4, 5, "look")] }));
  const seen = lineOf(STREAMS[0], 4, 5, { id: "seen-4", kind: "seen" });
  state = reduce(state, { type: "line", data: { topic: topicOf("t", STREAMS[0], 0), line: seen } });
  assert.equal(state.drafts.length, 1);
});

test("a late line takes its place by capture time", () => {
  const topic = topicOf("t", STREAMS[0], 0);
  const lines = [lineOf(STREAMS[0], 1, 10), lineOf(STREAMS[0], 3, 30)];
  let state = fromSnapshot(snapshotOf({ topics: [{ ...topic, lines }] }));
  state = reduce(state, { type: "line", data: { topic, line: lineOf(STREAMS[0], 2, 20) } });
  assert.deepEqual(state.lines.map((line) => line.utterance), [1, 2, 3]);
});

test("a forgotten line takes the answers that rest on it with it", () => {
  const topic = topicOf("t", STREAMS[0], 0);
  let state = fromSnapshot(snapshotOf({ topics: [{ ...topic, lines: [lineOf(STREAMS[0], 1, 10)] }] }));
  const answer = { id: "q", stream: STREAMS[0], utterance: 2, captured_at: at(11), question: "When?", text: "In June.", evidence: [{ id: "a-1" }], done: true, answered: true };
  state = reduce(state, { type: "answer", data: answer });
  assert.equal(state.answers.length, 1);
  state = reduce(state, { type: "removed", data: { id: "a-1" } });
  assert.deepEqual([state.lines, state.answers, state.topics], [[], [], {}]);
});

test("a reset asks for a snapshot and keeps what is shown", () => {
  const topic = topicOf("t", STREAMS[0], 0);
  const before = fromSnapshot(snapshotOf({ topics: [{ ...topic, lines: [lineOf(STREAMS[0], 1, 10)] }] }));
  const after = reduce(before, { type: "reset", id: "f-1", data: {} });
  assert.equal(after.stale, true);
  assert.deepEqual(view(after), view(before));
});

test("after a restart the server counts anew, and its events still count", () => {
  const state = fromSnapshot(snapshotOf({ cursor: "e-500" }));
  const next = reduce(state, { type: "load", id: "f-1", data: { shedding: "frames" } });
  assert.equal(next.server.shedding, "frames");
  assert.equal(next.cursor, "f-1");
});

test("a line of a later day is announced, not shown, on the page of one day", () => {
  const line = { ...lineOf(STREAMS[0], 1, 0), captured_at: at(0, "2026-11-21") };
  const state = reduce(fromSnapshot(snapshotOf()), { type: "line", data: { topic: topicOf("t", STREAMS[0], 0), line } });
  assert.deepEqual([state.lines.length, state.newerDay, state.days], [0, "2026-11-21", [DAY, "2026-11-21"]]);
});

test("drafts and ledgers of another day stay off the page of an earlier one", () => {
  let state = fromSnapshot(snapshotOf({ day: "2026-11-19", days: ["2026-11-19", DAY] }));
  state = reduce(state, { type: "draft", data: draftOf(STREAMS[0], 1, 5, "now") });
  state = reduce(state, { type: "ledger", data: { stream: STREAMS[0], day: DAY, spans: [] } });
  assert.deepEqual([state.drafts, state.ledgers], [[], []]);
});

test("a wall keeps a bounded number of lines and walks over midnight", () => {
  let state = fromSnapshot(snapshotOf(), { limit: 10, rolling: true });
  for (let i = 0; i < 500; i++) {
    const line = { ...lineOf(STREAMS[0], i, 0), captured_at: at(i, i < 250 ? DAY : "2026-11-21") };
    state = reduce(state, { type: "line", data: { topic: topicOf(`t${i}`, STREAMS[0], i), line } });
  }
  assert.equal(state.lines.length, 10);
  assert.equal(Object.keys(state.topics).length, 10);
  assert.equal(state.day, "2026-11-21");
  assert.ok(state.ended.length <= 200);
});

test("an unknown event is passed over and its place remembered", () => {
  const state = reduce(fromSnapshot(snapshotOf()), { type: "later-invention", id: "e-11", data: {} });
  assert.equal(state.cursor, "e-11");
});

test("reducing never changes the state it was given", () => {
  const server = new Server(3);
  play(server, 40);
  const state = fromSnapshot(server.snapshot());
  const copy = structuredClone(state);
  const from = server.events.length;
  play(server, 100);
  for (const event of server.events.slice(from)) reduce(state, event);
  assert.deepEqual(state, copy);
});
