// A note on the run, or on the step that is selected.

const noteDialog = document.getElementById("note");
const noteForm = document.getElementById("note-form");
const noteAt = document.getElementById("note-at");
const noteProblem = document.getElementById("note-problem");

function openNote() {
  const step = nodes[selected]?.steps[0];
  const own = step && runs[step.run] === sides[0].run;
  noteAt.length = 1;
  if (own) {
    const option = made("option", "", `${step.kind} ${step.name || ""} @${step.offset}`);
    option.value = step.offset;
    noteAt.append(option);
    noteAt.value = step.offset;
  }
  noteProblem.textContent = "";
  noteDialog.showModal();
  noteForm.elements.comment.focus();
}

async function writeNote(event) {
  event.preventDefault();
  const fields = [...new FormData(noteForm)].filter(([name, value]) => value !== "" || name === "name");
  noteProblem.textContent = "";
  try {
    const answer = await fetch("notes", { method: "POST", body: new URLSearchParams(fields) });
    if (!answer.ok) {
      const problem = await answer.json();
      noteProblem.replaceChildren(readable(problem.detail || problem.title));
      return;
    }
  } catch {
    noteProblem.textContent = "The server does not answer. Nothing was written: try again.";
    return;
  }
  for (const name of ["comment", "score", "label"]) noteForm.elements[name].value = "";
  noteDialog.close();
  say("The note is written");
}

if (noteDialog) {
  KEYS.splice(-1, 0, [["a"], "write a note", openNote]);
  document.getElementById("annotate").addEventListener("click", openNote);
  document.getElementById("note-cancel").addEventListener("click", () => noteDialog.close());
  noteForm.addEventListener("submit", writeNote);
  noteDialog.addEventListener("close", () => tree.focus());
}
