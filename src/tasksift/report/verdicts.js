// What the comparisons of one metric say together: a sentence, and every verdict at once.

function verdictSentence(one) {
  const methods = one.rows.filter((row) => !REFERENCES.includes(row.arm));
  const names = (verdict) => methods.filter((row) => row.versus_random && row.versus_random.verdict === verdict).map((row) => row.arm);
  const list = (arms) => arms.flatMap((arm, i) => [i ? (i === arms.length - 1 ? " and " : ", ") : null, el("strong", {}, said(arm))]);
  const judged = methods.filter((row) => row.versus_random);
  const [first] = ranked(one);
  const parts = [];
  if (first && first.arm === "random" && known(first.score)) parts.push(el("strong", { text: "Random drawing is the best here." }), " ");
  if (!judged.length) {
    parts.push("No method stands beside a random draw here, so nothing says whether choosing was worth it.");
  } else if (judged.every((row) => verdictOf(row.versus_random)[0] === "unsure")) {
    parts.push("No method can be told from a random draw here: too few " + (judged.every((row) => row.versus_random.verdict === "too few rows") ? "rows to score on" : "seeds") + " for a verdict.");
  } else {
    const [up, down] = [names("better"), names("worse")];
    parts.push(...(up.length ? ["Better than a random draw beyond the noise: ", list(up), ". "] : ["No method is better than a random draw beyond the noise. "]));
    if (down.length) parts.push("Worse: ", list(down), ".");
  }
  return el("span", {}, parts.flat());
}

// All arms but those without a budget: most often better than random first, then those of the better scores.
function standing(tables) {
  const some = tables.some((one) => one.task == null) ? tables.filter((one) => one.task != null) : tables;
  const arms = unique(some.flatMap((one) => one.rows.map((row) => row.arm))).filter((arm) => !REFERENCES.includes(arm));
  const places = new Map(arms.map((arm) => [arm, { arm, better: 0, worse: 0, judged: 0, place: 0, seen: 0 }]));
  for (const one of some) {
    ranked(one).forEach((row, i) => {
      const mine = places.get(row.arm);
      if (!mine) return;
      mine.place += i;
      mine.seen += 1;
      const verdict = row.versus_random && row.versus_random.verdict;
      if (verdict === "better" || verdict === "worse") mine[verdict] += 1;
      if (verdictOf(row.versus_random) && verdictOf(row.versus_random)[0] !== "unsure") mine.judged += 1;
    });
  }
  return [...places.values()].sort((a, b) => (b.better - b.worse) - (a.better - a.worse) || a.place / a.seen - b.place / b.seen);
}

// Every verdict of one metric: methods down, tasks with their budgets across.
function verdictGrid(parent, tables, metric) {
  const across = tables.filter((one) => one.metric === metric && one.task != null);
  const order = standing(across).filter((each) => each.arm !== "random");
  if (across.length < 2 || !order.some((each) => each.judged)) return;
  const tasks = unique(across.map((one) => one.task));
  const of = tasks.map((task) => across.filter((one) => one.task === task));
  const cell = (arm, one, first) => {
    const row = one.rows.find((each) => each.arm === arm);
    const verdict = row && verdictOf(row.versus_random);
    if (!verdict) return el("td", { class: first ? "first" : null, text: NONE });
    const glyph = el("span", { class: "glyph " + verdict[0] }, el("span", { class: "sr", text: verdict[1] }));
    return el("td", { class: first ? "first" : null }, says(glyph, () => [el("strong", {}, said(arm)), visible(one.task) + " at " + visible(one.budget),
      verdict[1] + ": " + withRange(metric, row.versus_random) + " " + unitOf(metric)]));
  };
  const wide = Math.max(26, 4 + Math.max(...across.map((one) => textWidth(visible(one.budget)))) * 0.93);
  const unsure = across.some((one) => one.rows.some((row) => row.versus_random && verdictOf(row.versus_random)[0] === "unsure"));
  const grid = el("table", { class: "grid", style: { minWidth: 284 + across.length * wide + "px" } }, el("caption", { text: "Verdicts by " + metricName(metric) }),
    el("colgroup", {}, el("col", { class: "of-names" }), el("col", { class: "of-tallies", span: 2 }), el("col", { span: across.length })),
    el("thead", {},
      el("tr", {}, el("th", { scope: "col", rowspan: 2, text: "Method" }), el("th", { scope: "col", rowspan: 2, class: "tally", text: "better" }), el("th", { scope: "col", rowspan: 2, class: "tally", text: "worse" }),
        tasks.map((task, t) => el("th", { scope: "colgroup", colspan: of[t].length, class: "first" }, breakable(task)))),
      el("tr", {}, of.flatMap((some) => some.map((one, i) => el("th", { scope: "col", class: i ? "budget" : "budget first" }, said(one.budget)))))),
    el("tbody", {}, order.map((each) => el("tr", {}, el("th", { scope: "row" }, breakable(each.arm)),
      el("td", { class: "tally", text: whole(each.better) }), el("td", { class: "tally", text: whole(each.worse) }),
      of.flatMap((some) => some.map((one, i) => cell(each.arm, one, i === 0)))))));
  parent.append(legend(["glyph up", "better than random"], ["glyph level-with", "tie: the difference is within the noise"], ["glyph down", "worse than random"],
    ...(unsure ? [["glyph unsure", "no verdict: too few seeds or rows"]] : [])), scroller("Verdicts of all comparisons by " + metricName(metric), grid));
}
