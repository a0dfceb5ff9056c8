// Solutions in scored steps: ranked ones of a file, or a benchmark's with its gold.

const FIRST_SHOWN = 40;

function openSolutions() {
  const { solutions } = state.record;
  state.solution = 0;
  state.open = new Set(solutions.flatMap((solution, at) => (at === 0 || (solution.rules && at < 4) ? [at] : [])));
  state.shown = FIRST_SHOWN;
  const tools = [el("span", {}, count(solutions.length, "solution")), ramp("v", ["v0", "v2", "v4", "v5", "v6", "v8", "v10"], "score 0", "1")];
  if (known(data.threshold)) tools.push(el("span", {}, `judged wrong up to ${data.threshold}`));
  byId("tools").replaceChildren(...tools);
  drawSolutions();
}

function drawSolutions() {
  const { solutions, left_out: more } = state.record, box = el("div", { class: "answers" });
  solutions.slice(0, state.shown).forEach((solution, at) => box.append(card(solution, at)));
  if (solutions.length > state.shown) {
    const button = el("button", { type: "button" }, `Show ${solutions.length - state.shown} more`);
    button.addEventListener("click", () => { state.shown = Infinity; drawSolutions(); });
    box.append(button);
  }
  if (more) box.append(el("p", { class: "more" }, `${count(more, "more solution")} left out of this page.`));
  byId("drawing").replaceChildren(box);
}

function card(solution, at) {
  const open = state.open.has(at);
  const strip = el("span", { class: "strip", "aria-hidden": "true" }, ...solution.steps.slice(0, 60).map(([, , score]) => el("b", { class: valueClass(score) })));
  const head = el("button", { type: "button", "aria-expanded": String(open), "data-solution": at }, el("span", { class: "rank" }, `#${at + 1}`), strip);
  if (known(solution.score)) head.append(el("span", {}, `score ${solution.score.toFixed(3)}`));
  if ("answer" in solution || "right" in solution) {
    const kind = solution.right === undefined ? "" : solution.right ? "right" : "wrong";
    head.append(el("span", { class: `final ${kind}` }, `${kind === "right" ? "✓ " : kind === "wrong" ? "✗ " : ""}${oneLine(solution.answer ?? "no answer")}`));
  }
  if (solution.wrong) head.append(el("span", {}, verdict(solution)));
  head.append(...pills(solution.rules || []));
  head.addEventListener("click", () => unfold(at));
  const whole = el("div", { class: `answer${solution.rules ? " picked" : ""}` }, head);
  if (open) whole.append(...solution.steps.map((step_, index) => scoredStep(solution, step_, index)));
  if (open && solution.left_out) whole.append(el("p", { class: "step more" }, `${count(solution.left_out, "more step")} left out`));
  return whole;
}

// The rules that chose it, in the order of the page; of many the first few and their number.
function pills(rules) {
  const names = [...ruleNames].filter(([rule]) => rules.includes(rule)).map(([, label]) => label);
  const few = names.length > 6 ? names.slice(0, 5) : names;
  const rest = names.slice(few.length);
  const made = few.map((label) => el("span", { class: "rule" }, label));
  if (rest.length) made.push(el("span", { class: "rule", title: rest.join(", ") }, `+ ${count(rest.length, "rule")}`));
  return made;
}

function verdict({ wrong, predicted, first }) {
  const gold = !wrong.length ? "no step wrong" : `${first || wrong.length === 1 ? "step" : "steps"} ${wrong.map((at) => at + 1).join(", ")} wrong`;
  if (!known(predicted)) return `gold: ${gold}`;
  return `gold: ${gold}; judged: ${predicted < 0 ? "no step wrong" : `step ${predicted + 1} wrong first`}`;
}

function scoredStep(solution, [text, cut, score], index) {
  const body = el("div", { class: "body" });
  if (solution.wrong && solution.wrong.includes(index)) body.append(el("span", { class: "flag gold" }, solution.first ? "✗ gold: first wrong" : "✗ gold: wrong"));
  if (solution.predicted === index) body.append(el("span", { class: "flag said" }, "◀ judged wrong first"));
  put(body, text);
  if (cut) body.append(leftOut(cut));
  return el("div", { class: `step ${valueClass(score)}` }, el("span", { class: "chip", title: `score of step ${index + 1}` }, shown(score)), body);
}

function unfold(at) {
  if (!state.open.delete(at)) state.open.add(at);
  state.solution = at;
  drawSolutions();
  focusSolution(at);
}

function focusSolution(at) {
  const head = byId("drawing").querySelector(`button[data-solution="${at}"]`);
  if (!head) return;
  state.solution = at;
  head.focus();
}
