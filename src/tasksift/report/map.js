// The map: rows as dots near what they resemble. One path a kind and state, so that thousands of dots are a few shapes.

const MAP_KINDS = [["pool", "pool, a sample"], ["target", "your examples"], ["chosen", "selected"]];
const MAP_ORDER = [0, 2, 1];

function drawMap(parent, data) {
  const count = data.x.length;
  const state = { source: null, kinds: [true, true, true], at: -1 };
  const [lowX, highX] = extent(data.x);
  const [lowY, highY] = extent(data.y);
  const ratio = Math.max(0.5, Math.min(0.95, (highY - lowY) / (highX - lowX || 1) || 0.7));
  const places = { x: new Float64Array(count), y: new Float64Array(count) };
  const seen = (i) => state.kinds[data.kind[i]] && (state.source === null || data.kind[i] === 1 || data.source[i] === state.source);
  const card = el("div", { class: "card", "aria-live": "polite" }, el("p", { class: "hint", text:
    "Point at a dot, or tap it, to read its row. With the keyboard: focus the map, then use the left and right arrow keys." }));

  const draw = (width) => {
    const height = Math.round(width * ratio);
    const scale = Math.min((width - 20) / (highX - lowX || 1), (height - 20) / (highY - lowY || 1));
    const plot = canvas(width, height);
    for (let i = 0; i < count; i++) {
      places.x[i] = width / 2 + (data.x[i] - (lowX + highX) / 2) * scale;
      places.y[i] = height / 2 - (data.y[i] - (lowY + highY) / 2) * scale;
    }
    plot.append(svg("rect", { x: 0, y: 0, width, height, class: "sea" }));
    for (const kind of MAP_ORDER) {
      let path = "";
      for (let i = 0; i < count; i++) {
        if (data.kind[i] !== kind || !seen(i)) continue;
        const x = places.x[i].toFixed(1);
        const y = places.y[i].toFixed(1);
        path += kind === 1 ? "M" + x + " " + (y - 4.5) + "l4.5 4.5l-4.5 4.5l-4.5 -4.5Z" : "M" + x + " " + y + "h0";
      }
      plot.append(svg("path", { d: path, class: "dots " + MAP_KINDS[kind][0] }));
    }
    const ring = dot(0, 0, 8, "ring away");
    plot.append(ring);
    const choose = (i) => {
      state.at = i;
      ring.classList.remove("away");
      ring.setAttribute("cx", places.x[i]);
      ring.setAttribute("cy", places.y[i]);
      tell(i);
    };
    const nearest = (event) => {
      const box = plot.getBoundingClientRect();
      const x = (event.clientX - box.x) * (width / box.width);
      const y = (event.clientY - box.y) * (height / box.height);
      let best = -1;
      let least = 24 ** 2;
      for (let i = 0; i < count; i++) {
        const far = (places.x[i] - x) ** 2 + (places.y[i] - y) ** 2 - (data.kind[i] ? 4 : 0);
        if (far < least && seen(i)) [best, least] = [i, far];
      }
      if (best >= 0) choose(best);
    };
    plot.addEventListener("pointermove", nearest);
    plot.addEventListener("pointerdown", nearest);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const order = Array.from({ length: count }, (_, i) => i).filter(seen).sort((a, b) => data.x[a] - data.x[b]);
      const at = order.indexOf(state.at);
      if (order.length) choose(order[(at < 0 ? 0 : at + step + order.length) % order.length]);
    });
    plot.setAttribute("tabindex", "0");
    if (state.at >= 0 && seen(state.at)) choose(state.at);
    return plot;
  };

  const tell = (i) => {
    const source = data.kind[i] === 1 ? null : data.sources[data.source[i]];
    card.replaceChildren(
      el("p", { class: "meta" }, el("i", { class: "swatch round " + MAP_KINDS[data.kind[i]][0], "aria-hidden": true }),
        ["a row of the pool", "one of your examples", "selected"][data.kind[i]], source == null ? null : " \u00b7 ", source == null ? null : said(source)),
      el("p", { class: "quote" }, said(data.text[i])));
  };

  let redraw = () => {};
  const toggles = MAP_KINDS.map(([kind, name], code) => {
    const number = data.kind.filter((each) => each === code).length;
    return number ? el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, on: { change: (event) => {
      state.kinds[code] = event.target.checked;
      redraw();
    } } }), el("i", { class: "swatch round " + kind, "aria-hidden": true }), name + " (" + whole(number) + ")") : null;
  });
  const controls = el("div", { class: "controls" }, toggles);
  if (data.sources.length > 1) {
    const list = el("select", { on: { change: () => {
      state.source = list.selectedIndex ? list.selectedIndex - 1 : null;
      redraw();
    } } }, el("option", { text: "all sources" }), data.sources.map((name) => el("option", { text: name === null ? "all others" : cut(name, 60) })));
    controls.append(el("label", { class: "choice" }, el("span", { text: "Source" }), list));
  }
  parent.append(controls);
  redraw = figure(parent, "Map of " + whole(count) + " rows; rows that resemble each other lie close together.", draw);
  parent.append(card);
  const held = known(data.explained) ? "Two directions out of many: they hold " + percent(data.explained) + " of the differences between rows. " : "";
  parent.append(el("p", { class: "fine" }, held, data.note ? said(data.note) : null));
}
