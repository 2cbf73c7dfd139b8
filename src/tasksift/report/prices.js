// Scores over what they cost.

// Dots over a logarithmic axis of cost; those on the front are joined and named.
function costChart(parent, { label, points, formatY, tickY, better }) {
  const title = (each) => cut(each.arm, 20) + (each.budget == null ? "" : ", " + visible(each.budget));
  const draw = (width) => {
    const height = Math.round(Math.min(470, Math.max(290, width * 0.52)));
    const plot = canvas(width, height);
    const box = { left: 52, right: width - 8, top: 26, bottom: height - 44 };
    const priced = points.filter((each) => each.flops > 0);
    const [low, high] = priced.length ? extent(priced.map((each) => each.flops)) : [1, 10];
    const some = points.length > priced.length;
    const x = logarithmic([low / 1.3, high * 1.3], [box.left + (some ? 52 : 10), box.right]);
    const compared = points.filter((each) => !REFERENCES.includes(each.arm));
    const range = rangeOf(compared.map((each) => each.score), points.map((each) => each.score), 0.06);
    const side = (each) => beyond(each.score, range);
    const y = linear(range, [box.bottom - (points.some((each) => side(each) < 0) ? 24 : 6), box.top + (points.some((each) => side(each) > 0) ? 24 : 0)]);
    const across = (each) => (each.flops > 0 ? x(each.flops) : box.left + 20);
    const up = (each) => ({ "-1": box.bottom - 8, 0: y(each.score), 1: box.top + 4 })[side(each)];
    rulesY(plot, y, box, tickY || formatY);
    plot.append(word(width, 4, sideText(better), "axis-name", "end"));
    ticksX(plot, x, box, powers, Math.max(2, Math.floor(width / 110)), some ? box.left + 46 : undefined);
    if (some) plot.append(word(box.left + 20, box.bottom + 19, "none", "tick", "middle"));
    plot.append(line(box.left, box.bottom, box.right, box.bottom, "base"),
      word((box.left + box.right) / 2, height - 6, width > LABELS_FROM ? "operations of features, selection and training (equal steps multiply)" : "operations in all", "axis-name", "middle"));
    const front = points.filter((each) => each.front).sort((a, b) => across(a) - across(b) || (better === "higher" ? 1 : -1) * (a.score - b.score));
    const taken = [];
    let path = "";
    front.forEach((each, i) => {
      path += i ? "H" + across(each).toFixed(1) + "V" + up(each).toFixed(1) : "M" + across(each).toFixed(1) + " " + up(each).toFixed(1);
      const next = i + 1 < front.length ? across(front[i + 1]) : box.right;
      taken.push([across(each), up(each) - 2, next, up(each) + 2]);
      if (i) taken.push([across(each) - 2, Math.min(up(each), up(front[i - 1])), across(each) + 2, Math.max(up(each), up(front[i - 1]))]);
    });
    if (front.length) plot.append(svg("path", { d: path + "H" + box.right, class: "front-line" }));
    const spots = [...points].sort((a, b) => Boolean(a.front) - Boolean(b.front));
    for (const each of spots) {
      const [cx, cy, pointing] = [across(each), up(each), side(each)];
      const kind = each.front ? "full" : "plain-dot";
      plot.append(pointing ? svg("path", { class: kind, d: "M" + (cx - 6) + " " + cy + "h12l-6 " + (-9 * pointing) + "Z" }) : dot(cx, cy, each.front ? 5 : 4, kind));
      taken.push([cx - 6, cy - 6, cx + 6, cy + 6]);
    }
    // What stands at the edge is told with its value, and first, for nothing else says where it is.
    const order = [...spots.filter(side), ...front.filter((each) => !side(each)), ...spots.filter((each) => !each.front && !side(each)).reverse()];
    for (const each of order) {
      const text = side(each) ? title(each) + ", " + formatY(each.score) : title(each);
      const size = textWidth(text, 560);
      // Below a front that climbs, or above one that falls, there is room to the right.
      const free = better === "higher" ? 17 : -9;
      const beside = [[10, 4, "start"], [-10, 4, "end"]];
      const around = side(each) ? [[9, -7, "start"], [-9, -7, "end"]] : each.front ? [[7, free, "start"], [-9, -free, "end"], [7, -free, "start"]] : [...beside, [0, -11, "middle"], [0, 20, "middle"]];
      for (const [dx, dy, anchor] of around) {
        const left = across(each) + dx - (anchor === "end" ? size : anchor === "middle" ? size / 2 : 0);
        const spot = [left, up(each) + dy - 11, left + size, up(each) + dy + 3];
        const clear = spot[0] > box.left && spot[2] < width && taken.every((o) => spot[2] < o[0] || spot[0] > o[2] || spot[3] < o[1] || spot[1] > o[3]);
        if (clear) {
          taken.push(spot);
          plot.append(word(across(each) + dx, up(each) + dy, text, "direct " + (each.front ? "chosen" : "level-name"), anchor));
          break;
        }
      }
    }
    tellsNearest(plot, width, points.map((each) => ({ x: across(each), y: up(each), lines: () => [
      el("strong", {}, said(each.arm)), ...(each.budget == null ? [] : [visible(each.budget)]), formatY(each.score), scientific(each.flops) + " operations"] })));
    return plot;
  };
  parent.append(legend(["round chosen", "nothing cheaper is better"], ["round pool", "something cheaper is as good or better"]));
  figure(parent, label, draw, () => table(label, ["Method", "Budget", "Operations", "Score", "On the front"],
    points.map((each) => [said(each.arm), each.budget == null ? NONE : said(each.budget), scientific(each.flops), formatY(each.score), each.front ? "yes" : "no"]), "data"));
}
