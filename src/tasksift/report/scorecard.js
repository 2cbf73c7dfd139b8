// The score card: what a selection is worth for what it costs.

const CARD = [
  ["pir_full", "Against full", "the score divided by that of a training on the whole pool; for a loss, which should be small, the other way round. At 1 the selection does as well as all the data, above 1 better.", (value) => fixed(value, 3)],
  ["pir_random", "Against random", "the same against as many rows drawn at random. Above 1 the choice was worth something.", (value) => fixed(value, 3)],
  ["sdf", "Pool used", "how many rows were trained on, as a share of the pool.", (value) => percent(value)],
  ["str", "Time to select", "how long features and selection took, as a share of the time of a training on the whole pool. Above 100% it would have been quicker to train on everything.", (value) => percent(value)],
  ["flops_share", "Spent on selecting", "which part of this method\u2019s own operations went into features and selection; the rest went into training.", (value) => percent(value)],
  ["residual", "Above the line", "how far \u201cagainst full\u201d lies above a line through random draws of several sizes: what the choice adds that more random rows would not.", (value) => (value > 0 ? "+" : "") + fixed(value, 3)],
];

const NEEDS = [["model_free", "a model"], ["dataset_free", "other data"], ["gpt_free", "a server"]];

function scoreCard(parent, one) {
  const rows = ranked(one).filter((row) => row.card);
  const columns = CARD.filter(([key]) => rows.some((row) => known(row.card[key])));
  if (!rows.length || !columns.length) return;
  const needs = (flags) => (flags ? NEEDS.filter(([key]) => flags[key] === false).map((each) => each[1]).join(", ") || "nothing else" : NONE);
  const about = columns.map(([, name, text]) => [name, text]);
  if (rows.some((row) => row.card.flags)) about.push(["Needs", "what the method works with besides rows and examples."]);
  parent.append(el("h3", { text: "Score card" }),
    scroller("Score card", table("Score card: " + taskName(one.task) + " at " + one.budget, ["Method", ...about.map(([name, text]) => el("span", { title: name + ": " + text, text: name }))],
      rows.map((row) => [breakable(row.arm), ...columns.map(([key, , , format]) => format(row.card[key])), ...(about.length > columns.length ? [needs(row.card.flags)] : [])]), "data card-table")),
    el("dl", { class: "terms" }, about.map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text })))));
}
