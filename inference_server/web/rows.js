// From the state to the rows of the notes column. Pure.
//
// Rows are in capture-time order over all devices, so that what is new is always at the end. A topic opens with a
// heading; when two devices take turns, a small heading says whose topic the next lines belong to.

export function lineRows(state, collapsed) {
  const rows = [];
  const counts = new Map();
  for (const line of state.lines) counts.set(line.topic, (counts.get(line.topic) ?? 0) + 1);
  const severalDevices = new Set(Object.values(state.topics).map((topic) => topic.stream)).size > 1;
  const opened = new Set();
  let previous = "";
  state.lines.forEach((line, position) => {
    const topic = state.topics[line.topic];
    const hidden = collapsed.has(topic.id);
    if (!opened.has(topic.id)) {
      opened.add(topic.id);
      const count = counts.get(topic.id);
      rows.push({ key: `topic ${topic.id}`, kind: "topic", topic, count, collapsed: hidden, severalDevices });
      previous = topic.id;
    }
    if (hidden) return;
    if (topic.id !== previous) rows.push({ key: `again ${line.id}`, kind: "again", topic });
    previous = topic.id;
    rows.push({ key: `line ${line.id}`, kind: "line", line, position, total: state.lines.length });
  });
  return rows;
}

export function draftRows(state) {
  return state.drafts.map((draft) => {
    const device = state.devices.find((other) => other.stream === draft.stream);
    return { key: `draft ${draft.stream}/${draft.utterance}`, kind: "draft", draft, held: device?.state === "offline" };
  });
}

const wordSegmenter = "Segmenter" in Intl ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;

// The pieces in which a draft appears: words with the punctuation and space after them. Japanese has no spaces, so
// the browser's word segmenter decides.
export function words(text) {
  if (!wordSegmenter) return text.match(/\s*\S+\s*/g) ?? [];
  const pieces = [];
  for (const { segment, isWordLike } of wordSegmenter.segment(text)) {
    if (isWordLike || pieces.length === 0) pieces.push(segment);
    else pieces[pieces.length - 1] += segment;
  }
  return pieces;
}

// How tall a row will be, before it has ever been drawn. Only the scrollbar depends on it being close.
export function estimateHeight(row, { columnPx, lineHeightPx }) {
  if (row.kind === "topic") return 84;
  if (row.kind === "again") return 40;
  const text = row.kind === "line" ? row.line.text : row.draft.text;
  const nameHeight = row.line?.speaker.length > 5 ? lineHeightPx : 0;
  const perLine = Math.max(20, (columnPx - 230) / (lineHeightPx * 0.31));
  return Math.max(row.line?.frame ? 56 : 0, Math.ceil(text.length / perLine) * lineHeightPx + nameHeight + 14);
}
