// Search: which steps say a text, among those that are to be seen.

const query = document.getElementById("query");
const kindChoice = document.getElementById("kind");
const failedChoice = document.getElementById("failed");
const count = document.getElementById("count");

// The nodes that say what is searched for, null where nothing is.
let matches = null;
let ordered = [];
let inHead = false;

// Of each value whether it says the text; those it refers to come before it.
function valuesWith(text) {
  const found = new Uint8Array(values.length);
  values.forEach((value, n) => (found[n] = says(value, text, found) ? 1 : 0));
  return found;
}

function says(packed, text, found) {
  const mark = markOf(packed);
  if (typeof mark === "number") return found[mark] === 1;
  if (typeof packed === "string") return packed.toLowerCase().includes(text);
  // What a list goes on from is found where it was said first.
  if (mark === "list") return packed.then.some((n) => found[n] === 1);
  if (mark === "number") return packed.is.includes(text);
  if (mark === "gap") return false;
  if (mark === "cut") return packed.head.toLowerCase().includes(text) || packed.tail.toLowerCase().includes(text);
  if (typeof packed !== "object" || packed === null) return String(packed).includes(text);
  if (Array.isArray(packed)) return packed.some((each) => says(each, text, found));
  const members = mark === "object" ? packed.of : Object.entries(packed);
  return members.some(([key, each]) => key.toLowerCase().includes(text) || says(each, text, found));
}

function stepSays(step, text, found) {
  const named = `${step.kind} ${step.name || ""} ${step.status || ""}`.toLowerCase();
  if (named.includes(text)) return true;
  // "run@7" and "@7" are places; the name of the run alone is no text of each step.
  if (text.includes("@") && placeText(step).endsWith(text)) return true;
  const records = [step.first, step.last, ...(step.chunks || [])];
  if (records.some((each) => each && (says(each[2], text, found) || (each[4] && says(each[4], text, found))))) {
    return true;
  }
  return notesAt(step).some((note) => says(note, text, found));
}

function placeText(step) {
  return `${runs[step.run]}@${step.offset}`.toLowerCase();
}

function isWanted(step) {
  if (failedChoice.checked && !step.failed) return false;
  return !kindChoice.value || step.kind === kindChoice.value;
}

function search() {
  findWanted();
  drawHead();
  inHead = wanted !== "" && document.getElementById("head").querySelector("mark") !== null;
  arrange();
  sayCount(filteredTo);
  redrawDetail();
}

// How many nodes a filter leaves, 0 without one.
let filteredTo = 0;

// Which nodes are searched for, and which are to be seen.
function findWanted() {
  wanted = query.value.toLowerCase();
  const filtered = failedChoice.checked || kindChoice.value !== "";
  const found = wanted ? valuesWith(wanted) : null;
  const wantedNodes = nodes.filter((node) => node.steps.some((step) => step && isWanted(step)));
  matches = null;
  ordered = [];
  if (wanted) {
    const hasText = (step) => step && stepSays(step, wanted, found);
    ordered = wantedNodes.filter((node) => node.steps.some(hasText)).map((node) => node.n);
    matches = new Set(ordered);
  }
  shownNodes = filtered ? withOuter(wantedNodes) : null;
  filteredTo = filtered ? wantedNodes.length : 0;
}

// Nodes, and those they are inside of.
function withOuter(wantedNodes) {
  const shown = new Uint8Array(nodes.length);
  for (const node of wantedNodes) {
    for (let n = node.n; n >= 0 && !shown[n]; n = nodes[n].parent) shown[n] = 1;
  }
  return shown;
}

function sayCount(left) {
  if (!wanted) {
    count.textContent = left ? counted(left, "step") : "";
    if (!left && shownNodes) count.textContent = "no steps";
    return;
  }
  const at = ordered.indexOf(selected);
  const place = at >= 0 ? `${number(at + 1)} of ` : "";
  count.textContent = `${place}${counted(ordered.length, "step")}${inHead ? ", and above" : ""}`;
}

function goToMatch(by) {
  if (!ordered.length) return say(wanted ? "Nothing found" : "Nothing is searched for");
  const after = ordered.findIndex((n) => n > selected);
  const before = ordered.findLastIndex((n) => n < selected);
  const next = by > 0 ? (after < 0 ? 0 : after) : before < 0 ? ordered.length - 1 : before;
  select(ordered[next]);
  sayCount(0);
  say(count.textContent);
}

let waiting = 0;
query.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, steps.length > 3000 ? 200 : 60);
});
query.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  event.stopPropagation();
  clearTimeout(waiting);
  if (event.key === "Escape" && query.value) {
    query.value = "";
    search();
    return;
  }
  if (query.value.toLowerCase() !== wanted) search();
  if (event.key === "Enter" && wanted) {
    if (matches.has(selected) && !event.shiftKey) select(selected);
    else goToMatch(event.shiftKey ? -1 : 1);
  }
  sayCount(0);
  tree.focus();
});
kindChoice.addEventListener("change", search);
failedChoice.addEventListener("change", search);
document.getElementById("next").addEventListener("click", () => goToMatch(1));
document.getElementById("previous").addEventListener("click", () => goToMatch(-1));
