// Elements: the only ways in which this page makes them. Texts become text nodes and nothing else.

const SVG = "http://www.w3.org/2000/svg";

function el(name, options = {}, ...children) {
  return furnish(document.createElement(name), options, children);
}

function svg(name, options = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), options, children);
}

function furnish(node, options, children) {
  for (const [key, value] of Object.entries(options)) {
    if (value == null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "on") for (const [type, act] of Object.entries(value)) node.addEventListener(type, act);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child != null && child !== false) node.append(child);
  return node;
}

// Text of a row, a source or a user: apart from the direction of what surrounds it, its marks shown.
function said(text, kind) {
  const node = el("bdi", { class: kind });
  for (const [part, mark] of pieces(text)) node.append(mark ? el("span", { class: "mark", text: part }) : part);
  return node;
}

// The same in a narrow place: it may go on in the next line after the marks that join words.
function breakable(text) {
  const node = said(text);
  for (const part of [...node.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE)) {
    part.replaceWith(...part.textContent.split(/(?<=[_\-:./+])/).flatMap((word, i) => (i ? [el("wbr"), word] : [word])));
  }
  return node;
}

let sections = [];

// A section: its heading and how to read it on the left, what it shows on the right (below, where it is wide).
function section(id, heading, how, options = {}) {
  const body = el("div", { class: "body" });
  const node = el("section", { id, class: options.wide ? "wide" : null, "aria-labelledby": id + "-heading" },
    el("div", { class: "side" }, el("h2", { id: id + "-heading", text: heading }), el("p", { class: "how", text: how })), body);
  document.querySelector("main").append(node);
  sections.push([id, heading]);
  return body;
}

// A table: heads and rows of texts or nodes; the first cell of a row names it.
function table(caption, heads, rows, kind) {
  const cell = (value) => (value instanceof Node ? value : visible(value));
  return el("table", { class: kind }, el("caption", { text: visible(caption) }),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, cell(head))))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, i) =>
      i ? el("td", {}, cell(value)) : el("th", { scope: "row" }, cell(value)))))));
}

// A part that scrolls sideways by itself, so that the page never does.
function scroller(label, ...children) {
  return el("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": visible(label) }, children);
}

// A choice of one among few: buttons where they fit, a list otherwise.
let choices = 0;

function choice(label, options, value, act) {
  const length = options.reduce((sum, option) => sum + option.text.length, 0);
  if (options.length > 5 || length > 42) {
    const list = el("select", { on: { change: () => act(options[list.selectedIndex].value) } },
      options.map((option) => el("option", { text: visible(option.text), selected: option.value === value })));
    return el("label", { class: "choice" }, el("span", { text: label }), list);
  }
  const name = "choice" + ++choices;
  return el("div", { class: "choice", role: "radiogroup", "aria-label": label }, el("span", { "aria-hidden": true, text: label }), el("span", { class: "segments" },
    options.map((option) => el("label", {}, el("input", { type: "radio", name, checked: option.value === value,
      on: { change: () => act(option.value) } }), el("span", {}, said(option.text))))));
}

function legend(...entries) {
  return el("p", { class: "legend" }, entries.map(([kind, text]) =>
    el("span", {}, el("i", { class: "swatch " + kind, "aria-hidden": true }), text)));
}

function keyNumbers(entries) {
  const shown = entries.filter((entry) => entry && entry[0] !== NONE);
  return el("dl", { class: "key" }, shown.map(([value, label]) =>
    el("div", {}, el("dt", { text: label }), el("dd", { text: value }))));
}

function facts(entries) {
  const shown = entries.filter((entry) => entry[1] != null && entry[1] !== "");
  return el("dl", { class: "facts" }, shown.map(([label, value]) =>
    el("div", {}, el("dt", { text: label }), el("dd", {}, said(value)))));
}

// A list of which the first few are shown until the rest is asked for.
function shortened(list, few, what) {
  const nodes = [...list.children].filter((node) => !node.classList.contains("sr"));
  if (nodes.length <= few + 2) return [list];
  const rest = nodes.slice(few);
  for (const node of rest) node.classList.add("later");
  const button = el("button", { type: "button", class: "more", text: "Show all " + nodes.length + " " + what, on: { click: () => {
    for (const node of rest) node.classList.remove("later");
    button.remove();
  } } });
  return [list, button];
}
