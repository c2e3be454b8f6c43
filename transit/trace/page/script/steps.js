// Steps: what each one says, as transit/trace/steps.py has it.

const sides = page.sides;
const steps = page.steps;
const runs = page.runs;
const GOOD = new Set(["success", "partial", "completed", "incomplete", "superseded"]);
const CALLS = new Set(["tool", "model", "call"]);

// A record: [offset, time, event, origin, headers].
const eventOf = (record) => record[2];

// Each step is told its place; again where there are more of them.
function placeSteps() {
  steps.forEach((step, n) => {
    step.number = n;
    step.level ||= 0;
    step.run ||= 0;
    step.began ||= 0;
    step.offset = step.first[0];
  });
  sides.forEach((side, n) => {
    const [begin, count] = side.steps;
    for (let at = begin; at < begin + count; at += 1) steps[at].side = n;
  });
}
placeSteps();

function placeOf(run, record) {
  const origin = record[3];
  return origin ? `${runs[origin[0]]}@${origin[1]}` : `${runs[run]}@${record[0]}`;
}

function outcomeOf(step) {
  if (step.last) return step.last;
  return step.status === "open" ? null : step.first;
}

// What was asked, packed; undefined for what asks nothing.
function inputOf(step) {
  const event = eventOf(step.first);
  const kind = memberOf(event, "event");
  if (kind === "tool_request" || kind === "call_request") return packedMember(event, "arguments");
  return isModelInput(kind) ? packedMember(event, "request") : undefined;
}

function isModelInput(kind) {
  return kind === "model_call" || kind === "model_request";
}

function packedMember(event, key) {
  return isObject(event) && Object.hasOwn(event, key) ? event[key] : undefined;
}

const OUTPUTS = {
  tool_result: "result", call_result: "result", model_call: "response",
  model_response: "response", message: "message", custom: "data", manifest: "data",
};

// What came of it, or what is said, packed; undefined where that is nothing.
function outputOf(step) {
  const record = outcomeOf(step);
  if (record === null) return undefined;
  const event = eventOf(record);
  if (step.kind === "unknown") return event;
  return packedMember(event, OUTPUTS[memberOf(event, "event")]);
}

function errorOf(step) {
  const record = outcomeOf(step);
  return record === null ? undefined : memberOf(eventOf(record), "error");
}

function errorText(error) {
  return [textMember(error, "type"), textMember(error, "message")].filter(Boolean).join(": ");
}

// The member of the event that a step consists of.
function said(step, key) {
  return plainText(memberOf(eventOf(step.first), key), 200);
}

// One line about a step.
function summaryOf(step) {
  const error = errorOf(step);
  const failure = error ? oneLine(errorText(error)) : "";
  const line = oneLine((SUMMARIES[step.kind] || summaryOfOutput)(step));
  if (!failure) return line;
  return line ? `${line}  —  ${failure}` : failure;
}

const SUMMARIES = {
  message: (step) => messageText(outputOf(step)),
  model: (step) => answerText(outputOf(step)),
  tool: (step) => argumentText(inputOf(step)),
  call: (step) => argumentText(callArguments(inputOf(step))),
  run: insideText,
  evaluation: (step) => {
    const score = memberOf(eventOf(step.first), "score");
    const decision = said(step, "decision") + (score === undefined ? "" : ` (${plainText(score)})`);
    return [decision, said(step, "reason")].filter(Boolean).join(": ");
  },
  checkpoint: (step) => said(step, "reason"),
  artifact: (step) =>
    `${said(step, "kind")}, ${byteCount(Number(said(step, "byte_length")) || 0)}, ${said(step, "content_type")}`,
  end: () => "",
};

function summaryOfOutput(step) {
  return argumentText(outputOf(step));
}

// What a child run comes to.
function insideText(step) {
  const inner = stepsInside(step);
  const failed = inner.filter((each) => each.failed && CALLS.has(each.kind)).length;
  const models = inner.filter((each) => each.kind === "model");
  const said = [counted(inner.length, "step")];
  if (failed) said.push(`${number(failed)} failed`);
  if (models.some((each) => each.tokens)) said.push(`${tokenText(sumOfTokens(models))} tokens`);
  return said.join(", ");
}

function stepsInside(step) {
  let end = step.number + 1;
  while (end < steps.length && steps[end].level > step.level && steps[end].side === step.side) end += 1;
  return steps.slice(step.number + 1, end);
}

function sumOfTokens(models) {
  return [0, 1].map((n) => {
    const told = models.map((each) => each.tokens?.[n] ?? -1).filter((count) => count >= 0);
    return told.length ? told.reduce((sum, count) => sum + count, 0) : -1;
  });
}

// Arguments in a line: the one text there is, or names and values.
function argumentText(packed) {
  const members = membersOf(packed);
  if (members === undefined || isList(packed)) return plainText(packed, 400);
  if (members.length === 1) return plainText(members[0][1], 400);
  return members.map(([key, value]) => `${key}=${plainText(value, 120)}`).join("  ");
}

// A recorded function's arguments: those by place, then those by name, where they are so written.
function callArguments(packed) {
  const args = memberOf(packed, "args");
  return isList(args) && membersOf(args).length && !membersOf(memberOf(packed, "kwargs") || {}).length
    ? args
    : packed;
}

const WORDS = { success: "ok", open: "open" };

// Sign and word of a status: never told by colour alone.
function statusOf(step) {
  const status = step.status || "";
  if (!status) return { sign: "", word: "", look: "" };
  if (step.failed) return { sign: "✕", word: status, look: "bad" };
  if (status === "open") return { sign: "○", word: "open", look: "open" };
  return { sign: GOOD.has(status) ? "✓" : "", word: WORDS[status] || status, look: "good" };
}

function timeOf(side, relative) {
  return BigInt(sides[side].time) + BigInt(Math.round(relative));
}

function endOfStep(step) {
  const record = outcomeOf(step);
  return record ? Math.max(record[1], step.began) : step.began;
}

// "1,234 / 56": input and output tokens.
function tokenText([input, output]) {
  if (input < 0 && output < 0) return "";
  const told = (count) => (count < 0 ? "?" : number(count));
  return `${told(input)} / ${told(output)}`;
}

function costText(cost) {
  return String(Number(cost.toPrecision(6)));
}

// From each list of messages to the first step whose request it is.
const owners = new Map();
function own(step) {
  if (step.kind !== "model") return;
  const request = inputOf(step);
  const lists = markOf(request) === undefined && isObject(request) ? Object.values(request) : [request];
  for (const each of lists) {
    const mark = markOf(each);
    if (typeof mark === "number" && !owners.has(mark)) owners.set(mark, step);
  }
}
steps.forEach(own);
