// Results of a comparison: each method with its score, its seeds, its difference to random, and what it cost.

const REFERENCES = ["zero-shot", "full"];
const BASELINES = ["zero-shot", "random", "random-balanced", "full"];
const METRICS = { loss: "loss", accuracy: "accuracy", "exact-match": "exact match" };
const isShare = (metric) => metric === "accuracy" || metric === "exact-match";
const metricName = (metric) => METRICS[metric] || visible(metric);
const score = (metric) => (value) => (isShare(metric) ? percent(value, 1) : fixed(value, 3));
const scoreTick = (metric) => (value, step) => (isShare(metric) ? percent(value, digitsOf((step || 0.01) * 100)) : fixed(value, digitsOf(step || 0.001)));

// A difference: points of percent where the score is a share.
function difference(metric, value) {
  if (!known(value)) return NONE;
  const text = isShare(metric) ? fixed(value * 100, 1) : fixed(value, 3);
  return (value > 0 ? "+" : "") + text;
}

// The interval of a difference; there is none where too few seeds or rows were seen.
const between = (metric, against) => (known(against.low) && known(against.high) ? difference(metric, against.low) + " to " + difference(metric, against.high) : null);
const withRange = (metric, against) => difference(metric, against.mean) + (between(metric, against) ? " (" + between(metric, against) + ")" : "");
const unitOf = (metric) => (isShare(metric) ? "points of percent" : "nats per token");
const taskName = (task) => (task == null ? "mean over all tasks" : task);

const VERDICTS = { better: ["up", "better than random"], worse: ["down", "worse than random"], tie: ["level-with", "tie with random"],
  "too few seeds": ["unsure", "no verdict: too few seeds"], "too few rows": ["unsure", "no verdict: too few rows"] };
const verdictOf = (against) => (against ? VERDICTS[against.verdict] || ["unsure", "no verdict"] : null);

// Selections, the best first; what has no budget comes after them, for scale.
function ranked(one) {
  const sign = one.higher_is_better ? -1 : 1;
  const last = (row) => REFERENCES.includes(row.arm);
  return [...one.rows].sort((a, b) => (last(a) - last(b)) || (known(b.score) - known(a.score)) || sign * (a.score - b.score));
}

function resultTable(parent, one) {
  const rows = ranked(one);
  const show = score(one.metric);
  const random = rows.find((row) => row.arm === "random");
  const scores = (row) => [row.score, ...(row.seeds || [])];
  const [selections, references] = [rows.filter((row) => !REFERENCES.includes(row.arm)), rows.filter((row) => REFERENCES.includes(row.arm))];
  const domain = rangeOf(selections.flatMap(scores), references.flatMap(scores), 0.05);
  const differences = (some) => some.map((row) => row.versus_random).filter(Boolean);
  const usual = widestOf(differences(selections));
  const widest = Math.max(usual, ...differences(references).map((each) => Math.abs(each.mean) * 1.06).filter((size) => size <= usual * 1.5));
  const heads = ["Method", "Score", "Each seed", "Difference to random", "Verdict", "Cost"];
  const head = el("div", { role: "row", class: "result-head" }, heads.map((text, i) => el("span", { role: "columnheader" },
    text, i === 2 || i === 3 ? el("span", { class: "sub" }, ["worse", i === 3 ? unitOf(one.metric) : "", "better"].map((side) => el("span", { text: side }))) : null)));
  const lines = rows.map((row, i) => {
    const against = row.versus_random;
    const verdict = verdictOf(against);
    const best = i === 0 && known(row.score) && selections.length > 0;
    return el("div", { role: "row", class: "result" + (BASELINES.includes(row.arm) ? " baseline" : "") + (row === references[0] ? " apart" : "") },
      el("span", { role: "rowheader", class: "name" }, el("span", { class: "called" }, said(row.arm), best ? el("span", { class: "tag", text: "best" }) : null,
        row.tied_with_best && !best && !REFERENCES.includes(row.arm) ? el("span", { class: "tag hollow-tag", text: "level with the best" }) : null),
      aboutArm(row)),
      el("span", { role: "cell", class: "score", text: show(row.score) }),
      el("span", { role: "cell", class: "strip" }, seedStrip(row, one.higher_is_better ? domain : [domain[1], domain[0]], random, show)),
      el("span", { role: "cell", class: "interval" }, against ? intervalPlot(against, widest, one.metric) : null),
      el("span", { role: "cell", class: "verdict " + (verdict ? verdict[0] : "") }, verdict ? verdict[1] : row.arm === "random" ? "the yardstick" : "",
        against ? el("span", { class: "sub", text: withRange(one.metric, against) }) : null),
      el("span", { role: "cell", class: "cost" }, costText(row.costs)));
  });
  parent.append(el("div", { role: "table", class: "results", "aria-label": "Methods on " + visible(taskName(one.task)) + " at " + visible(one.budget) }, head, lines));
}

function aboutArm(row) {
  const about = { full: "the whole pool", "zero-shot": "no training" }[row.arm];
  return about ? el("span", { class: "sub", text: about }) : row.preset && row.preset !== row.arm ? el("span", { class: "sub" }, said(row.preset)) : null;
}

// Half of the width of the differences: all of them fit, and of intervals all but a few that are far wider than most.
function widestOf(differences) {
  const sizes = (key) => differences.map((each) => each[key]).filter(known).map(Math.abs);
  const ends = [...sizes("low"), ...sizes("high")].sort((a, b) => a - b);
  const usual = ends.length ? Math.min(ends[ends.length - 1], 3 * ends[Math.floor(ends.length / 2)]) : 0;
  return Math.max(1e-9, usual, ...sizes("mean")) * 1.06;
}

function costText(costs) {
  if (!costs) return NONE;
  const sum = (what) => ["feature_", "select_", "train_"].reduce((total, part) => total + (costs[part + what] || 0), 0);
  const operations = sum("flops");
  if (!operations && !sum("seconds")) return "nothing";
  return [operations ? scientific(operations) + " FLOP" : "not counted", el("span", { class: "sub", text: seconds(sum("seconds")) })];
}

// A mark at the left or right edge of a small plot, for what lies beyond it.
function edgeMark(right, width, y, kind) {
  const x = right ? width - 1 : 1;
  return svg("path", { class: kind, d: "M" + x + " " + y + "l" + (right ? -7 : 7) + " -4.5v9Z" });
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
  if (known(row.score) && beyond(row.score, domain)) {
    plot.append(edgeMark(x(row.score) > width / 2, width, 13, "edge"));
    return plot;
  }
  for (const seed of seeds) plot.append(dot(x(seed), 13, 3.5, "seed"));
  if (known(row.score)) plot.append(line(x(row.score), 5, x(row.score), 21, "mean"));
  return plot;
}

function intervalPlot(against, widest, metric) {
  const [width, height] = [190, 26];
  const x = linear([-widest, widest], [6, width - 6]);
  const plot = canvas(width, height);
  const range = between(metric, against);
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", difference(metric, against.mean) + (range ? ", from " + range : ""));
  plot.append(line(x(0), 0, x(0), height, "zero"));
  const kind = verdictOf(against)[0];
  if (known(against.mean) && Math.abs(against.mean) > widest) {
    plot.append(edgeMark(against.mean > 0, width, 13, "edge " + kind));
    return plot;
  }
  if (range) {
    const inside = (value) => x(Math.max(-widest, Math.min(widest, value)));
    plot.append(line(inside(against.low), 13, inside(against.high), 13, "range " + kind));
    for (const [end, right] of [[against.low, false], [against.high, true]]) {
      if (Math.abs(end) > widest) plot.append(edgeMark(right, width, 13, "range-on " + kind));
    }
  }
  if (known(against.mean)) plot.append(dot(x(against.mean), 13, 4.5, "estimate " + kind));
  return plot;
}
