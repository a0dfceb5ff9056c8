// What is known of the chosen node: the solution so far in its fragments and tokens, numbers, and where it could go on.

function showDetail() {
  const { tree, node } = state, path = pathTo(tree, node);
  const solution = el("div", { class: "solution", tabindex: "0", "aria-label": "Solution up to this node" });
  for (const at of path) solution.append(fragment(at, at === node));
  const left = el("div", {}, el("h3", {}, tree.children[node].length ? "The solution up to here" : "The solution"), solution);
  const right = el("div", {}, el("h3", {}, `Node ${node}`), numbers(node), ...further(node));
  byId("detail").replaceChildren(left, fragmentTable(path), right);
}

// The path as a table: every fragment with its numbers.
function fragmentTable(path) {
  const { tree } = state, measures = Object.entries(MEASURES).filter(([name]) => tree[name] && name !== "label");
  const head = ["node", "fragment", "entropy", ...measures.map(([, label]) => label)].map((name) => el("th", { scope: "col" }, name));
  const body = path.filter((node) => tree.num[node]).map((node) => {
    const first = tree.tokens[node][1];
    const cells = measures.map(([name]) => el("td", { class: `dot-value ${name === state.measure ? colourOf(node) : valueClass(tree[name][node])}` }, shown(tree[name][node])));
    const row = el(
      "tr", { class: node === state.node ? "here" : null }, el("td", {}, String(node)), el("td", {}, tree.lines[node].join("").slice(0, 300)),
      el("td", {}, known(first) ? (first / 100).toFixed(2) : "–"), ...cells,
    );
    row.addEventListener("click", () => select(node, { focus: false }));
    return row;
  });
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
  return el("div", { class: "fragments", tabindex: "0", role: "region", "aria-label": "Fragments of the path" }, table);
}

function fragment(node, here) {
  const { tree } = state, flat = tree.tokens[node];
  const part = el("span", { class: `part ${colourOf(node)}${here ? " here" : ""}`, title: hintOf(node) });
  for (let at = 0; at < flat.length; at += 2) {
    const level = entropyClass(flat[at + 1]), text = flat[at] === "" ? "∎" : flat[at];
    if (level) part.append(put(el("span", { class: `token e${level}`, title: `${(flat[at + 1] / 100).toFixed(2)} nats` }), text));
    else put(part, text);
  }
  if (tree.cut[node]) part.append(leftOut(tree.cut[node]));
  part.addEventListener("click", () => select(node, { focus: false }));
  return part;
}

function hintOf(node) {
  const named_ = Object.entries(MEASURES).filter(([name]) => state.tree[name] && known(state.tree[name][node]));
  return [`node ${node}`, ...named_.map(([name, label]) => `${label} ${shown(state.tree[name][node])}`)].join(" · ");
}

function numbers(node) {
  const { tree } = state, rows = [], add = (name, value) => rows.push(el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  for (const [name, label] of Object.entries(MEASURES)) if (tree[name] && known(tree[name][node])) add(label, meter(tree[name][node]));
  if (tree.leaves) add("right below", `${shown(tree.correct[node]).replace(/\.00$/, "")} of ${leavesOf(tree.leaves[node])}`);
  const entropies = tree.tokens[node].filter((_, at) => at % 2).map((value) => value / 100);
  add("tokens", String(tree.num[node]));
  if (entropies.length) add("entropy", `${entropies[0].toFixed(2)} at first, ${Math.max(...entropies).toFixed(2)} at most`);
  if (!tree.children[node].length) {
    const [answer, right] = tree.answers[node] || [null, null];
    add("answer", el("span", { class: right === null ? "" : right ? "right" : "wrong" }, `${known(answer) ? oneLine(answer) : "none"}${right === null ? "" : right ? " ✓" : " ✗"}`));
    add("finished by", tree.finish[node] || "–");
    const by = Object.entries(tree.chosen).filter(([, leaf]) => leaf === node).map(([rule]) => ruleNames.get(rule) || rule);
    if (by.length) add("chosen by", el("span", { title: by.join(", ") }, by.slice(0, 4).join(", ") + (by.length > 4 ? ` and ${by.length - 4} more` : "")));
  }
  return el("dl", { class: "numbers" }, ...rows);
}

function further(node) {
  const { tree } = state, below = tree.children[node];
  if (!below.length) return [];
  const box = el("div", { class: "alternatives" }, el("h3", {}, below.length > 1 ? `Forks into ${below.length}` : "Goes on"));
  for (const child of below.slice(0, 12)) {
    const value = state.measure ? tree[state.measure][child] : null;
    const button = el("button", { type: "button" }, `${known(value) ? shown(value) + "  " : ""}${tree.lines[child].join("").slice(0, 60)}`);
    button.addEventListener("click", () => select(child, { focus: true }));
    box.append(button);
  }
  if (below.length > 12) box.append(el("span", { class: "more" }, `${below.length - 12} more`));
  return [box];
}
