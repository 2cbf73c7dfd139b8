// Who came out below random, who shared the first place, and what to mind.

function losersSection(summary) {
  const { losers = [], ties = [], notes = [] } = summary;
  if (!losers.length && !ties.length && !notes.length) return;
  const body = section("losers", "Who lost, and who tied", "Every method that came out below a random draw is named here, whether or not that is more than noise, with its difference to random.");
  const parts = [["Below random, beyond the noise", 12, (each) => each.verdict === "worse"], ["Below random, within the noise", 6, (each) => each.verdict === "tie"],
    ["Below random, too little to judge", 6, (each) => !["worse", "tie"].includes(each.verdict)]];
  for (const [heading, few, belongs] of parts) {
    const some = losers.filter(belongs);
    if (some.length) body.append(el("h3", { text: heading }), ...shortened(el("ul", { class: "plain-list" }, byArm(some).map(lost)), few, "methods"));
  }
  if (!losers.length) body.append(el("p", { class: "plain", text: "No method came out below random." }));
  const tied = ties.filter((each) => each.arms.some((arm) => arm !== each.best));
  if (tied.length) {
    body.append(el("h3", { text: "Ties for the first place" }), ...shortened(el("ul", { class: "plain-list" }, tied.map((each) => el("li", {},
      el("span", { class: "where" }, place(each), ", by ", metricName(each.metric)), el("strong", {}, said(each.best)), ", and level with it ",
      each.arms.filter((arm) => arm !== each.best).flatMap((arm, i) => [i ? ", " : null, said(arm)])))), 8, "ties"));
  }
  if (notes.length) body.append(el("h3", { text: "Mind" }), el("ul", { class: "plain-list" }, notes.map((each) => el("li", {}, said(each)))));
}

const place = (each) => [said(taskName(each.task)), " at ", each.budget == null ? "the whole pool" : said(each.budget)];

// Losses of each arm by each metric, the arm with most of them first.
function byArm(losers) {
  const groups = new Map();
  for (const each of losers) {
    const key = each.metric + "\n" + each.arm;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(each);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length);
}

function lost(cases) {
  const [{ arm, metric }] = cases;
  return el("li", {}, el("strong", {}, said(arm)), " by ", metricName(metric), ", in " + unitOf(metric) + (cases.length > 1 ? ", " + whole(cases.length) + " times" : ""),
    el("ul", { class: "cases" }, cases.map((each) => el("li", {}, place(each), " ", el("span", { class: "figure", text: difference(metric, each.mean) }),
      each.verdict === "worse" && between(metric, each) ? " (" + between(metric, each) + ")" : null))));
}
