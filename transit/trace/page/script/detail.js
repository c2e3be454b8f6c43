// The detail of a step: all that was recorded of it, made when it is looked at.

const detail = document.getElementById("detail");
const MEMBERS_SHOWN = 100;
let detailed = -1;

function showDetail(node) {
  if (detailed === node.n) return;
  detailed = node.n;
  const parts = node.steps.slice(0, sides.length).map((step, side) => stepDetail(step, side));
  const back = button("back", () => leaveDetail(), "‹ Steps");
  detail.replaceChildren(back, made("div", two ? "both" : "one", ...parts));
  detail.scrollTop = 0;
  // What is found in a part that is folded is unfolded.
  if (wanted && matches?.has(node.n) && !detail.querySelector("mark")) {
    for (const each of detail.querySelectorAll("details.records, details.record")) each.open = true;
  }
}

function redrawDetail() {
  detailed = -1;
  if (nodes.length) showDetail(nodes[selected]);
}

function leaveDetail() {
  document.body.classList.remove("detailed");
  tree.focus();
}

function stepDetail(step, side) {
  if (!step) return made("article", "", made("p", "quiet", "No such step in this run."));
  const article = made("article", "", detailHead(step, side), factsOf(step, side));
  for (const note of notesAt(step)) article.append(noteView(note));
  const error = errorOf(step);
  if (error) article.append(section("Error", errorView(error, step)));
  const input = step.kind === "call" ? callArguments(inputOf(step)) : inputOf(step);
  if (step.kind === "model") article.append(...conversation(input, step));
  else if (input !== undefined) article.append(section("Input", valueView(input, whereOf(step, step.first))));
  article.append(...outputView(step));
  if (step.chunks) article.append(chunksView(step));
  article.append(recordsView(step));
  return article;
}

function whereOf(step, record) {
  return placeOf(step.run, record);
}

function section(title, ...children) {
  return made("section", "part", made("h3", "", title), ...children);
}

function detailHead(step, side) {
  const status = statusOf(step);
  const head = made("header", "detail-head", kindOf(step.kind), made("h2", "", step.name || step.kind));
  if (status.word) head.append(made("span", `status ${status.look}`, status.sign, " ", status.word));
  if (two) head.append(made("span", "side", side === 0 ? "left: " : "right: ", sides[side].run));
  return head;
}

function factsOf(step, side) {
  const facts = [["Record", placeOf(step.run, step.first)]];
  const outcome = step.last;
  if (outcome) facts.push(["Outcome", placeOf(step.run, outcome)]);
  facts.push(["Began", `${utc(timeOf(side, step.began))}  (${sinceBegin(step.began - axes[side][0])})`]);
  if (outcome) facts.push(["Ended", utc(timeOf(side, outcome[1]))]);
  if (step.took) facts.push(["Took", duration(step.took)]);
  if (step.tokens) facts.push(["Tokens", `${tokenText(step.tokens)}  (in / out)`]);
  if (step.cost !== undefined) facts.push(["Cost", costText(step.cost)]);
  facts.push(...toldOf(step));
  if (step.inherited) facts.push(["Inherited", `recorded as ${placeOf(step.run, step.first)}`]);
  if (step.kind === "run") facts.push(["Inside", insideText(step)]);
  return factList(facts);
}

// What else an outcome says of itself.
const TOLD = [
  ["gen_ai.response.model", "Answered by"],
  ["gen_ai.response.finish_reasons", "Finished"],
  // Read from a cache, written to it, and those read that are among the input tokens.
  ["cached_tokens", "Cached"],
  ["usage", "Usage"],
  ["artifact_id", "Artifact"],
  ["evaluator_id", "Evaluator"],
  ["decision", "Decision"],
  ["score", "Score"],
  ["subject_ref", "About"],
  ["reason", "Reason"],
  ["digest", "BLAKE3"],
];

function toldOf(step) {
  const record = outcomeOf(step);
  if (record === null || step.kind === "unknown") return [];
  const event = eventOf(record);
  const told = TOLD.filter(([key]) => packedMember(event, key) !== undefined);
  return told.map(([key, name]) => [name, memberText(packedMember(event, key))]);
}

// A value in a line: members with their names, items without.
function memberText(packed) {
  const members = membersOf(packed);
  if (members === undefined) return plainText(packed);
  const list = isList(packed);
  return members.map(([key, value]) => (list ? "" : `${key} `) + plainText(value)).join(", ");
}

function sinceBegin(ns) {
  if (!(ns >= 0)) return "before the run began";
  return ns === 0 ? "when the run began" : `${duration(ns)} after it began`;
}

function factList(facts) {
  const list = made("dl", "facts");
  for (const [name, value] of facts) {
    const shown = typeof value === "object" ? value : String(value);
    list.append(made("div", "", made("dt", "", name), made("dd", "", shown)));
  }
  return list;
}

// Errors

function errorView(error, step) {
  const view = made("div", "error");
  const where = whereOf(step, outcomeOf(step));
  for (let each = error, cause = false; isObject(each); each = memberOf(each, "cause"), cause = true) {
    if (cause) view.append(made("p", "quiet", "caused by"));
    view.append(made("p", "error-text", made("b", "", textMember(each, "type")), " "));
    view.append(textOrCut(packedAt(each, "message") ?? "", where, "text"));
    const traceback = packedAt(each, "traceback");
    if (traceback) view.append(textOrCut(traceback, where, "text traceback"));
    const rest = (membersOf(each) || []).filter(
      ([key]) => !["type", "message", "traceback", "cause"].includes(key),
    );
    if (rest.length) view.append(folded("More of the error", () => membersView(rest, where)));
  }
  return view;
}

// Conversations

function conversation(request, step) {
  if (request === undefined) return [];
  const { messages, rest } = requestOf(request);
  const before = wentOnFrom(request);
  const place = (message) => {
    const owner = owners.get(message.list) || step;
    return placeOf(owner.run, owner.first);
  };
  const views = [];
  const given = messages.filter((message) => message.list === undefined);
  const listedOnes = messages.filter((message) => message.list !== undefined);
  views.push(...given.map((message) => messageView(message.packed, message.role, place(message))));
  const same = before ? before.count : 0;
  if (same) views.push(sameMessages(listedOnes.slice(0, same), before.list, place));
  views.push(...listedOnes.slice(same).map((each) => messageView(each.packed, each.role, place(each))));
  const found = [section(`Sent to the model (${counted(messages.length, "message")})`, ...views)];
  if (rest.length) {
    const make = () => membersView(rest, whereOf(step, step.first));
    found.push(made("section", "part", folded("Rest of the request", make)));
  }
  return found;
}

// The messages that an earlier request had too.
function sameMessages(messages, list, place) {
  const owner = owners.get(list);
  const at = owner ? " as at step" : " as before";
  const view = folded(`${counted(messages.length, "message")}${at}`, () =>
    made("div", "", ...messages.map((each) => messageView(each.packed, each.role, place(each)))),
  );
  view.classList.add("same");
  if (owner) {
    view.querySelector("summary").append(
      " ",
      button("jump", (event) => {
        event.preventDefault();
        select(nodeOf.get(owner).n, { focus: true });
      }, `@${owner.offset}`),
    );
  }
  return view;
}

function messageView(packed, role, where) {
  const value = opened(packed);
  const name = role || textMember(packed, "role") || textMember(packed, "type") || "message";
  const view = made("div", `message ${/^(system|user|assistant|tool)$/.test(name) ? name : "other"}`);
  const label = made("div", "role", name);
  view.append(label);
  if (!isObject(value) || !isMessage(packed)) {
    view.append(valueView(packed, where));
    return view;
  }
  for (const key of ["name", "tool_call_id"]) {
    if (textMember(packed, key)) label.append(made("span", "quiet", ` ${textMember(packed, key)}`));
  }
  const content = contentOf(packed);
  if (content !== undefined) view.append(contentView(content, where));
  for (const [called, args] of callsOf(packed)) view.append(callView(called, args, where));
  const known = ["role", "name", "tool_call_id", "tool_calls", "content", "parts"];
  const rest = membersOf(packed).filter(([key, each]) => !known.includes(key) && opened(each) !== null);
  if (rest.length) view.append(folded("More of the message", () => membersView(rest, where)));
  return view;
}

function contentView(content, where) {
  if (!isList(content)) return valueView(content, where);
  return made("div", "", ...membersOf(content).map(([, part]) => partView(part, where)));
}

function partView(part, where) {
  const kind = textMember(part, "type");
  if (CALL_PARTS.has(kind)) {
    const args = packedAt(part, "input") ?? parsed(packedAt(part, "arguments"));
    return callView(textMember(part, "name"), args, where);
  }
  const members = membersOf(part) || [];
  const text = packedAt(part, "text") ?? packedAt(part, "thinking");
  if (text !== undefined && members.length <= 3) {
    const label = kind && !/^(text|input_text|output_text)$/.test(kind) ? made("div", "quiet", kind) : null;
    return made("div", "", label, valueView(text, where));
  }
  return valueView(part, where);
}

function callView(name, args, where) {
  return made("div", "asked", made("div", "quiet", "calls ", made("b", "", name)), valueView(args, where));
}

// Outputs

function outputView(step) {
  const output = outputOf(step);
  if (output === undefined) return [];
  const where = whereOf(step, outcomeOf(step));
  if (step.kind === "message") return [section("Message", messageView(output, "", where))];
  if (step.kind !== "model") return [section("Output", valueView(output, where))];
  const found = [section("Answer", messageView(answerOf(output), "assistant", where))];
  if (answerOf(output) !== output) {
    found.push(made("section", "part", folded("Rest of the response", () => valueView(output, where))));
  }
  return found;
}

function chunksView(step) {
  const lines = () =>
    made("ol", "chunks", ...step.chunks.map((record) => {
      const event = eventOf(record);
      const value = packedMember(event, "data") ?? packedMember(event, "value");
      const line = made("li", "", made("span", "offset", `@${record[0]}`), " ");
      line.append(membersOf(value) ? valueView(value, whereOf(step, record)) : made("code", "", plainText(value)));
      return line;
    }));
  return made("section", "part", folded(counted(step.chunks.length, "chunk"), lines));
}

// Records as they are

function recordsView(step) {
  const records = [step.first, ...(step.chunks || []), ...(step.last ? [step.last] : [])];
  const list = () => made("div", "", ...records.map((record) => recordView(step, record)));
  const view = folded(`Raw ${records.length === 1 ? "event" : `events (${records.length})`}`, list);
  view.classList.add("records");
  return made("section", "part", view);
}

function recordView(step, record) {
  const place = placeOf(step.run, record);
  const side = step.side;
  const facts = [["Record", place], ["Time", utc(timeOf(side, record[1]))]];
  facts.push(["Print it", made("code", "", readCommand(place))]);
  const view = made("div", "record", factList(facts));
  if (record[4]) view.append(made("h4", "", "Headers"), valueView(record[4], place));
  view.append(textBlock(jsonText(eventOf(record), "  ")));
  return view;
}

function readCommand(place) {
  return `transit read ${/^[\w@/.:$-]+$/.test(place) ? place : `'${place.replaceAll("'", "'\\''")}'`}`;
}

// Values

function valueView(packed, where) {
  const value = opened(packed);
  if (value === undefined) return made("p", "quiet", "nothing");
  const members = membersOf(packed);
  if (members === undefined) return textOrCut(packed, where, typeof value === "string" ? "text" : "text scalar");
  if (members.length === 0) return made("pre", "text scalar", isList(packed) ? "[]" : "{}");
  return membersView(members, where);
}

function textOrCut(packed, where, name) {
  const value = opened(packed);
  if (markOf(value) !== "cut") {
    return textBlock(typeof value === "string" ? value : scalarText(value), name);
  }
  const view = made("div", "cut", textBlock(value.head, name));
  if (value.tail) {
    const left = value.bytes - new TextEncoder().encode(value.head + value.tail).length;
    const said = `Cut: ${byteCount(left)} are left out here. All of it has ${number(value.bytes)} bytes`;
    const command = made("code", "", readCommand(where));
    const digest = made("code", "", value.digest);
    view.append(made("p", "note", said, "; BLAKE3 ", digest, ". ", command, " prints its record."));
    view.append(textBlock(value.tail, name));
  }
  return view;
}

// Members one below the other; those with members of their own fold.
function membersView(members, where) {
  const view = made("div", "members");
  const add = (begin) => {
    for (const [key, value] of members.slice(begin, begin + MEMBERS_SHOWN)) {
      view.append(memberView(key, value, where, members.length));
    }
    const left = members.length - begin - MEMBERS_SHOWN;
    if (left <= 0) return;
    const more = button("more", () => {
      more.remove();
      add(begin + MEMBERS_SHOWN);
    }, `Show more (${number(left)})`);
    view.append(more);
  };
  add(0);
  return view;
}

function memberView(key, packed, where, among) {
  const members = membersOf(packed);
  if (members === undefined || members.length === 0) {
    const value = opened(packed);
    const text = typeof value === "string" ? value : null;
    const block = text !== null && (text.length > 80 || text.includes("\n"));
    const name = made("span", "key", `${key}: `);
    if (block || markOf(value) === "cut") return made("div", "member", name, textOrCut(packed, where, "text"));
    const shown = text !== null ? text : members ? (isList(packed) ? "[]" : "{}") : scalarText(value);
    return made("div", "member", name, made("span", text === null ? "scalar" : "string", shown));
  }
  const label = `${key}: ${isList(packed) ? counted(members.length, "item") : counted(members.length, "member")}`;
  const small = among <= 12 && members.length <= 12;
  return folded(label, () => membersView(members, where), small);
}

// A part that folds, and is made when it is unfolded.
function folded(label, make, open = false) {
  const view = made("details", "", made("summary", "", label));
  const fill = () => {
    if (view.open && view.childElementCount === 1) view.append(make());
  };
  view.addEventListener("toggle", fill);
  if (open) {
    view.open = true;
    fill();
  }
  return view;
}
