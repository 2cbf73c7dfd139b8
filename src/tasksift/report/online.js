// The report of online mixing: what was drawn while a model was trained.

function onlinePage(data) {
  const glance = data.glance || {};
  const domains = data.domains || [];
  opening(glance.sentence, [
    [known(glance.steps) ? whole(glance.steps) : listLength(glance.steps), "steps"], [known(glance.domains) ? whole(glance.domains) : whole(domains.length), "domains"],
    [whole(domains.reduce((sum, each) => sum + (each.drawn || 0), 0)), "rows drawn"], [whole(domains.reduce((sum, each) => sum + (each.rows || 0), 0)), "training rows"],
  ], [["Policy", glance.mode]]);
  const names = domains.map((each) => (each.name == null ? "all others" : each.name));
  const steps = data.steps || [];
  if (steps.length && (data.probabilities || []).length) mixture(names, steps, data.probabilities);
  if (steps.length && (data.losses || []).length) losses(names, steps, data.losses);
  const total = (part) => domains.reduce((sum, each) => sum + (each[part] || 0), 0) || 1;
  const [rows, drawn] = [total("rows"), total("drawn")];
  if (domains.length) {
    pairedBars(section("drawn", "What was drawn", "Each domain has two bars: its share of the training rows above, its share of the rows that were drawn below. \u00d7\u20092 means drawn twice as often as its size would have it."),
      { caption: "Share of each domain in the training rows and among the rows drawn", heads: ["the training rows", "the rows drawn"], what: "Domain",
        rows: domains.map((each) => ({ name: each.name, a: each.rows / rows, b: each.drawn / drawn })) });
  }
}

// Domains by what they had on average; the first few have a colour, the others are one area.
function mixture(names, steps, probabilities) {
  const body = section("mixture", "The mixture", "How likely each domain was at each step. An area that widens is a domain that was drawn more often as the training went on. That says that the reward of its rows was larger, which with the usual reward means a larger loss, not that the domain helps.", { wide: true });
  const share = names.map((_, k) => probabilities.reduce((sum, row) => sum + (row[k] || 0), 0));
  const order = names.map((_, k) => k).sort((a, b) => share[b] - share[a]);
  const few = order.length > HUES ? HUES - 1 : order.length;
  const [shown, rest] = [order.slice(0, few), order.slice(few)];
  const values = probabilities.map((row) => shown.map((k) => row[k] || 0).concat(rest.length ? [rest.reduce((sum, k) => sum + (row[k] || 0), 0)] : []));
  stackedAreas(body, { label: "Probability of each domain by step", steps, names: shown.map((k) => names[k]).concat(rest.length ? [plural(rest.length, "other domain")] : []),
    kinds: shown.map((_, i) => hueOf(i)).concat(rest.length ? ["hue-rest"] : []), values, nameX: "step of the training" });
}

// A small panel a domain, all on one scale, the others in grey behind it.
function losses(names, steps, values) {
  const seen = names.map((_, k) => k).filter((k) => values.some((row) => known(row[k])));
  if (!seen.length) return;
  const body = section("losses", "Losses", "The training loss of the rows that were drawn, one panel per domain, all on the same scale. The grey lines are the other domains. Whether a domain got better is for held-out rows to say.", { wide: true });
  const range = extent(values.flat(), 0.04);
  const paths = (width, height) => {
    const x = linear(extent(steps), [0, width]);
    const y = linear(range, [height - 20, 6]);
    return seen.map((k) => {
      let path = "";
      values.forEach((row, t) => { if (known(row[k])) path += (path ? "L" : "M") + x(steps[t]).toFixed(1) + " " + y(row[k]).toFixed(1); });
      return path;
    });
  };
  const panels = el("div", { class: "panels many" });
  seen.forEach((k, i) => {
    const of = values.map((row) => row[k]).filter(known);
    const panel = el("div", { class: "panel" }, el("h3", {}, said(names[k])),
      el("p", { class: "panel-what", text: significant(of[0]) + " \u2192 " + significant(of[of.length - 1]) }));
    panels.append(panel);
    figure(panel, "Loss of " + names[k] + " from " + significant(of[0]) + " to " + significant(of[of.length - 1]), (width) => {
      const height = 96;
      const plot = canvas(width, height);
      const all = paths(width, height);
      plot.append(svg("path", { d: all.filter((_, j) => j !== i).join(""), class: "others" }), svg("path", { d: all[i], class: "spark" }),
        line(0, height - 20, width, height - 20, "base"), word(0, height - 5, whole(steps[0]), "tick", "start"), word(width, height - 5, "step " + whole(steps[steps.length - 1]), "tick", "end"));
      if (!/L/.test(all[i])) {
        const t = values.findIndex((row) => known(row[k]));
        plot.append(dot(linear(extent(steps), [3, width - 3])(steps[t]), linear(range, [height - 20, 6])(values[t][k]), 3, "full"));
      }
      return plot;
    });
  });
  body.append(...shortened(panels, 12, "domains"));
}
