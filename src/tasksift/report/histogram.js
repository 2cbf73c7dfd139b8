// Histograms: the pool as grey bars, the selection as an outline over them, a line at each middle.

function histogram(parent, { label, edges, pool, selected, unit, names, format = percent }) {
  const series = [[pool, "pool", names[0]], [selected, "chosen", names[1]]].filter((each) => each[0]);
  const bins = edges.length - 1;
  // A bin that holds almost nothing at either end would only push the rest together.
  const filled = (i) => series.some((each) => each[0][i] > 0);
  let first = 0;
  let last = bins;
  while (first < last - 1 && !filled(first)) first++;
  while (last > first + 1 && !filled(last - 1)) last--;
  const widths = edges.slice(1).map((edge, i) => edge - edges[i]);
  const even = Math.max(...widths) <= Math.min(...widths) * 1.05;
  const edgeText = (value) => (Math.abs(value) >= 100 ? whole(value) : significant(value));

  const draw = (width) => {
    const height = Math.round(Math.min(280, Math.max(190, width * 0.4)));
    const box = { left: 0, right: width, top: 38, bottom: height - 26 };
    const plot = canvas(width, height);
    const most = Math.max(...series.flatMap((each) => each[0]));
    const y = linear([0, most || 1], [box.bottom, box.top + 6]);
    // Bins of many widths are drawn equally wide, for a bar says what its bin holds.
    const step = (box.right - 44) / (last - first);
    const x = (edge) => 44 + (edge - first) * step;
    rulesY(plot, y, box, format, 3);
    for (const [values, kind] of series) {
      if (kind === "chosen" && series.length > 1) {
        let path = "M" + x(first) + " " + y(0);
        for (let i = first; i < last; i++) path += "V" + y(values[i]).toFixed(1) + "H" + x(i + 1).toFixed(1);
        plot.append(svg("path", { d: path + "V" + y(0), class: "outline" }));
      } else {
        const gap = step > 6 ? 1 : 0;
        let path = "";
        for (let i = first; i < last; i++) {
          path += "M" + x(i).toFixed(1) + " " + y(0) + "V" + y(values[i]).toFixed(1) + "h" + (step - gap).toFixed(1) + "V" + y(0) + "Z";
        }
        plot.append(svg("path", { d: path, class: "fill-" + kind }));
      }
    }
    plot.append(line(0, y(0), box.right, y(0), "base"));
    axis(plot, x, box, step);
    const middles = series.map(([values, kind, name]) => [medianOf(values), kind, name]).filter((each) => each[0]);
    middles.sort((a, b) => a[0].at - b[0].at);
    let reach = -1;
    middles.forEach(([middle, kind], i) => {
      const at = x(middle.at);
      const text = "half below " + edgeText(middle.value);
      const size = text.length * 7 + 6;
      const right = (i === middles.length - 1 || at - size < 0) && at + size < width;
      const level = (right ? at : at - size) < reach ? 28 : 12;
      reach = right ? at + size : at;
      plot.append(line(at, level - 8, at, y(0), "middle " + kind),
        word(at + (right ? 6 : -6), level, text, "direct " + kind, right ? "start" : "end"));
    });
    const band = svg("rect", { x: 0, y: box.top, width: 0, height: box.bottom - box.top, class: "band" });
    plot.prepend(band);
    plot.append(svg("rect", { x: 44, y: 0, width: width - 44, height: box.bottom, class: "catch", on: {
      pointermove: (event) => over(event), pointerdown: (event) => over(event),
      pointerleave: () => { band.setAttribute("width", 0); hideNote(); },
    } }));
    const over = (event) => {
      const scale = plot.getBoundingClientRect();
      const i = Math.max(first, Math.min(last - 1, first + Math.floor(((event.clientX - scale.x) * (width / scale.width) - 44) / step)));
      band.setAttribute("x", x(i));
      band.setAttribute("width", step);
      showNote(event.clientX, event.clientY, rangeText(i), ...series.map((each) => each[2] + ": " + format(each[0][i])));
    };
    return plot;
  };

  const axis = (plot, x, box, step) => {
    const scale = (edge) => x(edge);
    if (even) {
      const value = linear([edges[first], edges[last]], [x(first), x(last)]);
      ticksX(plot, value, box, edgeText);
    } else {
      const every = Math.max(1, Math.ceil(62 / step));
      scale.ticks = () => Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((edge) => (edge - first) % every === 0);
      ticksX(plot, scale, box, (edge) => edgeText(edges[edge]));
    }
  };

  const rangeText = (i) => edgeText(edges[i]) + " to " + edgeText(edges[i + 1]) + (unit ? " " + unit : "");

  // Where half of a histogram lies below: as a place among the edges, and as a value.
  const medianOf = (values) => {
    const sum = values.reduce((a, b) => a + b, 0);
    if (!(sum > 0)) return null;
    let before = 0;
    for (let i = 0; i < bins; i++) {
      if (before + values[i] >= sum / 2) {
        const part = (sum / 2 - before) / values[i];
        return { at: i + part, value: edges[i] + part * widths[i] };
      }
      before += values[i];
    }
    return null;
  };

  const numbers = () => table(label, [unit ? "From \u2013 to, " + unit : "From \u2013 to", ...series.map((each) => each[2])],
    edges.slice(1).map((_, i) => [edgeText(edges[i]) + " \u2013 " + edgeText(edges[i + 1]), ...series.map((each) => format(each[0][i]))]));

  if (series.length > 1) parent.append(legend(...series.map((each) => [each[1], each[2]])));
  figure(parent, label, draw, numbers);
}
