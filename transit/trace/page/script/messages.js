// Messages of requests and responses, in the shapes that services have.

const MESSAGE_LISTS = ["messages", "input", "contents"];
const SYSTEMS = ["system", "instructions", "systemInstruction", "system_instruction"];
const CALL_PARTS = new Set(["tool_use", "server_tool_use", "mcp_tool_use", "function_call"]);

// What a request consists of: messages as {packed, role, list}, and the other members.
function requestOf(packed) {
  if (isList(packed)) return { messages: listed(packed), rest: [] };
  const members = membersOf(packed);
  if (members === undefined) {
    return { messages: packed === undefined ? [] : [{ packed, role: "user" }], rest: [] };
  }
  const systems = members.filter(([key, value]) => SYSTEMS.includes(key) && opened(value) !== null);
  const messages = systems.map(([, value]) => ({ packed: value, role: "system" }));
  const rest = [];
  for (const [key, value] of members) {
    if (MESSAGE_LISTS.includes(key) && isList(value)) messages.push(...listed(value));
    else if ((key === "input" || key === "prompt") && typeof opened(value) === "string") {
      messages.push({ packed: value, role: "user" });
    } else if (!systems.some((each) => each[0] === key)) rest.push([key, value]);
  }
  return { messages, rest };
}

function listed(packed) {
  const mark = markOf(packed);
  if (typeof mark === "number" && markOf(values[mark]) === "list") {
    return itemsOf(mark).map((item) => ({ packed: { $: item.value }, list: item.list }));
  }
  return membersOf(packed).map(([, value]) => ({ packed: value }));
}

// The list that a request's list goes on from, and how many items of it.
function wentOnFrom(request) {
  const members = isList(request) ? [["messages", request]] : membersOf(request) || [];
  const lists = members.filter(([key]) => MESSAGE_LISTS.includes(key)).map(([, value]) => value);
  for (const each of lists) {
    const mark = markOf(each);
    const list = typeof mark === "number" ? values[mark] : undefined;
    if (markOf(list) !== "list") continue;
    const owner = owners.get(mark);
    if (owner && inputOf(owner) !== request) return { list: mark, count: itemsOf(mark).length };
    if (list.same) return { list: list.same[0], count: list.same[1] };
  }
  return undefined;
}

// The message in a model's response, packed.
function answerOf(packed) {
  const choices = memberOf(packed, "choices");
  for (const [, choice] of isList(choices) ? membersOf(choices) : []) {
    const message = memberOf(choice, "message");
    if (isObject(message)) return message;
  }
  const message = memberOf(packed, "message");
  return isObject(message) && markOf(message) === undefined ? message : packed;
}

// Whether a value has the form of a message.
function isMessage(packed) {
  return ["role", "content", "tool_calls", "parts"].some((key) => memberOf(packed, key) !== undefined);
}

function contentOf(message) {
  for (const key of ["content", "parts", "output"]) {
    const found = memberOf(message, key);
    if (found !== undefined && found !== null) return isList(found) ? packedAt(message, key) : found;
  }
  return undefined;
}

function packedAt(packed, key) {
  return (membersOf(packed) || []).find((each) => each[0] === key)?.[1];
}

// The calls of tools in a message, as [name, packed arguments].
function callsOf(message) {
  const calls = [];
  for (const [, call] of membersOf(memberOf(message, "tool_calls")) || []) {
    const inner = memberOf(call, "function");
    const whole = isObject(inner) ? inner : call;
    const name = textMember(whole, "name") || (typeof inner === "string" ? inner : "");
    calls.push([name, parsed(packedAt(whole, "arguments"))]);
  }
  return calls;
}

// Arguments that are written as JSON text, as what they say.
function parsed(packed) {
  const value = opened(packed);
  if (typeof value !== "string" || !/^\s*[{[]/.test(value)) return packed;
  try {
    return JSON.parse(value, (key, each) => (isObject(each) && Object.hasOwn(each, "$") ? marked(each) : each));
  } catch {
    return packed;
  }
}

// An object with a key that would be taken for a mark.
function marked(object) {
  return { $: "object", of: Object.entries(object) };
}

// The text of a message, in one piece.
function messageText(packed) {
  const value = opened(packed);
  if (typeof value === "string") return value;
  const content = contentOf(packed);
  const said = content === undefined ? "" : contentText(content);
  const calls = callsOf(packed).map(([name, args]) => `${name}(${oneLine(argumentText(args), 120)})`);
  if (said || calls.length) return [said, ...calls].filter(Boolean).join("  ");
  return isMessage(packed) ? "" : plainText(packed, 400);
}

function contentText(content) {
  if (!isList(content)) return plainText(content, 400);
  return membersOf(content).map(([, part]) => partText(part)).filter(Boolean).join(" ");
}

function partText(part) {
  if (typeof opened(part) === "string") return opened(part);
  const kind = textMember(part, "type");
  if (CALL_PARTS.has(kind)) {
    const args = packedAt(part, "input") ?? packedAt(part, "arguments");
    return `${textMember(part, "name")}(${oneLine(argumentText(args), 120)})`;
  }
  const text = textMember(part, "text") || textMember(part, "thinking");
  if (text) return text;
  const content = contentOf(part);
  return content === undefined ? plainText(part, 200) : contentText(content);
}

function answerText(packed) {
  return packed === undefined ? "" : messageText(answerOf(packed));
}
