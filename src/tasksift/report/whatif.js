// What another value of the method's knob would take: a slider over answers that were worked out before.

const KNOBS = {
  breadth: ["few, very close rows", "more, spread rows",
    "Breadth is the number of different rows that each of your examples leans on. A small one keeps to the rows right beside " +
    "an example. A large one reaches further, for more variety and less likeness."],
  alpha: ["more, spread rows", "few, very close rows",
    "Alpha weighs likeness against variety. At 1 only the distance to your examples counts; towards 0 the weight spreads over more rows."],
  budget: ["fewer rows", "more rows",
    "The budget is how many rows are taken. A small one keeps to the best rows; a large one reaches further from your examples."],
};

function whatIf(parent, path) {
  const last = path.values.length - 1;
  const descending = last > 0 && path.values[0] > path.values[last];
  const words = KNOBS[path.knob] || ["less", "more", "What the rest of the run stays with, at another value of this one number."];
  const ends = descending ? [words[1], words[0]] : [words[0], words[1]];
  const own = known(path.current) ? path.current : null;
  let at = own === null ? 0 : own;
  const name = path.knob ? path.knob[0].toUpperCase() + path.knob.slice(1) : "Value";
  const output = el("output", { class: "knob-value", for: "knob" });
  const slider = el("input", { type: "range", id: "knob", min: 0, max: last, step: 1, value: at, on: { input: () => move(Number(slider.value)) } });
  const reset = el("button", { type: "button", text: "Back to this run", on: { click: () => { slider.value = own; move(own); slider.focus(); } } });
  const ownMark = own === null ? null : el("span", { class: "own", "aria-hidden": true }, el("span", { text: "this run" }));
  parent.append(el("p", { class: "plain", text: words[2] }),
    el("div", { class: "knob" },
      el("div", { class: "knob-head" }, el("label", { for: "knob", text: name }), output, own === null ? null : reset),
      el("div", { class: "track" }, ownMark, slider),
      el("div", { class: "knob-ends", "aria-hidden": true }, el("span", { text: ends[0] }), el("span", { text: ends[1] }))));
  if (ownMark) {
    const share = last ? own / last : 0.5;
    // The thumb, 22 px wide, stays within the track, so the mark does too.
    ownMark.style.left = "calc(11px + " + share + " * (100% - 22px))";
    ownMark.classList.add(share < 0.12 ? "left" : share > 0.88 ? "right" : "centre");
  }

  const inOne = (values) => values.filter(known).every((value) => value >= 0 && value <= 1);
  const measures = [
    ["Effective rows", path.effective_rows_what || "how many rows carry the weight", path.effective_rows, (value) => whole(value)],
    ["Coverage", path.coverage_what, path.coverage, path.coverage && inOne(path.coverage) ? (value) => percent(value) : (value) => significant(value)],
    ["Distance", path.distance_what, path.distance, (value) => significant(value)],
  ].filter((each) => each[2] && each[2].some(known));
  const panelRow = el("div", { class: "panels" });
  parent.append(panelRow);
  const panels = measures.map(([title, what, values, format]) => {
    const value = el("span", { class: "panel-value" });
    const against = el("span", { class: "panel-against" });
    const holder = el("div", { class: "panel" }, el("h3", { text: title }), el("p", { class: "panel-numbers" }, value, against),
      what ? el("p", { class: "panel-what" }, said(what)) : null);
    panelRow.append(holder);
    const redraw = figure(holder, title + " at " + plural(values.length, "value") + " of " + path.knob, (width) => spark(values, width, at, own),
      () => table(title, [name, title], path.values.map((each, i) => [significant(each), format(values[i])])));
    return () => {
      value.textContent = format(values[at]);
      against.textContent = own === null || at === own ? "" : "this run: " + format(values[own]);
      redraw();
    };
  });

  let bars = null;
  if (path.composition && path.sources.length > 0) {
    const reference = path.composition[own === null ? 0 : own];
    const peak = Math.max(...path.composition.flat());
    parent.append(el("h3", { text: "Where the rows come from" }));
    bars = pairedBars(parent, { caption: "Share of each source, this run and at the slider", heads: ["this run", "at the slider"], what: "Source",
      rows: path.sources.map((source, i) => ({ name: source, a: reference[i], b: reference[i],
        peak: Math.max(...path.composition.map((each) => each[i])) })) });
    bars.update(path.composition[at], peak);
  }

  function move(index) {
    at = index;
    const text = significant(path.values[at]);
    output.textContent = path.knob === "budget" ? whole(path.values[at]) : text;
    slider.setAttribute("aria-valuetext", name + " " + output.textContent + (at === own ? ", this run" : ""));
    reset.disabled = at === own;
    for (const show of panels) show();
    if (bars) bars.update(path.composition[at], Math.max(...path.composition.flat()));
  }
  move(at);
}

function spark(values, width, at, own) {
  const height = 72;
  const plot = canvas(width, height);
  const x = linear([0, Math.max(1, values.length - 1)], [7, width - 7]);
  const y = linear(extent(values, 0.05), [height - 10, 10]);
  let path = "";
  values.forEach((value, i) => { if (known(value)) path += (path ? "L" : "M") + x(i).toFixed(1) + " " + y(value).toFixed(1); });
  plot.append(line(0, height - 1, width, height - 1, "base"), svg("path", { d: path, class: "spark" }));
  if (own !== null && known(values[own])) plot.append(dot(x(own), y(values[own]), 4.5, "hollow"));
  if (known(values[at])) plot.append(line(x(at), y(values[at]), x(at), height - 1, "drop"), dot(x(at), y(values[at]), 4.5, "full"));
  return plot;
}
