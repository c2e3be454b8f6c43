// Keys, and the beginning of everything.

const help = document.getElementById("help");
let lastKey = "";
let lastKeyAt = 0;

// Of each key, or keys: what it does, and its function.
const KEYS = [
  [["j", "ArrowDown"], "next step", () => move(1)],
  [["k", "ArrowUp"], "step before", () => move(-1)],
  [["l", "ArrowRight"], "unfold, or go inside", goIn],
  [["h", "ArrowLeft"], "fold, or go out", goOut],
  [["Enter"], "into the detail", enterDetail],
  [["Escape"], "back", goBack],
  [["/"], "search", () => query.select()],
  [["n"], "next match", () => goToMatch(1)],
  [["N"], "match before", () => goToMatch(-1)],
  [["f"], "next failed step", () => jump((step) => step.failed, "Nothing failed")],
  [["m"], "next model call", () => jump((step) => step.kind === "model", "No model calls")],
  [["c"], "next child run", () => jump((step) => step.kind === "run", "No child runs")],
  [["L"], "longest call, then the next longest", goToLongest],
  [["d"], "first difference", goToDifference],
  [["g g", "Home"], "first step", () => select(visible[0])],
  [["G", "End"], "last step", () => select(visible[visible.length - 1])],
  [["PageDown"], "a page down", () => move(pageRows())],
  [["PageUp"], "a page up", () => move(-pageRows())],
  [["e"], "unfold all", () => foldAll(false)],
  [["E"], "fold all", () => foldAll(true)],
  [["?"], "these keys", () => help.showModal()],
];
const ACTIONS = new Map();
const SHOWN_KEYS = { ArrowDown: "↓", ArrowUp: "↑", ArrowRight: "→", ArrowLeft: "←", Escape: "Esc" };

function pageRows() {
  return Math.max(1, Math.floor(tree.clientHeight / rowHeight()) - 1);
}

function goIn() {
  const node = nodes[selected];
  if (!hasInside(node)) return;
  if (!node.open) return fold(node, false);
  if (isVisible(node.n + 1)) select(node.n + 1);
}

function goOut() {
  const node = nodes[selected];
  if (hasInside(node) && node.open) return fold(node, true);
  select(node.parent);
}

function enterDetail() {
  document.body.classList.add("detailed");
  detail.focus();
}

function goBack() {
  if (document.body.classList.contains("detailed") || detail.contains(document.activeElement)) leaveDetail();
  else if (query.value || failedChoice.checked || kindChoice.value) {
    query.value = kindChoice.value = "";
    failedChoice.checked = false;
    search();
  }
  tree.focus();
}

function jump(test, nothing) {
  const n = nextWhere(test);
  if (n === undefined) return say(nothing);
  select(n);
}

let longest = -1;

// The longest call; again: the one after it.
function goToLongest() {
  const took = (node) => Math.max(...node.steps.map((step) => (step && CALLS.has(step.kind) && step.took) || 0));
  const calls = nodes.filter((node) => took(node) > 0 && (!shownNodes || shownNodes[node.n]));
  if (!calls.length) return say("No call says how long it took");
  calls.sort((one, other) => took(other) - took(one) || one.n - other.n);
  const at = selected === longest ? calls.findIndex((node) => node.n === longest) : -1;
  const found = calls[(at + 1) % calls.length];
  longest = found.n;
  select(found.n);
  say(`Took ${duration(took(found))}`);
}

function goToDifference() {
  if (!two) return;
  const node = nodes.find((each) => !each.same);
  if (!node) return say("No difference");
  select(node.n);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function isTyping(target) {
  return target.matches('select, textarea, input:not([type="checkbox"])');
}

// Keys that what has the focus has a use for.
function isTheirs(event) {
  const target = event.target;
  if (target === tree || target === document.body) return false;
  if (event.key === "Enter") return true;
  return /^(Arrow|Page|Home|End)/.test(event.key) && detail.contains(target);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping(event.target) && event.key !== "Escape") return;
  if (isTheirs(event)) return;
  const now = event.timeStamp;
  const both = `${lastKey} ${event.key}`;
  const key = ACTIONS.has(both) && now - lastKeyAt < 1500 ? both : event.key;
  lastKey = key === both ? "" : event.key;
  lastKeyAt = now;
  const action = ACTIONS.get(key);
  if (!action) return;
  event.preventDefault();
  if (!detail.contains(event.target) && key !== "/" && key !== "Enter") tree.focus({ preventScroll: true });
  action();
  if (wanted) sayCount(0);
});

function drawHelp() {
  const list = made("dl", "keys");
  for (const [keys, what, action] of KEYS) {
    if (action === goToDifference && !two) continue;
    const names = made("dt");
    keys.forEach((key, n) => names.append(n ? " or " : "", made("kbd", "", SHOWN_KEYS[key] || key)));
    list.append(made("div", "", names, made("dd", "", what)));
  }
  const title = made("h2", "", "Keys");
  title.id = "help-title";
  help.append(title, list, button("", () => help.close(), "Close"));
  help.addEventListener("close", () => tree.focus());
}

// The kinds of steps there are, to choose from.
function offerKinds() {
  const offered = new Set([...kindChoice.options].map((option) => option.value));
  for (const kind of [...new Set(steps.map((step) => step.kind))].sort()) {
    if (offered.has(kind)) continue;
    const option = made("option", "", kind);
    option.value = kind;
    kindChoice.append(option);
  }
}

function begin() {
  document.title = document.title || page.title;
  for (const [keys, , action] of KEYS) for (const key of keys) ACTIONS.set(key, action);
  layOut();
  drawHead();
  drawHelp();
  offerKinds();
  for (const id of ["tools", "main"]) document.getElementById(id).hidden = false;
  document.getElementById("expand").addEventListener("click", () => foldAll(false));
  document.getElementById("collapse").addEventListener("click", () => foldAll(true));
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  const difference = document.getElementById("difference");
  difference.hidden = !two;
  difference.addEventListener("click", goToDifference);
  tree.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  addEventListener("resize", () => arrange());
  narrow.addEventListener("change", () => arrange());
  // On paper all rows are there.
  addEventListener("beforeprint", () => paintRows(0, visible.length));
  addEventListener("afterprint", () => paint());
  document.body.classList.toggle("two-runs", two);
  arrange();
  if (!nodes.length) {
    rowsBox.append(made("p", "quiet", "Nothing was recorded."));
    return;
  }
  select(0);
  if (two) goToDifference();
  tree.focus({ preventScroll: true });
}
