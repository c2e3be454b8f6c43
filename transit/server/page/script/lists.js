// Lists that are looked at, kept up to date. What changes is changed in its place, and what is new
// comes where the order says. While somebody reads, with the pointer or the focus on a row, or text
// marked, that row stays where it is on the screen: rows that are there keep their order, and those
// that left the list are kept, paler, until the reader looks elsewhere.

const table = document.querySelector(".table[data-live]");
const body = table?.querySelector("tbody");
const ANNOUNCE_MS = 2000;
const SETTLE_MS = 400;
let listVersion = "";
let listOrder = [];
let arrivals = 0;
let announcing = 0;
let settling = 0;
let isUnsettled = false;
// The row that was kept in its place last, and where.
let kept = {};

const uidOf = (row) => row.dataset.uid;

// What the server made of a template: text, or a tag, its attributes and what is inside.
function grown(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attributes, inside] = tree;
  const element = document.createElement(tag);
  for (const [name, value] of attributes) element.setAttribute(name, value);
  element.append(...inside.map(grown));
  return element;
}

// Make what is there like what it should be, and touch nothing that is so already.
function change(old, wanted, isRow) {
  if (old.isEqualNode(wanted)) return;
  if (old.nodeName !== wanted.nodeName) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = wanted.data;
    return;
  }
  if (!isRow) {
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const olds = [...old.childNodes];
  const all = [...wanted.childNodes];
  all.forEach((each, n) => (n < olds.length ? change(olds[n], each, false) : old.append(each)));
  olds.slice(all.length).forEach((each) => each.remove());
}

// Where the reader is

function marked() {
  const selection = getSelection();
  if (selection.isCollapsed || !selection.anchorNode || !body.contains(selection.anchorNode)) return undefined;
  return [...body.rows].find((row) => row.contains(selection.anchorNode));
}

function readRow() {
  return body.querySelector("tr:hover") || document.activeElement.closest?.("tbody > tr") || marked();
}

// The row that should stay where it is: the one that is read, or the first in sight further down.
function anchorRow() {
  const read = readRow();
  if (read || scrollY === 0) return read;
  const top = document.getElementById("bar").getBoundingClientRect().bottom;
  return [...body.rows].find((row) => row.getBoundingClientRect().top >= top);
}

function keepingPlace(draw) {
  const anchor = anchorRow();
  const now = anchor?.getBoundingClientRect().top;
  // Browsers scroll by whole pixels. What is lost of one must not add up, time after time.
  const before = anchor && anchor === kept.row && Math.abs(now - kept.top) < 1 ? kept.top : now;
  kept = { row: anchor, top: before };
  draw(anchor);
  if (!anchor?.isConnected) return;
  const by = anchor.getBoundingClientRect().top - before;
  const page = document.scrollingElement;
  // A page that is too short to be scrolled so far grows.
  const needed = page.scrollTop + by + page.clientHeight;
  if (by > 0 && needed > page.scrollHeight) document.body.style.minHeight = `${Math.ceil(needed)}px`;
  if (by) scrollBy({ top: by, behavior: "instant" });
}

// The order

function place(fresh) {
  keepingPlace((anchor) => {
    const rows = new Map([...body.rows].map((row) => [uidOf(row), row]));
    for (const [uid, row] of fresh) rows.set(uid, row);
    const wanted = new Set(listOrder);
    const isRead = Boolean(readRow());
    let isAbove = isRead;
    for (const row of [...body.rows]) {
      const isGone = !wanted.has(uidOf(row));
      row.classList.toggle("gone", isGone);
      if (isGone && !isAbove) row.remove();
      // What is above the row that is read, and that row, stays.
      if (row === anchor) isAbove = false;
    }
    let last = null;
    for (const uid of listOrder) {
      const row = rows.get(uid);
      if (!row) continue;
      const isNew = !row.isConnected;
      if (isNew || (!isRead && row.previousElementSibling !== last)) {
        body.insertBefore(row, last ? last.nextElementSibling : body.firstElementChild);
      }
      last = row;
    }
    const shown = [...body.rows].map(uidOf);
    isUnsettled = shown.length !== listOrder.length || shown.some((uid, n) => uid !== listOrder[n]);
  });
}

// Once nobody reads any more, all is as the order says.
function settleLater() {
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (readRow()) return;
    if (isUnsettled) place(new Map());
    if (document.scrollingElement.scrollTop === 0) document.body.style.minHeight = "";
  }, SETTLE_MS);
}

function takeList(event) {
  const told = JSON.parse(event.data);
  const isFirst = !listVersion;
  listVersion = event.lastEventId;
  listOrder = told.order;
  const rows = new Map([...body.rows].map((row) => [uidOf(row), row]));
  const fresh = new Map();
  for (const [uid, tree] of told.rows) {
    const row = rows.get(uid);
    if (row) keepingPlace(() => change(row, grown(tree), true));
    else {
      fresh.set(uid, grown(tree));
      if (!isFirst || rows.size) fresh.get(uid).classList.add("new");
    }
  }
  table.hidden = !listOrder.length;
  document.getElementById("nothing").hidden = Boolean(listOrder.length);
  place(fresh);
  document.getElementById("count").textContent = told.count;
  const pager = document.getElementById("pager");
  change(pager, grown(["div", [["id", "pager"]], told.pager]), false);
  markPicked();
  announce(fresh.size);
}

function announce(count) {
  arrivals += count;
  if (!arrivals || announcing) return;
  announcing = setTimeout(() => {
    say(`${arrivals.toLocaleString("en")} new ${table.dataset.what}${arrivals === 1 ? "" : "s"}`);
    arrivals = announcing = 0;
  }, ANNOUNCE_MS);
}

if (table) {
  const sign = document.getElementById("live");
  const tell = (text, isOn, why = "") => {
    sign.textContent = text;
    sign.title = why;
    sign.classList.toggle("on", isOn);
  };
  // It is kept in place here.
  document.body.style.overflowAnchor = "none";
  body.addEventListener("pointerleave", settleLater);
  table.addEventListener("focusout", settleLater);
  document.addEventListener("selectionchange", () => isUnsettled && settleLater());
  hear(() => `${table.dataset.live}&since=${encodeURIComponent(listVersion)}`, {
    live: () => tell("● live", true),
    waiting: () => tell("○ connecting", false),
    ended: (why) => tell("○ not live", false, why),
    message: takeList,
    finished: () => {},
  });
}
