// The record: what replays the run, and everything that was written down about it.

function record(data) {
  const written = data.manifest && Object.keys(data.manifest).length > 0;
  if (!written && !data.config) return;
  const body = section("record", "The record", "What is needed to run this again and to check it.");
  if (data.config) {
    const text = el("pre", { tabindex: 0, "aria-label": "config.yaml" }, el("code", {}, said(data.config)));
    const button = el("button", { type: "button", text: "Copy", on: { click: () => copy(data.config, text, button) } });
    body.append(el("div", { class: "config-head" }, el("h3", { text: "config.yaml" }), button), text);
  }
  if (written) {
    body.append(el("h3", { text: "manifest.json" }), el("div", { class: "tree" }, entries(data.manifest)));
  }
}

// A branch is filled when it is first opened, so that a large manifest costs nothing before.
function entries(value) {
  return Object.entries(value).map(([name, each]) => {
    if (each === null || typeof each !== "object") {
      return el("div", { class: "leaf" }, el("span", { class: "leaf-name" }, said(name)), el("span", { class: "leaf-value" }, said(each === null ? NONE : each)));
    }
    const size = Array.isArray(each) ? plural(each.length, "item") : plural(Object.keys(each).length, "entry", "entries");
    const branch = el("details", { on: { toggle: () => {
      if (branch.open && branch.childElementCount === 1) branch.append(el("div", { class: "branch" }, entries(each)));
    } } }, el("summary", {}, said(name), el("span", { class: "size", text: size })));
    return branch;
  });
}

async function copy(text, shown, button) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    // Not every browser gives files the clipboard: what is marked can still be copied by hand.
    getSelection().selectAllChildren(shown);
  }
  button.textContent = done ? "Copied" : "Marked: press Ctrl+C";
  setTimeout(() => { button.textContent = "Copy"; }, 2500);
}
