// Two bars for each name, before and after; `update` moves the second ones.

function pairedBars(parent, { caption, heads, rows, what }) {
  const kinds = ["pool", "chosen"];
  const largest = () => Math.max(1e-9, ...rows.map((row) => Math.max(row.a, row.b)));
  let most = largest();
  // What has next to nothing on either side is shown on demand.
  const few = Math.max(3, Math.min(12, rows.filter((row) => (row.peak === undefined ? row.b : row.peak) >= 0.002).length + 2));
  const lines = rows.map((row) => {
    const [first, second] = kinds.map((kind) => {
      const bar = el("i", { class: "bar " + kind, "aria-hidden": true });
      const value = el("span", { class: "value" });
      return { bar, value, node: el("span", { role: "cell", class: "pair-line " + kind }, bar, value) };
    });
    const change = el("span", { role: "cell", class: "change" });
    const node = el("div", { role: "row", class: row.name === null ? "pair rest" : "pair" },
      el("span", { role: "rowheader", class: "name" }, row.name === null ? "all others" : said(row.name)),
      first.node, second.node, change);
    return { row, first, second, change, node };
  });
  const show = () => {
    for (const { row, first, second, change } of lines) {
      for (const [part, value] of [[first, row.a], [second, row.b]]) {
        part.bar.style.width = (82 * value) / most + "%";
        part.bar.classList.toggle("none", value === 0);
        part.value.textContent = percent(value);
      }
      change.textContent = row.a > 0 ? TIMES + "\u2009" + (row.b === 0 ? "0" : significant(row.b / row.a, 2)) : NONE;
    }
  };
  show();
  parent.append(
    legend(["pool", heads[0]], ["chosen", heads[1]]),
    ...shortened(el("div", { role: "table", "aria-label": caption, class: "pairs" },
      el("div", { role: "row", class: "sr" }, [what, heads[0], heads[1], "Change"].map((head) =>
        el("span", { role: "columnheader", text: head }))),
      lines.map((each) => each.node)), few, "rows"));
  return {
    update(values, peak) {
      rows.forEach((row, i) => { row.b = values[i]; });
      most = peak || largest();
      show();
    },
  };
}
