// The tree: one row for each step, or for two that stand beside each other. Only the rows in sight
// are elements; the tree keeps the focus, and says with aria-activedescendant which row is meant.

const two = sides.length === 2;
const tree = document.getElementById("tree");
const rowsBox = document.getElementById("rows");
const narrow = matchMedia("(max-width: 760px)");
const OVERSCAN = 12;

// A node: {n, level, parent, end, steps, same, open, among, place}; its inside are the nodes up to
// before `end`; `place` is its number among those with the same parent.
let nodes = [];
const nodeOf = new Map();

let visible = [];
let selected = 0;
// Whether a node is to be seen at all; null: all are.
let shownNodes = null;
const elements = new Map();
let axes = [];
// The columns, widths in CSS; shown where they say something of some step.
const COLUMNS = [
  ["offset", "Offset", "46px", () => true],
  ["title", "Step", "minmax(140px, 6fr)", () => true],
  ["summary", "Summary", "minmax(60px, 6fr)", () => true],
  ["status", "Status", "84px", (step) => step.status],
  ["took", "Took", "58px", (step) => step.took],
  ["tokens", "Tokens", "80px", (step) => !two && step.tokens],
  ["line", "Time", "minmax(40px, 2fr)", (step) => !two && axes[step.side][1] > 1],
];
// Columns that a tree must be so wide for, in pixels.
const ROOM = { tokens: 700, line: 600 };
let filledColumns = COLUMNS;
let columns = COLUMNS;
let inheritedEnd = [];

// What is made of the steps; again where there are more of them.
function layOut() {
  nodes = makeNodes();
  nodeOf.clear();
  for (const node of nodes) for (const step of node.steps) if (step) nodeOf.set(step, node);
  axes = sides.map(axisOf);
  filledColumns = COLUMNS.filter(([, , , test]) => steps.some(test));
  inheritedEnd = sides.map(lastInherited);
}

function makeNodes() {
  const given = page.rows || steps.map((step) => [step.level, step.number, -1, 1]);
  const found = given.map(([level, left, right, same], n) => ({
    n, level, steps: [steps[left], two ? steps[right] : undefined], same: same === 1,
    parent: -1, end: n + 1, open: true, inside: { count: 0 },
  }));
  const top = { count: 0 };
  const path = [];
  for (const node of found) {
    while (path.length && path[path.length - 1].level >= node.level) path.pop().end = node.n;
    node.parent = path.length ? path[path.length - 1].n : -1;
    // Those inside one step, or inside none, are counted together.
    node.among = path.length ? path[path.length - 1].inside : top;
    node.place = node.among.count += 1;
    path.push(node);
  }
  while (path.length) path.pop().end = found.length;
  return found;
}

// The time that a side's bars are drawn on: [begin, length].
function axisOf(side) {
  const [begin, count] = side.steps;
  let first = Infinity;
  let last = -Infinity;
  for (let n = begin; n < begin + count; n += 1) {
    if (steps[n].inherited) continue;
    first = Math.min(first, steps[n].began);
    last = Math.max(last, endOfStep(steps[n]), steps[n].began + lengthOf(steps[n]));
  }
  return [first, Math.max(last - first, 1)];
}

// Of what goes on for a time, nanoseconds; the end of a run says how long the run took.
function lengthOf(step) {
  if (step.kind === "end") return 0;
  return step.took || (step.kind === "run" ? endOfStep(step) - step.began : 0);
}

// The last step that a run has from others.
function lastInherited(side) {
  const [begin, count] = side.steps;
  for (let n = begin + count - 1; n >= begin; n -= 1) {
    if (steps[n].inherited && steps[n].level === 0) return steps[n];
  }
  return null;
}

function drawColumns() {
  const box = document.getElementById("columns");
  box.className = two ? "two" : "";
  const widths = columns.map(([, , width]) => width).join(" ");
  document.getElementById("steps").style.setProperty("--columns", widths);
  const names = (side) =>
    two ? [made("code", "", side.run)] : columns.map(([name, title]) => made("span", name, title));
  box.replaceChildren(...sides.map((side) => made("div", "cell", ...names(side))));
}

const hasInside = (node) => node.end > node.n + 1;

function arrange() {
  visible = [];
  for (let n = 0; n < nodes.length; ) {
    const node = nodes[n];
    if (shownNodes && !shownNodes[n]) {
      n = node.end;
      continue;
    }
    visible.push(n);
    n = node.open ? n + 1 : node.end;
  }
  visible.forEach((n, row) => (nodes[n].row = row));
  if (!isVisible(selected) && visible.length) selected = nearestVisible(selected);
  elements.clear();
  rowsBox.replaceChildren();
  columns = filledColumns.filter(([name]) => narrow.matches || !(tree.clientWidth < ROOM[name]));
  drawColumns();
  rowsBox.style.height = `${visible.length * rowHeight()}px`;
  paint();
}

function isVisible(n) {
  return visible[nodes[n]?.row] === n;
}

// What a hidden node is folded into, or what is before it.
function nearestVisible(n) {
  for (let at = n; at >= 0; at = nodes[at].parent) if (isVisible(at)) return at;
  return visible.findLast((each) => each < n) ?? visible[0];
}

function rowHeight() {
  return narrow.matches ? 46 : 28;
}

function paint() {
  const height = rowHeight();
  const first = Math.max(0, Math.floor(tree.scrollTop / height) - OVERSCAN);
  const last = Math.min(visible.length, Math.ceil((tree.scrollTop + tree.clientHeight) / height) + OVERSCAN);
  paintRows(first, last);
}

function paintRows(first, last) {
  const wantedRows = new Set(visible.slice(first, last));
  // The row that is meant stays, so that a screen reader finds it.
  if (isVisible(selected)) wantedRows.add(selected);
  for (const [n, element] of elements) {
    if (wantedRows.has(n)) continue;
    element.remove();
    elements.delete(n);
  }
  for (const n of wantedRows) {
    if (elements.has(n)) continue;
    const element = rowOf(nodes[n]);
    element.style.top = `${nodes[n].row * rowHeight()}px`;
    elements.set(n, element);
    rowsBox.append(element);
  }
  mark();
}

function mark() {
  for (const [n, element] of elements) {
    element.setAttribute("aria-selected", String(n === selected));
  }
  if (elements.has(selected)) tree.setAttribute("aria-activedescendant", `step-${selected}`);
  else tree.removeAttribute("aria-activedescendant");
}

function rowOf(node) {
  const row = made("div", two ? "row two" : "row");
  row.id = `step-${node.n}`;
  row.setAttribute("role", "treeitem");
  row.setAttribute("aria-level", node.level + 1);
  row.setAttribute("aria-posinset", node.place);
  row.setAttribute("aria-setsize", node.among.count);
  if (hasInside(node)) row.setAttribute("aria-expanded", String(node.open));
  if (two && !node.same) {
    row.classList.add("differs");
    row.setAttribute("aria-description", "differs");
  }
  if (matches?.has(node.n)) row.classList.add("found");
  node.steps.slice(0, sides.length).forEach((step, side) => row.append(cellOf(node, step, side)));
  row.addEventListener("click", () => select(node.n, { open: true }));
  return row;
}

function cellOf(node, step, side) {
  if (!step) return made("div", "cell none");
  const cell = made("div", "cell");
  if (step.inherited) cell.classList.add("inherited");
  if (step.failed) cell.classList.add("failed");
  const title = made("span", "title", twistOf(node, side), kindOf(step.kind), made("b", "name", step.name));
  title.style.paddingInlineStart = `${Math.min(node.level, 12) * 14}px`;
  const status = statusOf(step);
  const parts = {
    offset: () => made("span", "offset", `@${step.offset}`),
    title: () => title,
    summary: () => made("span", "summary", originMark(step, side), summaryOf(step)),
    status: () => made("span", `status ${status.look}`, status.sign, " ", status.word),
    took: () => made("span", "took", step.took ? duration(step.took) : ""),
    tokens: () => made("span", "tokens", step.tokens ? tokenText(step.tokens) : ""),
    line: () => barOf(step, side),
  };
  for (const [name] of columns) cell.append(parts[name]());
  if (two && axes[side][1] > 1) cell.append(barOf(step, side));
  return cell;
}

function kindOf(kind) {
  const element = made("span", "kind", kind);
  element.dataset.kind = kind;
  return element;
}

function twistOf(node, side) {
  const twist = made("span", "twist", hasInside(node) && side === 0 ? (node.open ? "▾" : "▸") : "");
  if (hasInside(node)) {
    twist.addEventListener("click", (event) => {
      event.stopPropagation();
      select(node.n);
      fold(node, node.open);
    });
  }
  return twist;
}

// Where what the run has from another ends.
function originMark(step, side) {
  if (step !== inheritedEnd[side]) return null;
  const record = outcomeOf(step) || step.first;
  return made("span", "until", `up to here from ${placeOf(step.run, record)}`);
}

function barOf(step, side) {
  const [begin, length] = axes[side];
  const line = made("span", "line");
  if (step.inherited) return line;
  const bar = made("span", step.failed ? "bar bad" : "bar");
  bar.style.insetInlineStart = `${((step.began - begin) / length) * 100}%`;
  bar.style.width = `${(lengthOf(step) / length) * 100}%`;
  bar.classList.add(CALLS.has(step.kind) || step.kind === "run" ? step.kind : "moment");
  line.append(bar);
  return line;
}

// Moving and folding

function select(n, { open = false, focus = false } = {}) {
  if (n === undefined || n < 0 || n >= nodes.length) return;
  reveal(n);
  selected = n;
  scrollTo(n);
  paint();
  showDetail(nodes[n]);
  if (open && narrow.matches) document.body.classList.add("detailed");
  if (focus) tree.focus({ preventScroll: true });
}

// Unfold what a node is inside of.
function reveal(n) {
  let changed = !isVisible(n);
  for (let at = nodes[n].parent; at >= 0; at = nodes[at].parent) {
    if (!nodes[at].open) {
      nodes[at].open = true;
      changed = true;
    }
  }
  if (changed) {
    selected = n;
    arrange();
  }
}

function scrollTo(n) {
  const height = rowHeight();
  const top = nodes[n].row * height;
  const room = tree.clientHeight;
  if (top < tree.scrollTop) tree.scrollTop = Math.max(0, top - height);
  else if (top + height > tree.scrollTop + room) {
    // From afar to the middle; from near just into sight.
    const far = top > tree.scrollTop + room + 3 * height;
    tree.scrollTop = far ? top - room / 2 : top + 2 * height - room;
  }
}

function fold(node, shut) {
  if (!hasInside(node) || node.open !== shut) return;
  node.open = !shut;
  arrange();
}

function foldAll(shut) {
  for (const node of nodes) node.open = !shut;
  arrange();
  select(selected);
}

function move(by) {
  const row = Math.min(Math.max(nodes[selected].row + by, 0), visible.length - 1);
  select(visible[row]);
}

// The next node after the one that is meant for which `test` holds, around the end.
function nextWhere(test) {
  for (let by = 1; by <= nodes.length; by += 1) {
    const n = (selected + by) % nodes.length;
    if ((!shownNodes || shownNodes[n]) && nodes[n].steps.some((step) => step && test(step))) return n;
  }
  return undefined;
}
