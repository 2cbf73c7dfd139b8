// Lines, areas and dots over a common axis, in the colours of their series.

const HUES = 8;
const sideText = (better) => better + " is better " + (better === "lower" ? "\u2193" : "\u2191");
const hueOf = (i) => (i < HUES ? "hue" + i : "hue-rest");

// Lines over a logarithmic or linear axis. Each line: name, kind, points of x, y, low, high; levels: drawn across.
function lineChart(parent, { label, lines, levels, log, formatX, formatY, nameX, better }) {
  const state = { only: null };
  const keys = lines.map((each, i) => el("button", { type: "button", class: "key-line " + each.kind, "aria-pressed": "false", on: { click: () => {
    state.only = state.only === i ? null : i;
    keys.forEach((key, j) => key.setAttribute("aria-pressed", String(state.only === j)));
    redraw();
  } } }, el("i", { class: "swatch-line", "aria-hidden": true }), said(each.name)));
  if (lines.length > 1) parent.append(el("div", { class: "keys", role: "group", "aria-label": "Bring one line to the front" }, keys));
  const values = lines.flatMap((each) => each.points.flatMap((p) => [p.y, p.low, p.high])).concat(levels.map((each) => each.y));
  const xs = lines.flatMap((each) => each.points.map((p) => p.x)).filter((value) => known(value) && (!log || value > 0));
  const draw = (width) => {
    const height = Math.round(Math.min(440, Math.max(260, width * 0.5)));
    const box = { left: 52, right: width - (width > 560 ? 130 : 16), top: 26, bottom: height - 44 };
    const plot = canvas(width, height);
    const y = linear(extent(values, 0.06), [box.bottom, box.top]);
    const span = xs.length ? extent(xs) : [log ? 0.01 : 0, 1];
    const wider = log ? [span[0] / (span[0] === span[1] ? 2 : 1.05), span[1] * (span[0] === span[1] ? 2 : 1.05)] : span;
    const x = (log ? logarithmic : linear)(wider, [box.left + 8, box.right - 8]);
    rulesY(plot, y, box, formatY);
    plot.append(word(width, 4, sideText(better), "axis-name", "end"));
    const marks = [...new Set(xs)].sort((a, b) => a - b);
    if (marks.length <= 8) x.ticks = () => marks;
    ticksX(plot, x, box, formatX);
    plot.append(line(box.left, box.bottom, box.right, box.bottom, "base"), word((box.left + box.right) / 2, height - 6, nameX, "axis-name", "middle"));
    for (const level of levels) {
      plot.append(line(box.left, y(level.y), box.right, y(level.y), "level"), word(box.left + 4, y(level.y) - 5, level.name, "direct level-name", "start"));
    }
    const ends = [];
    const order = lines.map((_, i) => i).sort((a, b) => (a === state.only) - (b === state.only));
    for (const i of order) {
      const each = lines[i];
      const faint = state.only !== null && state.only !== i;
      const group = svg("g", { class: "series " + each.kind + (faint ? " faint" : "") });
      const points = each.points.filter((p) => known(p.y) && (!log || p.x > 0));
      // Lines that share their places along the axis stand a little apart, so that their ranges can be told.
      const shift = (i - (lines.length - 1) / 2) * Math.min(4, 26 / lines.length);
      for (const p of points) {
        if (known(p.low) && known(p.high)) group.append(line(x(p.x) + shift, y(p.low), x(p.x) + shift, y(p.high), "whisker"));
      }
      group.append(svg("path", { class: "stroke", d: points.map((p, j) => (j ? "L" : "M") + (x(p.x) + shift).toFixed(1) + " " + y(p.y).toFixed(1)).join("") }));
      for (const p of points) {
        group.append(says(dot(x(p.x) + shift, y(p.y), 4, "point"), () => [el("strong", {}, said(each.name)), formatX(p.x) + ": " + formatY(p.y) +
          (known(p.low) ? " (" + formatY(p.low) + " to " + formatY(p.high) + ")" : "")]));
      }
      plot.append(group);
      if (points.length && !faint) ends.push({ y: y(points[points.length - 1].y), each });
    }
    if (width > 560) {
      for (const end of spreadOut(ends, 15, box.top, box.bottom)) plot.append(word(box.right + 8, end.y + 4, cut(end.each.name, 18), "direct " + end.each.kind, "start"));
    }
    return plot;
  };
  const redraw = figure(parent, label, draw, () => table(label, ["", nameX, "Score", "Low", "High"],
    lines.flatMap((each) => each.points.map((p) => [said(each.name), formatX(p.x), formatY(p.y), formatY(p.low), formatY(p.high)]))
      .concat(levels.map((level) => [level.name, "", formatY(level.y), "", ""]))));
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

// Areas on top of each other that fill the whole height; `values[t][k]` are shares.
function stackedAreas(parent, { label, steps, names, kinds, values, nameX }) {
  const order = names.map((_, k) => k);
  const draw = (width) => {
    const height = Math.round(Math.min(380, Math.max(240, width * 0.45)));
    const box = { left: 44, right: width, top: 14, bottom: height - 44 };
    const plot = canvas(width, height);
    const x = linear(extent(steps), [box.left, box.right]);
    const y = linear([0, 1], [box.bottom, box.top]);
    const low = steps.map(() => 0);
    for (const k of order) {
      const high = values.map((row, t) => low[t] + (row[k] || 0));
      const upper = steps.map((step, t) => x(step).toFixed(1) + " " + y(high[t]).toFixed(1));
      const lower = steps.map((step, t) => x(step).toFixed(1) + " " + y(low[t]).toFixed(1)).reverse();
      plot.append(svg("path", { class: "area " + kinds[k], d: "M" + upper.join("L") + "L" + lower.join("L") + "Z" }));
      high.forEach((value, t) => { low[t] = value; });
    }
    for (const tick of y.ticks(4)) plot.append(word(0, y(tick) + 4, percent(tick), "tick", "start"));
    ticksX(plot, x, box, whole);
    plot.append(line(box.left, box.bottom, box.right, box.bottom, "base"), word((box.left + box.right) / 2, height - 6, nameX, "axis-name", "middle"));
    const cursor = line(0, box.top, 0, box.bottom, "cursor away");
    const over = (event) => {
      const scale = plot.getBoundingClientRect();
      const at = (event.clientX - scale.x) * (width / scale.width);
      const t = steps.reduce((best, step, i) => (Math.abs(x(step) - at) < Math.abs(x(steps[best]) - at) ? i : best), 0);
      cursor.classList.remove("away");
      cursor.setAttribute("x1", x(steps[t]));
      cursor.setAttribute("x2", x(steps[t]));
      const shown = order.filter((k) => known(values[t][k])).sort((a, b) => values[t][b] - values[t][a]).slice(0, 10);
      showNote(event.clientX, event.clientY, el("strong", { text: "step " + whole(steps[t]) }), ...shown.map((k) =>
        el("div", {}, el("i", { class: "swatch " + kinds[k] }), said(names[k]), " " + percent(values[t][k]))));
    };
    plot.append(cursor, svg("rect", { x: box.left, y: box.top, width: Math.max(0, box.right - box.left), height: box.bottom - box.top, class: "catch", on: {
      pointermove: over, pointerdown: over, pointerleave: () => { cursor.classList.add("away"); hideNote(); } } }));
    return plot;
  };
  parent.append(legend(...order.map((k) => [kinds[k], said(names[k])])));
  figure(parent, label, draw, () => {
    const stride = Math.max(1, Math.ceil(steps.length / 24));
    const rows = steps.map((_, t) => t).filter((t) => t % stride === 0 || t === steps.length - 1);
    return table(label, ["Step", ...names.map((name) => said(name))], rows.map((t) => [whole(steps[t]), ...values[t].map((value) => percent(value))]));
  });
}

// Dots over a logarithmic axis of cost; those on the front are joined and named.
function costChart(parent, { label, points, formatY, better }) {
  const draw = (width) => {
    const height = Math.round(Math.min(440, Math.max(270, width * 0.52)));
    const box = { left: 52, right: width - 16, top: 20, bottom: height - 44 };
    const plot = canvas(width, height);
    const priced = points.filter((each) => each.flops > 0);
    const [low, high] = priced.length ? extent(priced.map((each) => each.flops)) : [1, 10];
    const some = points.length > priced.length;
    const x = logarithmic([low / 1.5, high * 1.5], [box.left + (some ? 46 : 10), box.right]);
    const y = linear(extent(points.map((each) => each.score), 0.08), [box.bottom, box.top]);
    const place = (each) => (each.flops > 0 ? x(each.flops) : box.left + 18);
    rulesY(plot, y, box, formatY);
    plot.append(word(width, 4, sideText(better), "axis-name", "end"));
    ticksX(plot, x, box, scientific, Math.max(2, Math.floor(width / 120)));
    if (some) plot.append(word(box.left + 18, box.bottom + 19, "none", "tick", "middle"));
    plot.append(line(box.left, box.bottom, box.right, box.bottom, "base"), word((box.left + box.right) / 2, height - 6, "floating-point operations, all in (each mark is ten or a hundred times the last)", "axis-name wide-only", "middle"),
      word((box.left + box.right) / 2, height - 6, "floating-point operations", "axis-name phone-only", "middle"));
    const front = points.filter((each) => each.front).sort((a, b) => place(a) - place(b) || a.score - b.score);
    let path = "";
    front.forEach((each, i) => { path += i ? "H" + place(each).toFixed(1) + "V" + y(each.score).toFixed(1) : "M" + place(each).toFixed(1) + " " + y(each.score).toFixed(1); });
    if (front.length) plot.append(svg("path", { d: path + "H" + box.right, class: "front-line" }));
    const taken = [];
    const spots = [...points].sort((a, b) => Boolean(a.front) - Boolean(b.front));
    for (const each of spots) {
      plot.append(says(dot(place(each), y(each.score), each.front ? 5 : 4, each.front ? "full" : "plain-dot"), () => [
        el("strong", {}, said(each.arm)), each.budget == null ? "" : visible(each.budget), formatY(each.score), scientific(each.flops) + " operations"]));
      taken.push([place(each) - 6, y(each.score) - 6, place(each) + 6, y(each.score) + 6]);
    }
    for (const each of front.concat(spots.filter((spot) => !spot.front).reverse())) {
      const text = cut(each.arm + (each.budget == null ? "" : ", " + each.budget), 26);
      const size = text.length * 6.6;
      // Below a front that climbs, or above one that falls, there is room to the right.
      const free = better === "higher" ? 17 : -9;
      const around = each.front ? [[7, free, "start"], [-9, -free, "end"]] : [[9, 4, "start"], [-9, 4, "end"], [0, -11, "middle"], [0, 20, "middle"]];
      for (const [dx, dy, anchor] of around) {
        const left = place(each) + dx - (anchor === "end" ? size : anchor === "middle" ? size / 2 : 0);
        const spot = [left, y(each.score) + dy - 11, left + size, y(each.score) + dy + 3];
        const clear = spot[0] > box.left && spot[2] < width && taken.every((o) => spot[2] < o[0] || spot[0] > o[2] || spot[3] < o[1] || spot[1] > o[3]);
        if (clear) {
          taken.push(spot);
          plot.append(word(place(each) + dx, y(each.score) + dy, text, "direct " + (each.front ? "chosen" : "level-name"), anchor));
          break;
        }
      }
    }
    return plot;
  };
  figure(parent, label, draw, () => table(label, ["Method", "Budget", "Operations", "Score", "On the front"],
    points.map((each) => [said(each.arm), each.budget == null ? NONE : said(each.budget), scientific(each.flops), formatY(each.score), each.front ? "yes" : "no"])));
}
