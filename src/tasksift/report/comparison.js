// The report of a comparison.

function comparisonPage(data) {
  const summary = data.summary || {};
  const tables = summary.tables || [];
  comparisonGlance(data.glance || {}, data.advice);
  if (tables.length) resultsSection(tables);
  if ((summary.curves || []).length) curvesSection(summary.curves, tables);
  if ((data.frontier || []).length) frontierSection(data.frontier, tables);
  losersSection(summary);
}

const unique = (values) => [...new Set(values)];

function comparisonGlance(glance, advice) {
  const sum = (counts) => counts && Object.values(counts).reduce((a, b) => a + b, 0);
  opening(glance.sentence, [
    [listLength(glance.arms), "methods"], [listLength(glance.tasks), "tasks"], [listLength(glance.budgets), "budgets"], [listLength(glance.seeds), "seeds"],
    [whole(glance.pool_rows), "rows in the pool"], [whole(sum(glance.held_out_rows)), "rows to score on"],
  ], [
    ["Model", glance.model && glance.model + (known(glance.parameters) ? ", " + whole(glance.parameters) + " parameters" : "")],
    ["Tasks", listText(glance.tasks, (task) => task + countsOf(task, glance))], ["Methods", listText(glance.arms)],
    ["Budgets", listText(glance.budgets)], ["Seeds", listText(glance.seeds)],
  ], advice);
}

function countsOf(task, glance) {
  const parts = [[glance.targets, "examples"], [glance.held_out_rows, "rows to score on"]]
    .filter(([counts]) => counts && known(counts[task])).map(([counts, what]) => whole(counts[task]) + " " + what);
  return parts.length ? " (" + parts.join(", ") + ")" : "";
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
    keys.forEach(([key, , , wish], i) => {
      const values = unique(matching(i).map((item) => item[key]));
      if (!values.includes(state[key])) state[key] = wish && values.includes(wish) ? wish : values[0];
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
        if (at >= 0 && next[at]) (controls.querySelectorAll("fieldset, label.choice")[i]?.querySelector("input:checked, select") || next[at]).focus();
      });
    }).filter(Boolean));
    holder.replaceChildren();
    show(holder, matching(keys.length)[0]);
  };
  body.append(controls, holder);
  refresh();
}

const taskKey = ["task", "Task", taskName];
const metricKey = ["metric", "Measured by", (metric) => METRICS[metric] || metric];

function resultsSection(tables) {
  const body = section("results", "What won",
    "One line per method, best first. The bar beside each shows how far it lies from a random draw of the same size, with the range that the noise allows: " +
    "where it crosses the line in the middle, nobody can say which is better.", { wide: true });
  chooser(body, tables, [taskKey, metricKey, ["budget", "Budget", (budget) => budget == null ? "whole pool" : budget]], (holder, one) => {
    holder.append(el("p", { class: "plain" }, verdictSentence(one)));
    resultTable(holder, one);
    holder.append(el("p", { class: "fine", text: "Score: " + (METRICS[one.metric] || visible(one.metric)) + ", " + (one.higher_is_better ? "higher is better" : "lower is better") +
      (known(one.held_out_rows) ? ", over " + plural(one.held_out_rows, "row") + " to score on" : "") +
      ". Dots: one training each. Upright line: random. Cost: features, selection and training." }));
    scoreCard(holder, one);
  });
  for (const metric of unique(tables.map((one) => one.metric))) {
    const grid = el("div", {});
    verdictGrid(grid, tables, metric);
    if (grid.childElementCount) body.append(el("h3", { text: "Every comparison by " + (METRICS[metric] || visible(metric)) }), grid);
  }
}

function verdictSentence(one) {
  const names = (verdict) => one.rows.filter((row) => row.versus_random && row.versus_random.verdict === verdict && !["full", "zero-shot"].includes(row.arm)).map((row) => row.arm);
  const [up, down] = [names("better"), names("worse")];
  const list = (arms) => arms.flatMap((arm, i) => [i ? (i === arms.length - 1 ? " and " : ", ") : null, el("strong", {}, said(arm))]);
  const parts = up.length ? ["Better than a random draw beyond the noise: ", list(up), ". "] : ["No method is better than a random draw beyond the noise. "];
  if (down.length) parts.push("Worse: ", list(down), ".");
  return el("span", {}, parts.flat());
}

const sideOf = (one, tables) => {
  const same = tables.find((each) => each.metric === one.metric);
  return (same ? same.higher_is_better : one.metric !== "loss") ? "higher" : "lower";
};

function curvesSection(curves, tables) {
  const body = section("curves", "More data, better score?",
    "Each line is a method, from little data on the left to much on the right. A line on the better side of another gets more out of the same number of rows; the upright strokes are the range of the noise.", { wide: true });
  chooser(body, curves, [taskKey, metricKey], (holder, curve) => {
    const levels = [["zero", "no training"], ["full", "the whole pool"]].filter(([key]) => known(curve[key])).map(([key, name]) => ({ y: curve[key], name }));
    let hue = 0;
    const lines = curve.lines.map((each) => ({ name: each.arm, kind: each.arm === "random" ? "yardstick" : BASELINES.includes(each.arm) ? "hue-rest" : hueOf(hue++),
      points: each.points.map((p) => ({ x: p.fraction, y: p.score, low: p.low, high: p.high })) }));
    lineChart(holder, { label: (METRICS[curve.metric] || curve.metric) + " over the share of the pool that was trained on, " + taskName(curve.task), lines, levels, log: true,
      formatX: percent, formatY: score(curve.metric), nameX: "share of the pool", better: sideOf(curve, tables) });
  });
}

function frontierSection(frontier, tables) {
  const body = section("frontier", "What it costs",
    "Each dot is a method at a budget: further right costs more computing. The joined dots are the best that can be had for their cost; for any other dot, something cheaper does as well.", { wide: true });
  chooser(body, frontier, [taskKey, metricKey], (holder, one) => {
    costChart(holder, { label: (METRICS[one.metric] || one.metric) + " over computing, " + taskName(one.task), points: one.points.filter((each) => known(each.score) && known(each.flops)),
      formatY: score(one.metric), better: sideOf(one, tables) });
  });
}

function losersSection(summary) {
  const { losers = [], ties = [], notes = [] } = summary;
  if (!losers.length && !ties.length && !notes.length) return;
  const body = section("losers", "Who lost, and who tied", "Every method that came out below a random draw is named here, whether or not that is more than noise.");
  const place = (each) => [said(taskName(each.task)), " at ", each.budget == null ? "the whole pool" : said(each.budget), ", by ", said(METRICS[each.metric] || each.metric)];
  const clear = (each) => each.verdict === "worse";
  for (const [heading, some] of [["Below random, beyond the noise", losers.filter(clear)], ["Below random, within the noise", losers.filter((each) => !clear(each))]]) {
    if (!some.length) continue;
    body.append(el("h3", { text: heading }), ...shortened(el("ul", { class: "plain-list" }, some.map((each) => el("li", {}, el("strong", {}, said(each.arm)), " on ", place(each),
      el("span", { class: "sub", text: difference(each.metric, each.mean) + " (" + difference(each.metric, each.low) + " to " + difference(each.metric, each.high) + ") " + unitOf(each.metric) })))), 8, "lines"));
  }
  if (!losers.length) body.append(el("p", { class: "plain", text: "No method came out below random." }));
  const tied = ties.filter((each) => each.arms.length);
  if (tied.length) {
    body.append(el("h3", { text: "Ties for the first place" }), ...shortened(el("ul", { class: "plain-list" }, tied.map((each) => el("li", {}, "On ", place(each), ": ", el("strong", {}, said(each.best)), ", and level with it ",
      each.arms.filter((arm) => arm !== each.best).flatMap((arm, i) => [i ? ", " : null, said(arm)])))), 8, "lines"));
  }
  if (notes.length) body.append(el("h3", { text: "Mind" }), el("ul", { class: "plain-list" }, notes.map((each) => el("li", {}, said(each)))));
}
