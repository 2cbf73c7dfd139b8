// Results of a comparison in words, tables and small plots.

const BASELINES = ["zero-shot", "random", "random-balanced", "full"];
const METRICS = { loss: "loss", accuracy: "accuracy", "exact-match": "exact match" };
const isShare = (metric) => metric === "accuracy" || metric === "exact-match";
const score = (metric) => (value) => (isShare(metric) ? percent(value, 1) : fixed(value, 3));

// A difference: points of percent where the score is a share.
function difference(metric, value) {
  if (!known(value)) return NONE;
  const text = isShare(metric) ? fixed(value * 100, 1) : fixed(value, 3);
  return (value > 0 ? "+" : "") + text;
}

const unitOf = (metric) => (isShare(metric) ? "points of percent" : "nats per token");
const verdictOf = (against) => !against ? null : { better: ["up", "better than random"], worse: ["down", "worse than random"] }[against.verdict] || ["level-with", "tie with random"];
const taskName = (task) => (task == null ? "mean over all tasks" : task);

function sortedRows(one) {
  const sign = one.higher_is_better ? -1 : 1;
  return [...one.rows].sort((a, b) => (known(b.score) - known(a.score)) || sign * (a.score - b.score));
}

// One table: each method with its score, its seeds, its difference to random, and what it cost.
function resultTable(parent, one) {
  const rows = sortedRows(one);
  const show = score(one.metric);
  const random = rows.find((row) => row.arm === "random");
  const domain = extent(rows.flatMap((row) => [row.score, ...(row.seeds || [])]), 0.05);
  if (!one.higher_is_better) domain.reverse();
  const bounds = rows.flatMap((row) => (row.versus_random ? [row.versus_random.low, row.versus_random.high, row.versus_random.mean] : []));
  const widest = Math.max(1e-9, ...bounds.filter(known).map(Math.abs)) * 1.05;
  const best = rows.findIndex((row) => known(row.score) && !["full", "zero-shot"].includes(row.arm));
  const heads = ["Method", "Score", "Each seed", "Difference to random", "Verdict", "Cost"];
  const head = el("div", { role: "row", class: "result-head" }, heads.map((text, i) => el("span", { role: "columnheader" },
    text, i === 2 || i === 3 ? el("span", { class: "sub" }, ["worse", i === 3 ? unitOf(one.metric) : "", "better"].map((side) => el("span", { text: side }))) : null)));
  const lines = rows.map((row, i) => {
    const against = row.versus_random;
    const verdict = verdictOf(against);
    const words = verdict ? verdict[1] : row.arm === "random" ? "the yardstick" : "";
    const tied = row.tied_with_best && i !== best;
    return el("div", { role: "row", class: "result" + (BASELINES.includes(row.arm) ? " baseline" : "") },
      el("span", { role: "rowheader", class: "name" }, said(row.arm), i === best ? el("span", { class: "tag", text: "best" }) : null,
        tied ? el("span", { class: "tag hollow-tag", text: "ties with the best" }) : null,
        row.preset && row.preset !== row.arm ? el("span", { class: "sub" }, said(row.preset)) : null),
      el("span", { role: "cell", class: "score", text: show(row.score) }),
      el("span", { role: "cell", class: "strip" }, seedStrip(row, domain, random, show)),
      el("span", { role: "cell", class: "interval" }, against ? intervalPlot(against, widest, one.metric) : null),
      el("span", { role: "cell", class: "verdict " + (verdict ? verdict[0] : "") }, words,
        against ? el("span", { class: "sub", text: difference(one.metric, against.mean) + " (" + difference(one.metric, against.low) + " to " + difference(one.metric, against.high) + ")" }) : null),
      el("span", { role: "cell", class: "cost" }, costText(row.costs)));
  });
  parent.append(el("div", { role: "table", class: "results", "aria-label": "Methods on " + visible(taskName(one.task)) + " at " + visible(one.budget) }, head, lines));
}

function costText(costs) {
  if (!costs) return NONE;
  const sum = (what) => ["feature_", "select_", "train_"].reduce((total, part) => total + (costs[part + what] || 0), 0);
  const operations = sum("flops");
  return [operations ? scientific(operations) + " FLOP" : "no FLOP", el("span", { class: "sub", text: seconds(sum("seconds")) })];
}

function seedStrip(row, domain, random, show) {
  const [width, height] = [130, 26];
  const x = linear(domain, [6, width - 6]);
  const seeds = (row.seeds || []).filter(known);
  const plot = canvas(width, height);
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", seeds.length ? "seeds: " + seeds.map(show).join(", ") : "one number: " + show(row.score));
  plot.append(line(0, 13, width, 13, "rule"));
  if (random && known(random.score)) plot.append(line(x(random.score), 2, x(random.score), height - 2, "zero"));
  for (const seed of seeds) plot.append(dot(x(seed), 13, 3.5, "seed"));
  if (known(row.score)) plot.append(line(x(row.score), 5, x(row.score), 21, "mean"));
  return plot;
}

function intervalPlot(against, widest, metric) {
  const [width, height] = [190, 26];
  const x = linear([-widest, widest], [5, width - 5]);
  const plot = canvas(width, height);
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", difference(metric, against.mean) + ", between " + difference(metric, against.low) + " and " + difference(metric, against.high));
  plot.append(line(x(0), 0, x(0), height, "zero"));
  const kind = verdictOf(against)[0];
  if (known(against.low) && known(against.high)) plot.append(line(x(against.low), 13, x(against.high), 13, "range " + kind));
  if (known(against.mean)) plot.append(dot(x(against.mean), 13, 4.5, "estimate " + kind));
  return plot;
}

// Every verdict of one metric at once: methods down, tasks and budgets across.
function verdictGrid(parent, tables, metric) {
  const across = tables.filter((one) => one.metric === metric && one.task != null);
  if (across.length < 2) return;
  const arms = [...new Set(across.flatMap((one) => one.rows.map((row) => row.arm)))].filter((arm) => arm !== "random");
  const count = (arm, kind) => across.filter((one) => one.rows.some((row) => row.arm === arm && row.versus_random && row.versus_random.verdict === kind)).length;
  arms.sort((a, b) => count(b, "better") - count(a, "better") || count(a, "worse") - count(b, "worse"));
  const rows = arms.map((arm) => [said(arm), ...across.map((one) => {
    const row = one.rows.find((each) => each.arm === arm);
    const verdict = row && verdictOf(row.versus_random);
    if (!verdict) return NONE;
    const cell = el("span", { class: "glyph " + verdict[0] }, el("span", { class: "sr", text: verdict[1] }));
    return says(cell, () => [el("strong", {}, said(arm)), visible(one.task) + " at " + visible(one.budget), verdict[1] + ": " +
      difference(metric, row.versus_random.mean) + " " + unitOf(metric)]);
  })]).filter((row) => row.some((cell, i) => i && cell !== NONE));
  if (!rows.length) return;
  parent.append(legend(["glyph up", "better than random"], ["glyph level-with", "tie: no difference that stands out from the noise"], ["glyph down", "worse than random"]),
    scroller("Verdicts of all comparisons", table("Verdicts by " + (METRICS[metric] || metric), ["Method", ...across.map((one) =>
      el("span", {}, said(one.task), el("span", { class: "sub" }, said(one.budget))))], rows, "grid")));
}

// The score card: what a selection is worth for what it costs.
const CARD = [
  ["pir_full", "Against full", "score over that of training on the whole pool", (value) => fixed(value, 3)],
  ["pir_random", "Against random", "score over that of as many random rows", (value) => fixed(value, 3)],
  ["sdf", "Data used", "rows taken over rows of the pool", (value) => percent(value)],
  ["str", "Time used", "seconds of selecting over seconds of training on the whole pool", (value) => percent(value)],
  ["flops_share", "Compute used", "selection's part of all operations", (value) => percent(value)],
  ["residual", "Above the line", "how far above the line through random selections", (value) => (value > 0 ? "+" : "") + fixed(value, 3)],
];

function scoreCard(parent, one) {
  const rows = sortedRows(one).filter((row) => row.card);
  const columns = CARD.filter(([key]) => rows.some((row) => known(row.card[key])));
  if (!rows.length || !columns.length) return;
  const needs = (flags) => [["model_free", "the model"], ["dataset_free", "the data set"], ["gpt_free", "a paid model"]]
    .filter(([key]) => flags[key] === false).map((each) => each[1]).join(", ") || "nothing";
  const flagged = rows.some((row) => row.card.flags);
  parent.append(el("h3", { text: "Score card" }),
    scroller("Score card", table("Score card: " + taskName(one.task) + " at " + one.budget, ["Method", ...columns.map((each) => each[1]), ...(flagged ? ["Tied to"] : [])],
      rows.map((row) => [said(row.arm), ...columns.map(([key, , , format]) => format(row.card[key])), ...(flagged ? [row.card.flags ? needs(row.card.flags) : NONE] : [])]), "data")),
    el("p", { class: "fine", text: columns.map((each) => each[1] + ": " + each[2] + ".").join(" ") }));
}
