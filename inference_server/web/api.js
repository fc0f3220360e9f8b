// The server's HTTP interface (docs/api.md) as functions. Every failure is an ApiError whose message says what to do.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: the server was not reached
  }
}

const UNREACHABLE = "The server cannot be reached. Nothing was changed. Try again when the connection is back.";
const NO_TOKEN = "This page needs the server's token. Open the link the server printed when it started (it ends in ?token=…).";

async function request(method, path, { body, signal } = {}) {
  const options = { method, signal, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  if (response.ok) return response;
  throw new ApiError(response.status, response.status === 401 ? NO_TOKEN : await refusal(response));
}

async function refusal(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server refused (status ${response.status}). Nothing was changed. Try again in a moment.`;
  }
}

const linePath = (line) => `/api/lines/${line.id.split("/").map(encodeURIComponent).join("/")}`;

export async function takeSnapshot(day) {
  const response = await request("GET", day ? `/api/snapshot?day=${day}` : "/api/snapshot");
  const served = Date.parse(response.headers.get("Date"));
  return { snapshot: await response.json(), servedAt: Number.isNaN(served) ? Date.now() : served };
}

export const pairing = async () => (await request("GET", "/api/pairing")).json();
export const pause = (stream) => request("POST", `/api/streams/${stream}/pause`);
export const resume = (stream) => request("POST", `/api/streams/${stream}/resume`);
export const correct = (line, text) => request("PATCH", linePath(line), { body: { text } });
export const forget = (line) => request("DELETE", linePath(line));

export async function search(words, signal) {
  const response = await request("GET", `/api/search?q=${encodeURIComponent(words)}&limit=50`, { signal });
  return (await response.json()).hits;
}

// Yields the parts of an answer as they are written. Ends without a "done" part if the connection broke.
export async function* ask(question, signal) {
  const response = await request("POST", "/api/ask", { body: { question }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) break;
    const pieces = (rest + value).split("\n");
    rest = pieces.pop();
    for (const piece of pieces) if (piece.trim()) yield JSON.parse(piece);
  }
  if (rest.trim()) yield JSON.parse(rest);
}
