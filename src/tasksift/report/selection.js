// The report of a selection.

function selectionPage(data) {
  selectionGlance(data.glance || {});
  if (data.sources && data.sources.length) {
    const total = (part) => data.sources.reduce((sum, each) => sum + (each[part] || 0), 0) || 1;
    const [pool, selected] = [total("pool"), total("selected")];
    pairedBars(section("sources", "What was taken",
      "Each source has two bars: its share of the pool above, its share of the selection below. \u00d7\u20092 means twice as common in the selection as in the pool."),
    { caption: "Share of each source in the pool and in the selection", heads: ["the pool", "the selection"], what: "Source",
      rows: data.sources.map((each) => ({ name: each.name, a: each.pool / pool, b: each.selected / selected })) });
  }
  if (data.distances) {
    const body = section("distances", "How close",
      "How far rows are from the nearest of your examples. The further the selection lies to the left of the pool, the more it resembles them.");
    histogram(body, { label: "Rows by their " + data.distances.what, edges: data.distances.edges, pool: data.distances.pool,
      selected: data.distances.selected, names: ["the pool", "the selection"] });
    body.append(el("p", { class: "fine" }, "Across: ", said(data.distances.what), ". Upwards: share of the rows."));
  }
  if (data.path) {
    whatIf(section("what-if", "What if", "Move the slider and watch what the same method would have taken. Nothing is run: the answers were worked out before."), data.path);
  }
  if (data.coverage) coverage(data.coverage);
  if (data.copies) copies(data.copies);
  if (data.lengths) {
    const body = section("lengths", "Lengths", "How long rows are. A selection that lies far to one side of the pool was drawn by length as well as by meaning.");
    histogram(body, { label: "Rows by length", edges: data.lengths.edges, pool: data.lengths.pool, selected: data.lengths.selected, names: ["the pool", "the selection"] });
    body.append(el("p", { class: "fine" }, "Across: ", said(data.lengths.unit), ". Upwards: share of the rows."));
  }
  if (data.map && data.map.x.length) {
    drawMap(section("map", "Map", "Each dot is a row, and rows that say similar things lie close together. Good selections gather around your examples.", { wide: true }), data.map);
  }
  if (data.samples && data.samples.length) samples(data.samples);
}

function selectionGlance(glance) {
  const copied = known(glance.rows) && known(glance.distinct) && glance.distinct < glance.rows;
  opening(glance.sentence, [
    [whole(glance.rows), "rows taken"],
    copied ? [whole(glance.distinct), "of them different"] : null,
    [percent(glance.share), "of the pool"],
    [whole(glance.pool_rows), "rows in the pool"],
    [whole(glance.targets), "examples of yours"],
    [whole(glance.tokens), "tokens taken"],
  ], [
    ["Method", glance.preset], ["What it does", glance.about], ["Rows compared by", glance.representation],
    ["Budget", glance.budget], ["Seed", glance.seed], ["Tasks", glance.tasks && glance.tasks.join(", ")], ["From", glance.paper],
  ]);
}

function coverage(data) {
  const body = section("coverage", "Which of your examples are badly served",
    "For each of your examples, how far the nearest selected row is. The examples on the right found little that resembles them; they are listed below.");
  histogram(body, { label: "Your examples by distance to the nearest selected row", edges: data.distance.edges, pool: null,
    selected: data.distance.counts, names: ["", "your examples"], format: whole });
  if (known(data.served) && known(data.targets)) {
    body.prepend(el("p", { class: "plain", text: whole(data.served) + " of your " + whole(data.targets) + " examples are the nearest one of some selected row." }));
  }
  body.append(el("p", { class: "fine", text: "Across: distance to the nearest selected row. Upwards: number of your examples." }));
  if (!data.worst.length) return;
  body.append(el("h3", {}, "Served worst", el("span", { class: "sub", text: "Distance to the nearest selected row, and the example; open one to see which rows are nearest." })),
    ...shortened(el("ol", { class: "worst" }, data.worst.map(badlyServed)), 8, "examples"));
}

function badlyServed(each) {
  const text = el("span", { class: "worst-text" }, said(each.text));
  const far = el("span", { class: "worst-far", text: known(each.nearest_selected) ? fixed(each.nearest_selected, 3) : "none" });
  const closer = known(each.nearest_pool) && (!known(each.nearest_selected) || each.nearest_selected - each.nearest_pool > 0.005);
  const verdict = !known(each.nearest_pool) ? "" : closer
    ? "The pool holds something closer, at " + fixed(each.nearest_pool, 3) + ", that was not taken."
    : "The pool holds nothing closer: more rows like this example would help.";
  const near = each.neighbours.map((row) => [known(row.distance) ? fixed(row.distance, 3) : NONE, row.selected ? el("span", { class: "taken", text: "taken" }) : "left",
    el("div", {}, el("p", { class: "quote" }, said(row.text)), el("p", { class: "meta" }, row.source == null ? null : said(row.source)))]);
  return el("li", {}, el("details", {}, el("summary", {}, far, text),
    el("div", { class: "worst-more" },
      el("p", { class: "meta" }, "Example " + whole(each.target + 1), each.task == null ? null : [" \u00b7 ", said(each.task)],
        known(each.selected_near) ? " \u00b7 " + plural(each.selected_near, "selected row") + (each.selected_near === 1 ? " has" : " have") + " it as the nearest example" : null),
      el("p", { class: "quote full" }, said(each.text)), verdict ? el("p", { text: verdict }) : null,
      near.length ? table("The rows of the pool nearest to this example", ["Distance", "In the selection", "Row"], near, "near") : null)));
}

function copies(data) {
  const body = section("copies", "Near-copies",
    "Rows of the pool that say almost the same share one place between them, so that one sentence repeated a thousand times does not fill the selection.");
  body.append(keyNumbers([
    [whole(data.rows_sharing), "selected rows share a place"],
    [significant(data.mean_density), "rows in a place, on average"],
    [whole(data.avoided), "near-copies kept from crowding in"],
  ]));
  if (data.what) body.append(el("p", { class: "fine" }, said(data.what[0].toUpperCase() + data.what.slice(1)), "."));
  if (!data.examples.length) return;
  body.append(el("h3", { text: "The most crowded places" }), ...shortened(el("ul", { class: "rows" }, data.examples.map((each) =>
    el("li", {}, el("span", { class: "rank", text: significant(each.density, 2) }), el("div", {}, el("p", { class: "quote" }, said(each.text)),
      el("p", { class: "meta" }, "about " + significant(each.density, 2) + " rows like this one", each.source == null ? null : [" \u00b7 ", said(each.source)]))))), 5, "places"));
}

function samples(rows) {
  const body = section("samples", "Rows that were taken",
    "The first rows as the method ranks them, then some from further down, each with why it was taken.", { wide: true });
  const count = el("span", { class: "count", role: "status" });
  const nodes = rows.map((row) => {
    const meta = [[row.source, null], [row.task, "for "], [row.where, null]].filter((each) => each[0] != null && each[0] !== "")
      .map(([value, before]) => el("span", {}, before, said(value)));
    if (known(row.distance)) meta.push(el("span", { text: "distance " + fixed(row.distance, 3) }));
    if (known(row.weight)) meta.push(el("span", { text: "weight " + significant(row.weight) }));
    if (known(row.tokens)) meta.push(el("span", { text: plural(row.tokens, "token") }));
    return el("li", {}, el("span", { class: "rank", text: whole(row.rank) }), el("div", {}, el("p", { class: "quote" }, said(row.text)),
      row.reason ? el("p", { class: "reason" }, said(row.reason)) : null, el("p", { class: "meta dotted" }, meta)));
  });
  const words = rows.map((row) => [row.text, row.source, row.task, row.reason, row.where].map((each) => visible(each || "")).join("\n").toLowerCase());
  const search = el("input", { type: "search", id: "search", placeholder: "a word in the row, its source or the reason", on: { input: () => filter() } });
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    if (wanted) body.querySelector("button.more")?.click();
    let left = 0;
    nodes.forEach((node, i) => {
      node.hidden = !words[i].includes(wanted);
      left += node.hidden ? 0 : 1;
    });
    count.textContent = whole(left) + " of " + plural(rows.length, "row");
  };
  filter();
  body.append(el("div", { class: "controls" }, el("label", { class: "choice grow" }, el("span", { text: "Show rows with" }), search), count),
    ...shortened(el("ol", { class: "rows" }, nodes), 20, "rows"));
}
