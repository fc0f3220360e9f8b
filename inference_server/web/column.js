// A scrolling column that draws only the rows in and near the view, however many there are.
//
// It holds two promises: nothing a reader looks at moves (the row at the top of the view stays where it is when rows
// above change), and a reader at the end stays at the end. It knows nothing about notes.

import { el, reducedMotion } from "./dom.js";

const OVERSCAN_PX = 700;
const END_SLACK_PX = 28; // this close to the end counts as at the end
const END_MARGIN_PX = 36; // room left under the last row when following

export function createColumn(scroller, { create, update, estimate, onMove }) {
  const above = el("div", { class: "column-space", "aria-hidden": "true" });
  const list = el("div", { class: "column-rows", role: "feed", "aria-label": "Notes" });
  const below = el("div", { class: "column-space", "aria-hidden": "true" });
  scroller.append(above, list, below);

  let rows = [];
  let positions = new Map(); // key -> index
  let tops = new Float64Array(1); // tops[i]: where row i starts; the last entry is the total height
  const heights = new Map(); // key -> measured height; kept for rows that have left the view
  const live = new Map(); // key -> { element, row }
  let base = 0; // height of what stands above the rows in the same scroller
  let viewHeight = 0;
  let width = 0;
  let lastSet = 0; // scrollTop as we last left it: any other value means a person scrolled
  let following = true;
  let easing = 0;
  let anchor = null; // { key, delta }: the row at the top of the view

  const heightOf = (row) => heights.get(row.key) ?? estimate(row, width);
  const total = () => tops[rows.length];
  const contentEnd = () => base + total();
  const endTarget = () => Math.max(0, contentEnd() + END_MARGIN_PX - viewHeight);

  function layout() {
    if (tops.length !== rows.length + 1) tops = new Float64Array(rows.length + 1);
    for (let i = 0; i < rows.length; i++) tops[i + 1] = tops[i] + heightOf(rows[i]);
  }

  function indexAt(y) {
    let low = 0;
    let high = rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function range() {
    if (rows.length === 0) return [0, 0];
    const top = scroller.scrollTop - base;
    return [indexAt(top - OVERSCAN_PX), indexAt(top + viewHeight + OVERSCAN_PX) + 1];
  }

  function place(from, to) {
    const wanted = rows.slice(from, to);
    const keep = new Set(wanted.map((row) => row.key));
    for (const [key, item] of live) {
      if (keep.has(key)) continue;
      observer.unobserve(item.element);
      item.element.remove();
      live.delete(key);
    }
    let next = list.firstChild;
    for (const row of wanted) {
      let item = live.get(row.key);
      if (!item) {
        item = { element: create(row), row };
        live.set(row.key, item);
        observer.observe(item.element);
      } else if (item.row !== row) {
        update(item.element, row, item.row);
        item.row = row;
      }
      if (item.element === next) next = next.nextSibling;
      else list.insertBefore(item.element, next);
    }
    space(from, to);
  }

  function space(from, to) {
    above.style.height = `${tops[from]}px`;
    below.style.height = `${total() - tops[to]}px`;
  }

  function measure() {
    let changed = false;
    base = above.offsetTop;
    for (const [key, { element }] of live) {
      const height = element.getBoundingClientRect().height;
      if (Math.abs((heights.get(key) ?? -1) - height) < 0.5) continue;
      heights.set(key, height);
      changed = true;
    }
    return changed;
  }

  function setScroll(top) {
    if (Math.abs(scroller.scrollTop - top) >= 0.5) scroller.scrollTop = top;
    lastSet = scroller.scrollTop;
  }

  function remember() {
    if (rows.length === 0) return (anchor = null);
    const y = scroller.scrollTop - base;
    const index = indexAt(Math.max(0, y));
    anchor = { key: rows[index].key, delta: y - tops[index] };
  }

  function hold() {
    const index = anchor && positions.get(anchor.key);
    // Above the first row there is only the masthead, which does not move.
    if (index !== undefined && index !== null && scroller.scrollTop > base) setScroll(base + tops[index] + anchor.delta);
  }

  function draw() {
    for (let pass = 0; pass < 5; pass++) {
      const [from, to] = range();
      place(from, to);
      if (!measure()) break;
      layout();
      space(from, to);
      hold();
    }
    remember();
    if (following) ease();
    onMove();
  }

  // Moves to the end in a few frames, and only ever downwards: when a draft becomes a shorter line, the text above
  // stays where it is and the free room below takes up the difference.
  function ease() {
    if (easing || scroller.scrollTop >= endTarget() - 0.5) return;
    if (reducedMotion() || document.hidden || endTarget() - scroller.scrollTop > viewHeight) return jump();
    const step = () => {
      easing = 0;
      const left = endTarget() - scroller.scrollTop;
      if (!following || left < 0.5) return;
      setScroll(scroller.scrollTop + Math.max(1, left * 0.22));
      draw();
    };
    easing = requestAnimationFrame(step);
  }

  function jump() {
    setScroll(endTarget());
    for (let pass = 0; pass < 3; pass++) {
      const [from, to] = range();
      place(from, to);
      if (measure()) layout();
      space(...range());
      setScroll(endTarget());
    }
    remember();
  }

  // The anchor may be gone from the new rows (forgotten, folded): the next row that survives takes its place.
  function survivingAnchor(newPositions) {
    if (!anchor) return;
    const start = positions.get(anchor.key) ?? 0;
    const y = scroller.scrollTop - base;
    for (let i = start; i < rows.length; i++) {
      if (!newPositions.has(rows[i].key)) continue;
      anchor = { key: rows[i].key, delta: y - tops[i] };
      return;
    }
    anchor = null;
  }

  const observer = new ResizeObserver(() => {
    if (!measure()) return;
    layout();
    space(...range());
    hold();
    draw();
  });

  new ResizeObserver(() => {
    viewHeight = scroller.clientHeight;
    if (width !== list.clientWidth) {
      width = list.clientWidth;
      heights.clear();
      measure();
      layout();
    }
    hold();
    if (following) jump();
    draw();
  }).observe(scroller);

  scroller.addEventListener("scroll", () => {
    if (Math.abs(scroller.scrollTop - lastSet) >= 1.5) {
      lastSet = scroller.scrollTop;
      following = atEnd();
      remember(); // before drawing: rows measured for the first time must settle around the new place, not the old
    }
    draw();
  }, { passive: true });

  function atEnd() {
    return contentEnd() <= scroller.scrollTop + viewHeight + END_SLACK_PX;
  }

  function show(key, where) {
    const index = positions.get(key);
    if (index === undefined) return false;
    following = false;
    for (let pass = 0; pass < 4; pass++) {
      const top = base + tops[index];
      const bottom = base + tops[index + 1];
      let target = scroller.scrollTop;
      if (where === "middle") target = top - Math.max(24, (viewHeight - (bottom - top)) / 2.6);
      else if (top < target + 24) target = top - 24;
      else if (bottom > target + viewHeight - 24) target = Math.min(top - 24, bottom - viewHeight + 24);
      setScroll(Math.max(0, target));
      remember();
      draw();
    }
    following = atEnd();
    return true;
  }

  return {
    atEnd,
    show,
    following: () => following,
    element: (key) => live.get(key)?.element,
    elements: () => [...live.values()],
    visibleEnd: () => (rows.length ? indexAt(scroller.scrollTop + viewHeight - base - 20) : -1),
    position: (key) => positions.get(key),
    setRows(newRows) {
      const newPositions = new Map(newRows.map((row, index) => [row.key, index]));
      survivingAnchor(newPositions);
      rows = newRows;
      positions = newPositions;
      if (heights.size > 2 * rows.length + 200) for (const key of heights.keys()) if (!positions.has(key)) heights.delete(key);
      layout();
      space(...range());
      hold();
      draw();
    },
    // A row changed for a reason of the page's own (opened, selected): draw it again.
    refresh(key) {
      const item = live.get(key);
      if (item) update(item.element, item.row, item.row);
      draw();
    },
    toStart() {
      following = false;
      setScroll(0);
      draw();
    },
    toEnd() {
      following = true;
      jump();
      draw();
    },
  };
}
