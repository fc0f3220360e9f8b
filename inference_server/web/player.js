// Plays one clip at a time. Others watch it; it knows lines only by their id and their clip.

export function createPlayer() {
  const audio = new Audio();
  audio.preload = "none";
  const watchers = new Set();
  let id = "";
  let failure = "";

  const tell = () => watchers.forEach((watcher) => watcher());
  for (const type of ["play", "playing", "pause", "ended", "timeupdate", "durationchange", "seeked"]) audio.addEventListener(type, tell);
  audio.addEventListener("error", () => {
    if (!id) return;
    failure = "The clip cannot be played: it is not on the server any more, or the connection is cut. The note stands.";
    tell();
  });

  function play(line) {
    if (!line.audio) return;
    if (id !== line.id || failure) {
      id = line.id;
      failure = "";
      audio.src = line.audio;
    }
    // A refusal to start by itself is not a failure: the button is still there. Load errors arrive as events.
    audio.play().catch(() => tell());
    tell();
  }

  function stop() {
    if (!id) return;
    id = "";
    audio.pause();
    audio.removeAttribute("src");
    tell();
  }

  return {
    play,
    stop,
    toggle(line) {
      if (id === line.id && !audio.paused) audio.pause();
      else play(line);
    },
    seek(seconds) {
      audio.currentTime = seconds;
    },
    at(lineId) {
      if (lineId !== id) return { playing: false, position: 0, length: 0, failure: "" };
      const length = Number.isFinite(audio.duration) ? audio.duration : 0;
      return { playing: !failure && !audio.paused && !audio.ended, position: audio.currentTime, length, failure };
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}
