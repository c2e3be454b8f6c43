"use strict";

// The data of the page, and values in their packed form: transit/trace/page/values.py describes it.

const page = JSON.parse(document.getElementById("data").textContent);
const values = page.values;

// Where items of a list are left out, something stands for them.
for (const value of [...values]) {
  if (markOf(value) !== "list" || !value.left) continue;
  const [at, count] = value.left;
  value.then.splice(at, 0, values.push({ $: "gap", count }) - 1);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// The mark of a packed value: "number", "object", "list", "cut", "gap", or undefined for plain JSON.
function markOf(value) {
  return isObject(value) && Object.hasOwn(value, "$") ? value.$ : undefined;
}

// The value a packed one stands for; what is inside it stays packed.
function opened(packed) {
  const mark = markOf(packed);
  return typeof mark === "number" ? values[mark] : packed;
}

// The numbers of a list's items, each with the list that brought it.
function itemsOf(number) {
  const chain = [];
  let wanted = Infinity;
  for (let at = number; ; ) {
    const list = values[at];
    const [before, same] = list.same || [-1, 0];
    chain.push({ list: at, then: list.then, same, wanted });
    if (before < 0) break;
    wanted = Math.min(wanted, same);
    at = before;
  }
  const items = [];
  for (const { list, then, same, wanted } of chain.reverse()) {
    const begin = Math.min(same, wanted);
    items.length = begin;
    for (let n = 0; n < then.length && begin + n < wanted; n += 1) {
      items.push({ value: then[n], list });
    }
  }
  return items;
}

// The members of an object or a list as [key, packed value]; undefined for anything else.
function membersOf(packed) {
  const mark = markOf(packed);
  if (typeof mark === "number" && markOf(values[mark]) === "list") {
    return itemsOf(mark).map((item, n) => [n, { $: item.value }]);
  }
  const value = opened(packed);
  if (Array.isArray(value)) return value.map((each, n) => [n, each]);
  if (markOf(value) === "object") return value.of;
  return isObject(value) && markOf(value) === undefined ? Object.entries(value) : undefined;
}

function isList(packed) {
  const value = opened(packed);
  return Array.isArray(value) || markOf(value) === "list";
}

// The member of an object, opened; undefined where there is none.
function memberOf(packed, key) {
  const value = opened(packed);
  if (markOf(value) === "object") {
    const found = value.of.find((each) => each[0] === key);
    return found && opened(found[1]);
  }
  return isObject(value) && Object.hasOwn(value, key) ? opened(value[key]) : undefined;
}

// A member that is text; "" where it is anything else.
function textMember(packed, key) {
  const found = memberOf(packed, key);
  return typeof found === "string" ? found : textOfCut(found);
}

function textOfCut(value) {
  return markOf(value) === "cut" && !value.json ? value.head : "";
}

// JSON text of a value; it ends, unfinished, where it is longer than `most` characters.
function jsonText(packed, indent = "", most = Infinity) {
  const parts = [];
  let left = most;
  const put = (text) => {
    parts.push(text);
    left -= text.length;
  };
  const write = (packed, margin) => {
    if (left <= 0) return;
    const members = membersOf(packed);
    if (members === undefined) return put(scalarText(opened(packed)));
    const list = isList(packed);
    if (members.length === 0) return put(list ? "[]" : "{}");
    const inner = margin + indent;
    const gap = indent ? "\n" : "";
    put(list ? "[" : "{");
    members.forEach(([key, value], n) => {
      if (left <= 0) return;
      put((n ? (indent ? "," : ", ") : "") + gap + (indent ? inner : ""));
      if (!list) put(`${JSON.stringify(key)}: `);
      write(value, inner);
    });
    put(gap + (indent ? margin : "") + (list ? "]" : "}"));
  };
  write(packed, "");
  return parts.join("");
}

// JSON text of what has no members.
function scalarText(value) {
  const mark = markOf(value);
  if (mark === "number") return value.is;
  if (mark === "gap") return `… ${counted(value.count, "item")} left out here`;
  if (mark === "cut") return value.json ? cutText(value) : JSON.stringify(cutText(value));
  return JSON.stringify(value);
}

function cutText(cut) {
  return cut.tail ? `${cut.head} … ${cut.tail}` : cut.head;
}

// Text of a value: itself where it is text, else its JSON.
function plainText(packed, most = Infinity) {
  const value = opened(packed);
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "";
  return markOf(value) === "cut" ? cutText(value) : jsonText(packed, "", most);
}
