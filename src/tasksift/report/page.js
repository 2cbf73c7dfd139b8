// The page: its head, the parts of its kind, the list of them, and light or dark.

const KINDS = {
  selection: ["Selection", selectionPage],
  comparison: ["Comparison", comparisonPage],
  online: ["Online mixing", onlinePage],
};

function opening(sentence, numbers, about, advice) {
  const node = document.querySelector("header.top");
  if (sentence) node.append(el("p", { class: sentence.length > 320 ? "lead long" : "lead" }, said(sentence)));
  if (advice) node.append(el("p", { class: "advice" }, el("strong", { text: "Advice" }), said(advice)));
  node.append(keyNumbers(numbers), facts(about));
}

function themeButton() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = el("button", { type: "button", class: "theme", on: { click: () => {
    root.dataset.theme = dark() ? "light" : "dark";
    name();
  } } });
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", button.textContent + " colours"); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  return button;
}

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [kind, show] = KINDS[data.kind];
  document.documentElement.dataset.kind = data.kind;
  const contents = el("nav", { class: "contents", "aria-label": "Parts of this page" });
  document.getElementById("page").append(
    el("div", { class: "strip-top" }, el("span", { class: "brand" }, el("strong", { text: "tasksift" }), " " + kind), themeButton()),
    el("header", { class: "top" }, el("h1", {}, said(data.title || kind))),
    contents, el("main", {}),
    el("footer", {}, "Made by tasksift ", said(data.version || ""), ". This file needs no network and sends nothing."));
  show(data);
  record(data);
  contents.append(...sections.map(([id, heading]) => el("a", { href: "#" + id, text: heading })));
  if (sections.length < 3) contents.remove();
  // A link to a part, as in page.html#map, is followed once the charts have their heights.
  requestAnimationFrame(() => setTimeout(() => {
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
    document.documentElement.dataset.ready = "true";
  }));
  addEventListener("scroll", hideNote, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideNote(); });
}

start();
