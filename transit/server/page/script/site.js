// Lists by keyboard, two runs to be chosen, and records as they come. Whatever a store holds becomes
// text nodes.

const rowsOf = () => [...document.querySelectorAll(".rows > li, .rows > tbody > tr")];
const help = document.getElementById("site-help");
const said = document.getElementById("said");
let lastKey = "";
let lastKeyAt = 0;

function say(text) {
  said.textContent = text;
}

// Moving

function linkOf(row) {
  return row?.querySelector("th a, a");
}

function move(by) {
  const rows = rowsOf();
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
  const link = linkOf(rows[next]);
  link?.focus();
  link?.scrollIntoView({ block: "nearest" });
}

function goTo(selector) {
  document.querySelector(selector)?.click();
}

// Two runs beside each other

const besideButton = document.getElementById("beside");
const picked = [];

function pick(row, is) {
  const name = row.dataset.name;
  if (is) picked.push(name);
  else picked.splice(picked.indexOf(name), 1);
  if (picked.length > 2) {
    const first = picked.shift();
    // It may be on the list no more.
    const old = rowsOf().find((each) => each.dataset.name === first);
    if (old) old.querySelector("input").checked = false;
  }
  markPicked();
  besideButton.disabled = picked.length !== 2;
  say(picked.length === 2 ? "Two runs are chosen" : "One more run is needed");
}

function markPicked() {
  for (const each of rowsOf()) {
    const is = picked.includes(each.dataset.name);
    each.classList.toggle("picked", is);
    // One that left the list and came back.
    if (is) each.querySelector("input").checked = true;
  }
}

function showBeside() {
  if (picked.length !== 2) return say("Choose two runs with x first");
  // As they are listed, the older on the left.
  const order = rowsOf().map((row) => row.dataset.name);
  const [right, left] = [...picked].sort((one, other) => order.indexOf(one) - order.indexOf(other));
  location.assign(`beside?left=${encodeURIComponent(left)}&right=${encodeURIComponent(right)}`);
}

if (besideButton) {
  for (const row of rowsOf()) {
    // A page that is come back to shows boxes as they were left.
    row.querySelector("input").checked = false;
  }
  document.addEventListener("change", (event) => {
    const row = event.target.closest(".rows > tbody > tr");
    if (row && event.target.type === "checkbox") pick(row, event.target.checked);
  });
  besideButton.addEventListener("click", showBeside);
}

function choose() {
  const box = rowsOf().find((row) => row.contains(document.activeElement))?.querySelector("input");
  box?.click();
}

// Keys

const ACTIONS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  x: choose, b: showBeside, n: () => goTo("a[rel=next]"), p: () => goTo("a[rel=prev]"),
  "/": () => document.querySelector("[data-focus]")?.select(),
  "?": () => help.showModal(),
};

function isTyping(target) {
  return target.matches("select, textarea, input:not([type=checkbox])");
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && event.target.matches("textarea")) {
    event.target.form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const isSecond = lastKey === "g" && event.timeStamp - lastKeyAt < 1500;
  lastKey = isSecond ? "" : event.key;
  lastKeyAt = event.timeStamp;
  const tab = isSecond && document.querySelector(`#bar [data-key="${CSS.escape(event.key)}"]`);
  const action = tab ? () => tab.click() : ACTIONS[event.key];
  if (!action || (event.key === "ArrowDown" && event.target.closest("details"))) return;
  event.preventDefault();
  action();
});
document.getElementById("site-keys")?.addEventListener("click", () => help.showModal());

// Records as they come

const list = document.querySelector("ol.records[data-stream]");
const SHOWN_MAX = 1000;

function made(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

function recordView(record) {
  const link = made("a", "", `@${record.offset}`);
  link.href = `stream?name=${encodeURIComponent(list.dataset.stream)}&at=${record.offset}`;
  const time = made("time", "", record.time);
  time.dateTime = record.at;
  const head = made("div", "record-head", link, " ", time, " ");
  if (record.origin) head.append(made("span", "quiet", `from ${record.origin}`), " ");
  head.append(made("span", "quiet", `${record.size.toLocaleString("en")} bytes`));
  for (const [key, value] of record.headers) head.append(" ", made("span", "score", `${key}: ${value.slice(0, 200)}`));
  const row = made("li", "new", head, made("pre", "text", record.text));
  if (record.left) row.append(made("p", "note", `${record.left.toLocaleString("en")} bytes more: open @${record.offset}`));
  return row;
}

function addRecord(record) {
  const page = document.documentElement;
  const atEnd = page.scrollTop + page.clientHeight >= page.scrollHeight - 40;
  document.getElementById("nothing")?.remove();
  list.append(recordView(record));
  while (list.childElementCount > SHOWN_MAX) list.firstElementChild.remove();
  document.getElementById("count").textContent = `${(record.offset + 1).toLocaleString("en")} records`;
  const last = document.getElementById("last");
  if (last) last.textContent = record.offset.toLocaleString("en");
  if (atEnd) page.scrollTop = page.scrollHeight;
}

function follow() {
  const live = document.getElementById("live");
  const name = encodeURIComponent(list.dataset.stream);
  const tell = (text, on) => {
    live.textContent = text;
    live.classList.toggle("on", on);
  };
  hear(() => `live?stream=${name}&from=${list.dataset.from}`, {
    live: () => tell("● live", true),
    waiting: () => tell("○ connecting", false),
    ended: () => tell("○ not live", false),
    message: (event) => {
      list.dataset.from = event.lastEventId;
      addRecord(JSON.parse(event.data));
    },
    finished: () => tell("finished", false),
  });
}

if (list) follow();
