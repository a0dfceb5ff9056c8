// The list of problems: search, filter, choice.

const listed = [];
const MARKS = { right: "✓", wrong: "✗", none: "·" };

function fillList() {
  const box = byId("problems");
  problems.forEach((problem, index) => {
    const row = el(
      "div", { role: "option", id: `p${index}`, "aria-selected": "false" },
      el("span", { class: problem.mark, "aria-label": problem.mark === "none" ? "not judged" : problem.mark }, MARKS[problem.mark]),
      el("span", { class: "text" }, oneLine(problem.text)), el("span", { class: "badge" }, problem.badge),
    );
    problem.key = `${problem.id}\n${problem.text}\n${problem.answer}`.toLowerCase();
    listed.push(row);
    row.addEventListener("click", () => choose(index));
  });
  box.append(...listed);
  const filter = byId("filter");
  filter.append(el("option", { value: "" }, `all problems (${problems.length.toLocaleString("en")})`));
  for (const [tag, label] of data.filters) {
    const number = problems.filter((problem) => problem.tags.includes(tag)).length;
    filter.append(el("option", { value: tag }, `${label} (${number.toLocaleString("en")})`));
  }
  filter.hidden = !data.filters.length;
  filter.addEventListener("change", applyFilter);
  byId("search").addEventListener("input", applyFilter);
}

function applyFilter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const tag = byId("filter").value;
  let number = 0;
  problems.forEach((problem, index) => {
    const fits = (!tag || problem.tags.includes(tag)) && words.every((word) => problem.key.includes(word));
    listed[index].hidden = !fits;
    number += fits;
  });
  byId("count").textContent = number === problems.length ? count(number, "problem") : `${number.toLocaleString("en")} of ${count(problems.length, "problem")}`;
  if (number && (state.index < 0 || listed[state.index].hidden)) choose(listed.findIndex((row) => !row.hidden));
}

// The next problem that fits, forwards (1) or backwards (-1).
function step(direction) {
  for (let index = state.index + direction; index >= 0 && index < problems.length; index += direction) {
    if (!listed[index].hidden) return choose(index);
  }
}

async function choose(index) {
  if (state.index >= 0) listed[state.index].setAttribute("aria-selected", "false");
  state.index = index;
  listed[index].setAttribute("aria-selected", "true");
  byId("problems").setAttribute("aria-activedescendant", `p${index}`);
  const box = byId("problems"), row = listed[index];
  if (row.offsetTop < box.scrollTop) box.scrollTop = row.offsetTop;
  if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
  const found = await record(index);
  if (state.index !== index) return; // another one was chosen meanwhile
  state.record = found;
  showProblem();
}

function showProblem() {
  const problem = problems[state.index], body = state.record;
  const text = put(el("div", { class: "text" }), body ? body.text : problem.text);
  if (body && body.cut) text.append(leftOut(body.cut));
  const meta = el("div", { class: "meta" }, el("span", {}, oneLine(problem.id)));
  if (problem.answer) meta.append(el("span", {}, "gold answer ", el("b", {}, oneLine(problem.answer))));
  byId("question").replaceChildren(text, meta);
  for (const id of ["tools", "drawing", "detail"]) byId(id).replaceChildren();
  if (!body) byId("drawing").append(el("p", { class: "empty" }, "Left out of this page to keep it small; the run's files hold it."));
  else if (data.kind === "trees") openTree();
  else openSolutions();
  byId("explorer").dataset.shown = state.index;
}
