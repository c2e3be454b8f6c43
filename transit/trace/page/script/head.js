// The head: what is known of the runs as a whole, and the notes about them.

const STATUS_LOOKS = { completed: ["✓", "good"], failed: ["✕", "bad"], cancelled: ["✕", "bad"] };

function notesAt(step) {
  return (step.notes ||= notesFor(step));
}

const notesByPlace = new Map();
function placeNotes() {
  notesByPlace.clear();
  for (const note of page.notes) {
    const at = plainText(memberOf(note, "at"));
    notesByPlace.set(at, [...(notesByPlace.get(at) || []), note]);
  }
}
placeNotes();

// Notes are about a record: that of the request, or of the outcome.
function notesFor(step) {
  const places = new Set();
  for (const record of [step.first, step.last]) {
    if (!record) continue;
    places.add(placeOf(step.run, record));
    places.add(`${runs[step.run]}@${record[0]}`);
  }
  return [...places].flatMap((place) => notesByPlace.get(place) || []);
}

function noteView(note) {
  const told = (key) => plainText(memberOf(note, key));
  const line = made("div", "note-head", made("b", "", told("name") || "note"));
  if (told("score") !== "") line.append(made("span", "score", told("score")));
  if (told("label")) line.append(made("span", "label", told("label")));
  const time = told("timestamp");
  const by = [told("author"), /^-?\d+$/.test(time) ? utc(BigInt(time)) : time].filter(Boolean).join(", ");
  if (by) line.append(made("span", "quiet", by));
  const more = memberOf(note, "metadata");
  if (more !== undefined) line.append(made("span", "quiet", memberText(more)));
  const at = told("at");
  if (at) line.append(made("span", "quiet", at));
  return made("div", "remark", line, told("comment") ? textBlock(told("comment"), "text plain") : null);
}

function drawHead() {
  const title = made("div", "title-line", made("h1", "", page.title));
  const parts = sides.map((side, n) => runHead(side, n));
  const head = document.getElementById("head");
  const open = [...head.querySelectorAll("details")].map((each) => each.open);
  head.replaceChildren(title, made("div", two ? "both" : "one", ...parts));
  // One run says what it is beside its title.
  if (!two) title.append(head.querySelector(".run-line"));
  if (page.bound) head.append(boundView());
  if (page.notes.length) head.append(notesView());
  // Drawn anew for a search: what was unfolded stays so.
  head.querySelectorAll("details").forEach((each, n) => (each.open = open[n] || each.open));
}

// What was left out so that the page is no larger than was wanted.
function boundView() {
  const [most, above, count] = page.bound;
  const what = `${counted(count, "value")} of more than ${byteCount(above)}`;
  const said = `All steps are here. To keep the page within ${byteCount(most)}, ${what} are cut, each with its digest.`;
  return made("p", "note bound", said);
}

function notesView() {
  const all = () => made("div", "remarks", ...page.notes.map(noteView));
  return folded(counted(page.notes.length, "note"), all, page.notes.length <= 4);
}

function runHead(side, n) {
  const [sign, look] = STATUS_LOOKS[side.status] || ["○", "open"];
  const line = made("p", "run-line");
  if (side.run !== page.title) line.append(made("code", "", side.run));
  line.append(made("span", `status ${look}`, sign, " ", side.status));
  if (side.kind) line.append(made("span", "quiet", side.kind));
  return made("div", "run-head", line, factList(mainFacts(side, n)), errorOfEnd(side), moreFacts(side));
}

function mainFacts(side, n) {
  const began = side.began ?? side.created;
  const facts = [];
  if (began !== undefined) facts.push(["Began", utc(timeOf(n, began))]);
  if (side.duration) facts.push(["Took", duration(side.duration)]);
  facts.push(["Events", number(side.events)]);
  facts.push(["Tokens in / out", inside(tokenText(side.tokens) || "not told", tokenText(side.tokens_inside))]);
  if (side.cost !== undefined) facts.push(["Cost", costText(side.cost)]);
  facts.push(["Failed calls", inside(number(side.failures), number(side.failures_inside))]);
  const first = firstFailed(n);
  if (first) facts.push(["Failed first", jumpTo(first)]);
  facts.push(["Child runs", number(side.children)]);
  if (side.actor) facts.push(["Actor", side.actor]);
  if (side.reason) facts.push(["Reason", side.reason]);
  return facts;
}

function inside(own, all) {
  return own === all || !all ? own : `${own}  (with child runs ${all})`;
}

// The call that failed before all others did.
function firstFailed(n) {
  let found = null;
  for (const step of steps) {
    if (step.side !== n || !step.failed || !CALLS.has(step.kind)) continue;
    if (!found || endOfStep(step) < endOfStep(found)) found = step;
  }
  return found;
}

function jumpTo(step) {
  return button("jump", () => select(nodeOf.get(step).n, { focus: true, open: true }),
    `${step.kind} ${step.name || ""} @${step.offset}`);
}

function errorOfEnd(side) {
  const error = opened(side.error);
  if (!isObject(error)) return null;
  const text = errorText(error);
  const n = sides.indexOf(side);
  const isEnd = (step) => step.side === n && step.kind === "end" && step.level === 0;
  const end = steps.findLast((step) => isEnd(step) && !step.inherited);
  if (!end) return made("p", "run-error", oneLine(text, 400));
  return made("p", "run-error", "Ended with ", oneLine(text, 400), " ", jumpTo(end));
}

function moreFacts(side) {
  const facts = [];
  if (side.task !== side.run) facts.push(["Task", side.task]);
  if (side.began_in) facts.push(["Begun in", side.began_in]);
  for (const parent of side.parents || []) facts.push([side.policy ? "Merged from" : "Branched off", parent]);
  if (side.policy) facts.push(["Merge policy", side.policy]);
  if (side.created !== undefined) facts.push(["Made", utc(timeOf(sides.indexOf(side), side.created))]);
  const metadata = membersOf(side.metadata) || [];
  const manifest = side.manifest === undefined ? [] : membersOf(side.manifest) || [];
  if (!facts.length && !metadata.length && !manifest.length) return null;
  return folded("More about the run", () => {
    const view = made("div", "", factList(facts));
    if (metadata.length) view.append(made("h3", "", "Metadata"), membersView(metadata, side.run));
    if (manifest.length) view.append(made("h3", "", "Manifest"), membersView(manifest, `${side.run}@0`));
    return view;
  });
}
