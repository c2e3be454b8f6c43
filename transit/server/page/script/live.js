// A run that goes on: what comes is put into the page that is open. What is selected, unfolded and in
// sight stays so, unless the page is told to follow.

const dataElement = document.getElementById("data");
const liveButton = document.getElementById("live");
const liveSign = document.getElementById("live-sign");
let following = false;
let version = dataElement.dataset.version;
let stepOfKey = new Map();
let arrived = 0;

function takeKeys() {
  stepOfKey = new Map();
  (page.keys || []).forEach((key, n) => {
    steps[n].key = key;
    stepOfKey.set(key, steps[n]);
  });
}
takeKeys();

function take(message) {
  const told = JSON.parse(message.data);
  version = message.lastEventId;
  const there = remember();
  const changed = new Set();
  if (told.whole) takeWhole(told.whole, changed);
  else for (const more of told.more) takeMore(more, changed);
  arrived += 1;
  redraw(there, changed);
}

// Lists that grow long have no place among arguments of a call.
function fill(list, items) {
  for (const each of items) list.push(each);
}

function takeWhole(whole, changed) {
  Object.assign(page, { notes: whole.notes, keys: whole.keys, title: whole.title });
  for (const [list, items] of [[values, whole.values], [runs, whole.runs], [steps, whole.steps], [sides, whole.sides]]) {
    list.length = 0;
    fill(list, items);
  }
  owners.clear();
  placeSteps();
  steps.forEach(own);
  takeKeys();
  whole.keys.forEach((key) => changed.add(key));
}

function takeMore(more, changed) {
  fill(values, more.values);
  fill(runs, more.runs);
  sides[0] = more.side;
  if (more.notes) page.notes = more.notes;
  for (const [key, step] of more.steps) {
    step.key = key;
    stepOfKey.set(key, step);
    changed.add(key);
  }
  for (const [key, records] of more.chunks) {
    const step = stepOfKey.get(key);
    fill((step.chunks ||= []), records);
    changed.add(key);
  }
  page.keys.splice(more.at, more.drop, ...more.keys);
  steps.length = 0;
  fill(steps, page.keys.map((key) => stepOfKey.get(key)));
  placeSteps();
  for (const [key] of more.steps) own(stepOfKey.get(key));
}

// What the reader looks at, by keys, which stay when numbers change.
function remember() {
  const keyOf = (n) => nodes[n]?.steps[0].key;
  const first = visible[Math.floor(tree.scrollTop / rowHeight())];
  return {
    selected: keyOf(selected),
    first: first === undefined ? undefined : keyOf(first),
    by: tree.scrollTop % rowHeight(),
    shut: new Set(nodes.filter((node) => !node.open).map((node) => node.steps[0].key)),
    empty: nodes.length === 0,
  };
}

function redraw(there, changed) {
  for (const step of steps) step.notes = undefined;
  placeNotes();
  layOut();
  const nodeOfKey = new Map(nodes.map((node) => [node.steps[0].key, node]));
  for (const node of nodes) node.open = !there.shut.has(node.steps[0].key);
  selected = nodeOfKey.get(there.selected)?.n ?? 0;
  offerKinds();
  findWanted();
  keepFocus(document.getElementById("head"), drawHead);
  document.title = `${page.title} · transit`;
  arrange();
  const first = nodeOfKey.get(there.first);
  if (first && isVisible(first.n)) tree.scrollTop = first.row * rowHeight() + there.by;
  paint();
  sayCount(filteredTo);
  if (!nodes.length) return;
  if (following) followNewest();
  else if (there.empty) select(0);
  else if (changed.has(there.selected)) keepDetail();
  detailed = nodes[selected].n;
  sayLive();
}

// The newest step: what began last, or came to its end last.
function followNewest() {
  const at = (step) => (outcomeOf(step) || step.first)[1];
  let newest = nodes[0];
  for (const node of nodes) if (at(node.steps[0]) >= at(newest.steps[0])) newest = node;
  detailed = -1;
  select(newest.n);
}

// The detail drawn anew, with what was unfolded in it, where it was scrolled to.
function keepDetail() {
  const name = (each) => each.querySelector(":scope > summary")?.textContent;
  const open = new Set([...detail.querySelectorAll("details[open]")].map(name));
  const top = detail.scrollTop;
  keepFocus(detail, redrawDetail);
  for (const each of detail.querySelectorAll("details")) if (open.has(name(each))) each.open = true;
  detail.scrollTop = top;
}

// Draw a part anew; what of it has the focus has it afterwards.
function keepFocus(part, draw) {
  const within = () => [...part.querySelectorAll("button, summary, a")];
  const at = within().indexOf(document.activeElement);
  draw();
  if (at >= 0) within()[at]?.focus({ preventScroll: true });
}

// The connection

function sayLive(word) {
  if (!liveSign) return;
  if (word) liveButton.dataset.is = word;
  const is = liveButton.dataset.is;
  const signs = { live: following ? "● following" : "● live", waiting: "○ connecting", ended: "○ not live" };
  liveSign.textContent = signs[is];
  liveButton.classList.toggle("on", is === "live");
  liveButton.setAttribute("aria-pressed", String(following));
}

function setFollowing(is) {
  following = is;
  sayLive();
  say(is ? "Following what is new" : "No longer following");
  if (is && nodes.length) followNewest();
}

function connect() {
  const name = encodeURIComponent(dataElement.dataset.name);
  hear(() => `live?name=${name}&since=${encodeURIComponent(version)}`, {
    live: () => sayLive("live"),
    waiting: () => sayLive("waiting"),
    ended: (why) => {
      sayLive("ended");
      liveButton.title = plainText(why, 400);
      say(liveButton.title);
    },
    message: take,
    finished: () => {},
  });
}

// Places in addresses: `#@7`, or `#child@3` for a step of a run inside.

function placeInAddress(step) {
  const run = runs[step.run];
  return `#${run === sides[0].run ? "" : encodeURIComponent(run)}@${step.offset}`;
}

function goToAddress() {
  const found = /^#(.*)@(\d+)$/.exec(location.hash);
  if (!found) return;
  let run = sides[0].run;
  try {
    run = decodeURIComponent(found[1]) || run;
  } catch {
    return;
  }
  const offset = Number(found[2]);
  const holds = (step) =>
    runs[step.run] === run &&
    [step.first, step.last, ...(step.chunks || [])].some((record) => record && record[0] === offset);
  const step = steps.find((each) => each.side === 0 && holds(each));
  if (step) select(nodeOf.get(step).n, { open: true });
  else say(`There is no record ${offset} here`);
}

function keepAddress() {
  const step = nodes[selected]?.steps.find(Boolean);
  if (step) history.replaceState(null, "", placeInAddress(step));
}

// When all is drawn for the first time.
function beginLive() {
  goToAddress();
  addEventListener("hashchange", goToAddress);
  tree.addEventListener("keyup", keepAddress);
  tree.addEventListener("click", keepAddress);
  if (!liveButton) return;
  liveButton.addEventListener("click", () => setFollowing(!following));
  // Who moves to another step wants to stay there.
  for (const what of ["keydown", "click"]) {
    tree.addEventListener(what, (event) => {
      const stays = ["t", "?", "a", "Enter", "Tab", "Shift"].includes(event.key);
      if (following && !stays) setFollowing(false);
    }, { capture: true });
  }
  connect();
}

if (liveButton) KEYS.splice(-1, 0, [["t"], "follow what is new, or stop", () => setFollowing(!following)]);
queueMicrotask(beginLive);
