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
