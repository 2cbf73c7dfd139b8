// What charts share: a frame that redraws them at their width, scales, axes, and a note at the pointer.

// A figure: `draw(width)` returns an SVG of that width, `numbers()` the table that says the same.
function figure(parent, label, draw, numbers) {
  const holder = el("div", { class: "plot" });
  const node = el("figure", {}, holder);
  if (numbers) {
    const details = el("details", { class: "numbers", on: { toggle: () => {
      if (details.open && details.childElementCount === 1) details.append(scroller(label, numbers()));
    } } }, el("summary", { text: "The numbers" }));
    node.append(details);
  }
  parent.append(node);
  let width = 0;
  const redraw = () => {
    hideNote();
    const drawn = draw(width);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", visible(label));
    holder.replaceChildren(drawn);
  };
  // All frames learn their widths together, after one layout.
  new ResizeObserver((seen) => {
    const now = Math.floor(seen[seen.length - 1].contentRect.width);
    if (now && now !== width) {
      width = now;
      redraw();
    }
  }).observe(holder);
  return () => width && redraw();
}

function canvas(width, height) {
  return svg("svg", { viewBox: "0 0 " + width + " " + height, width, height });
}

function linear(from, to) {
  const [a, b] = from;
  const scale = (value) => to[0] + ((value - a) / (b - a || 1)) * (to[1] - to[0]);
  scale.ticks = (count) => niceTicks(a, b, count);
  return scale;
}

function logarithmic(from, to) {
  const inner = linear(from.map(Math.log10), to);
  const scale = (value) => inner(Math.log10(value));
  scale.ticks = (count) => {
    const [low, high] = from.map(Math.log10);
    const found = [];
    const steps = high - low > count ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 5];
    const stride = Math.max(1, Math.ceil((high - low) / count));
    for (let power = Math.floor(low); power <= high; power += stride) {
      for (const step of steps) {
        const tick = step * 10 ** power;
        if (tick >= from[0] * 0.999 && tick <= from[1] * 1.001) found.push(tick);
      }
    }
    return found;
  };
  return scale;
}

function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  if (!(raw > 0)) return [low];
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * [1, 2, 2.5, 5, 10].find((each) => each * size >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function extent(values, room = 0) {
  const numbers = values.filter(known);
  if (!numbers.length) return [0, 1];
  const low = numbers.reduce((a, b) => Math.min(a, b));
  const high = numbers.reduce((a, b) => Math.max(a, b));
  const pad = (high - low || Math.abs(high) || 1) * room;
  return [low - pad, high + pad];
}

// A range for what is compared. What lies further off than half its width would press it together, and stays out.
function rangeOf(values, others, room) {
  const [low, high] = extent(values);
  const reach = high > low ? (high - low) / 2 : Infinity;
  return extent(values.concat(others.filter((value) => known(value) && value >= low - reach && value <= high + reach)), room);
}

// On which side of a range a value lies: -1 below, 1 above, 0 within.
const beyond = (value, range) => (value < Math.min(...range) ? -1 : value > Math.max(...range) ? 1 : 0);

const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
const word = (x, y, text, kind, anchor) => svg("text", { x, y, class: kind, "text-anchor": anchor, text: visible(text) });
const dot = (cx, cy, r, kind) => svg("circle", { cx, cy, r, class: kind });

// Horizontal rules with their values at the left, above the rule as newspapers set them; `format` is told their step.
function rulesY(plot, scale, box, format, count = 4) {
  const ticks = scale.ticks(count);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : undefined;
  for (const tick of ticks) {
    const y = scale(tick);
    plot.append(line(0, y, box.right, y, "rule"), word(0, y - 4, format(tick, step), "tick", "start"));
  }
}

function ticksX(plot, scale, box, format, count, end = -Infinity) {
  for (const tick of scale.ticks(count || Math.max(2, Math.floor((box.right - box.left) / 68)))) {
    const x = scale(tick);
    const text = format(tick);
    const half = text.length * 3.6;
    if (x - half < end) continue;
    const anchor = x + half > box.right + 4 ? "end" : x - half < box.left - 4 ? "start" : "middle";
    plot.append(line(x, box.bottom, x, box.bottom + 5, "tickmark"), word(x, box.bottom + 19, text, "tick", anchor));
    end = x + half + 8;
  }
}

// How wide a text is in the font of the page.
const ruler = document.createElement("canvas").getContext("2d");

function textWidth(text, weight = 450) {
  ruler.font = weight + " 13px " + getComputedStyle(document.body).fontFamily;
  return ruler.measureText(text).width;
}

// Move labels apart that would lie on each other, and keep them between two heights.
function spreadOut(ends, gap, top, bottom) {
  ends.sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + gap);
  let floor = bottom;
  for (let i = ends.length - 1; i >= 0; i--) {
    ends[i].y = Math.max(top, Math.min(ends[i].y, floor));
    floor = ends[i].y - gap;
  }
  return ends;
}

// The note: one for the page, at the pointer or at a point, read out when it changes.
let note = null;

function showNote(x, y, ...lines) {
  if (!note) {
    note = el("div", { class: "note", role: "status" });
    document.body.append(note);
  }
  note.replaceChildren(...lines.map((each) => (each instanceof Node ? each : el("div", { text: each }))));
  note.hidden = false;
  const room = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(x + 14, room - note.offsetWidth - 8));
  const above = y - note.offsetHeight - 12;
  note.style.left = left + scrollX + "px";
  note.style.top = (above > 4 ? above : y + 18) + scrollY + "px";
}

function hideNote() {
  if (note) note.hidden = true;
}

// Let a chart tell of the one of its spots, {x, y, lines}, that is nearest to the pointer, with a ring around it.
function tellsNearest(plot, width, spots, near = 28) {
  const ring = svg("circle", { r: 7.5, class: "ring away" });
  const over = (event) => {
    const scale = plot.getBoundingClientRect();
    const at = [(event.clientX - scale.x) * (width / scale.width), (event.clientY - scale.y) * (width / scale.width)];
    const far = (spot) => Math.hypot(spot.x - at[0], spot.y - at[1]);
    const found = spots.length ? spots.reduce((best, spot) => (far(spot) < far(best) ? spot : best)) : null;
    const hit = found !== null && far(found) <= near;
    ring.classList.toggle("away", !hit);
    if (!hit) return hideNote();
    ring.setAttribute("cx", found.x);
    ring.setAttribute("cy", found.y);
    showNote(scale.x + found.x * (scale.width / width), scale.y + found.y * (scale.width / width), ...found.lines());
  };
  plot.append(ring);
  for (const type of ["pointermove", "pointerdown"]) plot.addEventListener(type, over);
  plot.addEventListener("pointerleave", () => { ring.classList.add("away"); hideNote(); });
}

// Let a shape say something under the pointer, at a tap and when it has the focus.
function says(node, lines) {
  const show = (event) => {
    const box = node.getBoundingClientRect();
    const at = event.clientX === undefined ? [box.x + box.width / 2, box.y] : [event.clientX, event.clientY];
    showNote(...at, ...lines());
  };
  for (const type of ["pointerenter", "pointermove", "pointerdown", "focus"]) node.addEventListener(type, show);
  for (const type of ["pointerleave", "blur"]) node.addEventListener(type, hideNote);
  return node;
}
