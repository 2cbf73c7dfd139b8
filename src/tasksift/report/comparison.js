// The report of a comparison.

function comparisonPage(data) {
  const summary = data.summary || {};
  const tables = overallFirst(summary.tables || []);
  comparisonGlance(data.glance || {}, data.advice);
  if (tables.length) resultsSection(tables);
  if ((summary.curves || []).length) curvesSection(overallFirst(summary.curves), tables);
  if ((data.frontier || []).length) frontierSection(data.frontier, tables);
  losersSection(summary);
}

const unique = (values) => [...new Set(values)];
const overallFirst = (parts) => [...parts].sort((a, b) => (a.task != null) - (b.task != null));

function comparisonGlance(glance, advice) {
  const sum = (counts) => counts && Object.values(counts).reduce((a, b) => a + b, 0);
  opening(glance.sentence, [
    [listLength(glance.arms), "methods"], [listLength(glance.tasks), "tasks"], [listLength(glance.budgets), "budgets"], [listLength(glance.seeds), "seeds"],
    [whole(glance.pool_rows), "rows in the pool"], [whole(sum(glance.held_out_rows)), "rows to score on"],
  ], [
    ["Model", glance.model && glance.model + (known(glance.parameters) ? ", " + whole(glance.parameters) + " parameters" : "")],
    ["Tasks", tasksText(glance)], ["Methods", listText(glance.arms)],
    ["Budgets", listText(glance.budgets)], ["Seeds", listText(glance.seeds)],
  ], advice);
}

// The tasks with their sizes, which are said once where they are the same for all.
function tasksText(glance) {
  if (!Array.isArray(glance.tasks)) return glance.tasks;
  const sizes = glance.tasks.map((task) => countsOf(task, glance));
  const same = sizes.length > 1 && sizes[0] && unique(sizes).length === 1;
  return glance.tasks.map((task, i) => task + (same || !sizes[i] ? "" : " (" + sizes[i] + ")")).join(", ") + (same ? "; each with " + sizes[0] : "");
}

function countsOf(task, glance) {
  return [[glance.targets, "examples"], [glance.held_out_rows, "rows to score on"]]
    .filter(([counts]) => counts && known(counts[task])).map(([counts, what]) => whole(counts[task]) + " " + what).join(", ");
}

const listLength = (value) => (Array.isArray(value) ? whole(value.length) : NONE);
const listText = (value, show = String) => (Array.isArray(value) ? value.map(show).join(", ") : value);

// Choices of a section that share one state; `show` fills the place below them.
function chooser(body, items, keys, show) {
  const holder = el("div", {});
  const controls = el("div", { class: "controls" });
  const state = {};
  const matching = (upTo) => items.filter((item) => keys.slice(0, upTo).every(([key]) => item[key] === state[key]));
  const settle = () => {
    keys.forEach(([key], i) => {
      const values = unique(matching(i).map((item) => item[key]));
      if (!values.includes(state[key])) state[key] = values[0];
    });
  };
  const refresh = () => {
    settle();
    controls.replaceChildren(...keys.map(([key, label, text], i) => {
      const values = unique(matching(i).map((item) => item[key]));
      if (values.length < 2) return null;
      return choice(label, values.map((value) => ({ value, text: text(value) })), state[key], (value) => {
        state[key] = value;
        const focus = document.activeElement;
        const at = [...controls.querySelectorAll("input, select")].indexOf(focus);
        refresh();
        const next = [...controls.querySelectorAll("input, select")];
        if (at >= 0 && next[at]) (controls.querySelectorAll(".choice")[i]?.querySelector("input:checked, select") || next[at]).focus();
      });
    }).filter(Boolean));
    // On paper there are no controls to say what is shown.
    holder.replaceChildren(el("p", { class: "on-paper" }, said(keys.map(([key, label, text]) => label + ": " + text(state[key])).join(", "))));
    show(holder, matching(keys.length)[0]);
  };
  body.append(controls, holder);
  refresh();
}

const taskKey = ["task", "Task", taskName];
const metricKey = ["metric", "Measured by", metricName];

function resultsSection(tables) {
  const body = section("results", "What won",
    "One line per method, best first. The dot beside each shows how far it lies from a random draw of the same size, with the range that the noise allows: " +
    "where that crosses the line in the middle, nobody can say which is better.", { wide: true });
  chooser(body, tables, [taskKey, metricKey, ["budget", "Budget", (budget) => budget == null ? "whole pool" : budget]], (holder, one) => {
    holder.append(el("p", { class: "plain" }, verdictSentence(one)));
    resultTable(holder, one);
    holder.append(el("p", { class: "fine", text: "Score: " + metricName(one.metric) + ", " + (one.higher_is_better ? "higher is better" : "lower is better") +
      (known(one.held_out_rows) ? ", over " + plural(one.held_out_rows, "row") + " to score on" : "") +
      ". Dots: one training each. Upright line: random. An arrowhead at the edge: further off than fits. Cost: features, selection and training." }));
    scoreCard(holder, one);
  });
  for (const metric of unique(tables.map((one) => one.metric))) {
    const grid = el("div", {});
    verdictGrid(grid, tables, metric);
    if (grid.childElementCount) body.append(el("h3", { text: "Every comparison by " + metricName(metric) }), grid);
  }
}

const sideOf = (one, tables) => {
  const same = tables.find((each) => each.metric === one.metric);
  return (same ? same.higher_is_better : one.metric !== "loss") ? "higher" : "lower";
};

// A method has its colour on every task; those that stand best have one of their own, the others are grey.
function curvesSection(curves, tables) {
  const body = section("curves", "More data, better score?",
    "Each line is a method, from little data on the left to much on the right. A line on the better side of another gets more out of the same number of rows. " +
    "Where budgets differ more than methods, look at the difference to random.", { wide: true });
  const order = standing(tables).map((each) => each.arm);
  const coloured = order.filter((arm) => !BASELINES.includes(arm));
  const kind = (arm) => (arm === "random" ? "yardstick" : coloured.includes(arm) ? hueOf(coloured.indexOf(arm)) : "hue-rest");
  const rank = (arm) => (arm === "random" ? -1 : BASELINES.includes(arm) ? 1e9 : order.includes(arm) ? order.indexOf(arm) : 1e8);
  const differing = (curve) => ({ ...curve, lines: curve.lines.filter((each) => each.arm !== "random").map((each) => ({ arm: each.arm, points: tables
    .filter((one) => one.task === curve.task && one.metric === curve.metric).flatMap((one) => one.rows.filter((row) => row.arm === each.arm && row.versus_random && row.card)
      .map((row) => ({ fraction: row.card.sdf, score: row.versus_random.mean, low: row.versus_random.low, high: row.versus_random.high }))) })).filter((each) => each.points.length) });
  const shown = curves.flatMap((curve) => [{ ...curve, as: "score" }, { ...differing(curve), as: "difference" }]).filter((curve) => curve.as === "score" || curve.lines.length);
  chooser(body, shown, [taskKey, metricKey, ["as", "Show", (as) => (as === "score" ? "the score" : "the difference to random")]], (holder, curve) => {
    const plain = curve.as === "score";
    const levels = plain ? [["zero", "no training"], ["full", "the whole pool"]].filter(([key]) => known(curve[key])).map(([key, name]) => ({ y: curve[key], name })) : [{ y: 0, name: "random" }];
    const lines = [...curve.lines].sort((a, b) => rank(a.arm) - rank(b.arm)).map((each) => ({ name: each.arm, kind: kind(each.arm),
      points: each.points.map((p) => ({ x: p.fraction, y: p.score, low: p.low, high: p.high })) }));
    const signs = (value, step) => value === 0 ? "0" : (value > 0 ? "+" : "") + (isShare(curve.metric) ? fixed(value * 100, digitsOf((step || 0.001) * 100)) : fixed(value, digitsOf(step || 0.001)));
    lineChart(holder, { label: (plain ? "" : "Difference to random by ") + metricName(curve.metric) + " over the share of the pool that was trained on, " + taskName(curve.task), lines, levels,
      formatX: percent, formatY: plain ? score(curve.metric) : (value) => difference(curve.metric, value), tickY: plain ? scoreTick(curve.metric) : signs,
      nameX: "share of the pool", better: plain ? sideOf(curve, tables) : "higher" });
    holder.append(el("p", { class: "fine", text: (lines.length > 4 ? "Choose a method above to bring its line to the front, with the range of the noise as upright strokes." : "The upright strokes are the range of the noise.") +
      (plain ? "" : " In " + unitOf(curve.metric) + ".") + (lines.some((each) => each.kind === "hue-rest") ? " Colours go to the methods that beat random most often; the others are grey." : "") }));
  });
}

function frontierSection(frontier, tables) {
  const body = section("frontier", "What it costs",
    "Each dot is a method at a budget: further right costs more computing. The joined dots are the best that can be had for their cost; for any other dot, something cheaper does as well.", { wide: true });
  chooser(body, frontier, [taskKey, metricKey], (holder, one) => {
    costChart(holder, { label: metricName(one.metric) + " over computing, " + taskName(one.task), points: one.points.filter((each) => known(each.score) && known(each.flops)),
      formatY: score(one.metric), tickY: scoreTick(one.metric), better: sideOf(one, tables) });
  });
}
