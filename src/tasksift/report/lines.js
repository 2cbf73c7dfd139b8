// Lines over a common axis, in the colours of their series.

const HUES = 8;
const LABELS_FROM = 560;
const sideText = (better) => better + " is better " + (better === "lower" ? "\u2193" : "\u2191");
const hueOf = (i) => (i < HUES ? "hue" + i : "hue-rest");

// Lines over a logarithmic axis. Each line: name, kind, points of x, y, low, high; levels: y and name, drawn across.
function lineChart(parent, { label, lines, levels, formatX, formatY, tickY, nameX, better }) {
  const state = { only: null };
  const keys = lines.map((each, i) => el("button", { type: "button", class: "key-line " + each.kind, "aria-pressed": "false", on: { click: () => {
    state.only = state.only === i ? null : i;
    keys.forEach((key, j) => key.setAttribute("aria-pressed", String(state.only === j)));
    redraw();
  } } }, el("i", { class: "swatch-line", "aria-hidden": true }), said(each.name)));
  if (lines.length > 1) parent.append(el("div", { class: "keys", role: "group", "aria-label": "Bring one line to the front" }, keys));
  const drawable = lines.map((each) => ({ ...each, points: each.points.filter((p) => known(p.y) && p.x > 0) }));
  const xs = drawable.flatMap((each) => each.points.map((p) => p.x));
  // The ranges of many lines at once hide the lines, so each shows its own when it is brought to the front.
  const ranged = (i) => lines.length <= 4 || state.only === i;

  const draw = (width) => {
    const labelled = width > LABELS_FROM;
    const shown = (each) => cut(each.name, 26);
    const room = labelled ? Math.max(0, ...drawable.map((each) => textWidth(shown(each), 560))) + 34 : 16;
    const height = Math.round(Math.min(470, Math.max(280, width * 0.5)));
    const values = drawable.flatMap((each, i) => each.points.flatMap((p) => (ranged(i) ? [p.y, p.low, p.high] : [p.y])));
    const range = rangeOf(values, levels.map((level) => level.y), 0.06);
    const off = levels.filter((level) => beyond(level.y, range));
    const rows = (side) => off.filter((level) => beyond(level.y, range) === side).length * 20;
    const box = { left: 52, right: width - room, top: 30, bottom: height - 44 };
    const y = linear(range, [box.bottom - rows(-1), box.top + rows(1)]);
    const span = xs.length ? extent(xs) : [0.01, 1];
    const wide = span[0] === span[1] ? 2 : 1.05;
    const x = logarithmic([span[0] / wide, span[1] * wide], [box.left + 8, box.right - 8]);
    const marks = unique(xs).sort((a, b) => a - b);
    if (marks.length <= 8) x.ticks = () => marks;
    const plot = canvas(width, height);
    rulesY(plot, y, box, tickY || formatY);
    plot.append(word(box.right, 4, sideText(better), "axis-name", "end"));
    ticksX(plot, x, box, formatX);
    plot.append(line(box.left, box.bottom, box.right, box.bottom, "base"), word((box.left + box.right) / 2, height - 6, nameX, "axis-name", "middle"));
    drawLevels(plot, box, y, levels, range, formatY);
    const spots = [];
    const ends = [];
    const order = drawable.map((_, i) => i).sort((a, b) => (a === state.only) - (b === state.only) || (b >= HUES) - (a >= HUES));
    for (const i of order) {
      const each = drawable[i];
      const faint = state.only !== null && state.only !== i;
      const group = svg("g", { class: "series " + each.kind + (faint ? " faint" : state.only === i ? " picked" : "") });
      const place = (p) => [x(p.x), y(p.y)];
      if (ranged(i)) {
        for (const p of each.points) {
          if (known(p.low) && known(p.high)) group.append(line(x(p.x), y(p.low), x(p.x), y(p.high), "whisker"));
        }
      }
      group.append(svg("path", { class: "stroke", d: each.points.map((p, j) => (j ? "L" : "M") + place(p).map((at) => at.toFixed(1)).join(" ")).join("") }));
      for (const p of each.points) {
        group.append(dot(...place(p), 4, "point"));
        if (!faint) {
          spots.push({ x: x(p.x), y: y(p.y), lines: () => [el("strong", {}, said(each.name)), formatX(p.x) + ": " + formatY(p.y),
            ...(known(p.low) && known(p.high) ? [formatY(p.low) + " to " + formatY(p.high)] : [])] });
        }
      }
      plot.append(group);
      const last = each.points[each.points.length - 1];
      if (last) ends.push({ from: place(last), y: y(last.y), each, faint });
    }
    if (labelled) {
      for (const { from, y: at, each, faint } of spreadOut(ends, 16, box.top, box.bottom)) {
        plot.append(svg("g", { class: "series ending " + each.kind + (faint ? " faint" : "") },
          svg("path", { class: "leader", d: "M" + (from[0] + 7) + " " + from[1].toFixed(1) + "L" + (box.right + 14) + " " + at.toFixed(1) + "h8" }),
          word(box.right + 28, at + 4.5, shown(each), "direct " + each.kind, "start")));
      }
    }
    tellsNearest(plot, width, spots);
    return plot;
  };
  const redraw = figure(parent, label, draw, () => table(label, ["Method", nameX, "Score", "Low", "High"],
    lines.flatMap((each) => each.points.map((p) => [said(each.name), formatX(p.x), formatY(p.y), formatY(p.low), formatY(p.high)]))
      .concat(levels.map((level) => [level.name, "", formatY(level.y), "", ""])), "data"));
}

// Levels across the chart; those out of its range are named at the edge, with an arrow and their value.
function drawLevels(plot, box, y, levels, range, format) {
  const used = { "-1": 0, 1: 0 };
  for (const level of levels) {
    const side = beyond(level.y, range);
    if (side) {
      const at = side > 0 ? box.top + 4 + 20 * used[side] : box.bottom - 9 - 20 * used[side];
      used[side] += 1;
      plot.append(word(box.left + 8, at, (side > 0 ? "\u2191 " : "\u2193 ") + level.name + ", " + format(level.y), "edge-name", "start"));
    } else {
      plot.append(line(box.left, y(level.y), box.right, y(level.y), "level"), word(box.left + 8, y(level.y) - 5, level.name, "direct level-name", "start"));
    }
  }
}
