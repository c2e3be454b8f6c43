// Text and elements. Whatever a run recorded becomes text nodes: nothing here makes HTML of it.

// Characters that are not seen, or that change how others are seen: they are shown as escapes.
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f" +
    "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]" +
    "|\\udb40[\\udc00-\\udc7f]" +
    "|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
  "g",
);
const LINES_MAX = 24;
const CHARACTERS_MAX = 3000;

// What is searched for, in lower case; "" for nothing.
let wanted = "";

// Elements that say nothing recorded: there nothing is found.
const LABELS = new Set(["h3", "h4", "dt", "button", "option", "kbd"]);

// An element with a class, and children: elements, or text.
function made(tag, name = "", ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const child of children) {
    if (child === null || child === undefined) continue;
    const isNode = typeof child === "object";
    element.append(isNode || LABELS.has(tag) ? child : readable(String(child)));
  }
  return element;
}

function button(name, action, ...children) {
  const element = made("button", name, ...children);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

function escapeOf(found) {
  return [...Array(found.length).keys()]
    .map((n) => `\\u${found.charCodeAt(n).toString(16).padStart(4, "0")}`)
    .join("");
}

// Text as nodes: unseen characters as escapes, and what is searched for marked.
function readable(text) {
  const nodes = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    addMarked(nodes, text.slice(end, found.index));
    const escape = document.createElement("span");
    escape.className = "escape";
    escape.textContent = escapeOf(found[0]);
    nodes.append(escape);
    end = found.index + found[0].length;
  }
  addMarked(nodes, text.slice(end));
  return nodes;
}

function addMarked(nodes, text) {
  const lower = wanted ? text.toLowerCase() : "";
  let end = 0;
  // Where lower case has another length, places differ: then nothing is marked.
  while (wanted && lower.length === text.length) {
    const at = lower.indexOf(wanted, end);
    if (at < 0) break;
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + wanted.length);
    nodes.append(text.slice(end, at), mark);
    end = at + wanted.length;
  }
  if (end < text.length) nodes.append(text.slice(end));
}

// The first line of a text, at most so many characters.
function oneLine(text, most = 240) {
  const line = text.slice(0, most * 2).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

// A block of text, folded where it is long; found text is never folded away.
function textBlock(text, name = "text") {
  const block = made("pre", name);
  block.dir = "auto";
  const short = shortened(text);
  const hidden = wanted && text.slice(short.length).toLowerCase().includes(wanted);
  if (short.length === text.length || hidden) {
    block.append(readable(text));
    return block;
  }
  block.append(readable(short));
  const all = button("more", () => {
    block.replaceChildren(readable(text));
    all.remove();
    block.tabIndex = -1;
    block.focus();
  }, `Show all (${counted(text.length, "character")})`);
  const both = document.createDocumentFragment();
  both.append(block, all);
  return both;
}

function shortened(text) {
  let end = -1;
  for (let line = 0; line < LINES_MAX; line += 1) {
    end = text.indexOf("\n", end + 1);
    if (end < 0) break;
  }
  // A few lines more are not worth a click.
  if (end >= 0 && text.length - end < 200) end = -1;
  const most = end < 0 ? text.length : end;
  return most > CHARACTERS_MAX * 1.2 ? text.slice(0, CHARACTERS_MAX) : text.slice(0, most);
}

const NUMBER = new Intl.NumberFormat("en");

function number(count) {
  return NUMBER.format(count);
}

function counted(count, what) {
  return `${number(count)} ${what}${count === 1 ? "" : "s"}`;
}

function byteCount(count) {
  if (count < 1024) return counted(count, "byte");
  const units = ["KiB", "MiB", "GiB"];
  let size = count;
  let unit = -1;
  while (size >= 1024 && unit < 2) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toFixed(1)} ${units[unit]}`;
}

// Nanoseconds for people.
function duration(ns) {
  if (ns < 1000) return `${ns} ns`;
  if (ns < 1e6) return `${trimmed(ns / 1e3)} µs`;
  if (ns < 1e9) return `${trimmed(ns / 1e6)} ms`;
  const seconds = ns / 1e9;
  if (seconds < 60) return `${trimmed(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${number(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

function trimmed(value) {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

// UTC, to the microsecond. time: nanoseconds, a BigInt.
function utc(time) {
  const millis = time / 1000000n;
  const rest = ((time % 1000000000n) + 1000000000n) % 1000000000n;
  const date = new Date(Number(millis));
  if (Number.isNaN(date.getTime())) return `${time} ns`;
  const second = date.toISOString().slice(0, -5).replace("T", " ");
  return `${second}.${String(rest / 1000n).padStart(6, "0")} UTC`;
}
