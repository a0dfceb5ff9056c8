// The drawn tree. Only the chosen problem's chosen tree is drawn; choosing a node changes classes and draws nothing anew.

const MEASURES = { score: "PRM score", value: "value", label: "label" };
let drawn = new Map();

// The range that colours span: 0 to 1, or what the tree has of the measure.
function span() {
  const values = state.stretched && state.measure ? state.tree[state.measure].filter(known) : [];
  return values.length && Math.max(...values) > Math.min(...values) ? [Math.min(...values), Math.max(...values)] : [0, 1];
}

function colourOf(node) {
  const { tree, measure } = state, value = measure ? tree[measure][node] : null;
  if (!known(value)) return "";
  const [low, high] = span();
  return valueClass((value - low) / (high - low));
}

function openTree() {
  const trees = state.record.trees;
  const kept = state.tree && trees.find((tree) => tree.name === state.tree.name);
  useTree(kept || trees[0]);
}

function useTree(tree) {
  if (!tree.ready) prepare(tree);
  state.tree = tree;
  state.folded = new Set();
  state.mode = state.wanted || bestMode(tree);
  const measures = Object.keys(MEASURES).filter((name) => tree[name]);
  if (!measures.includes(state.measure)) state.measure = measures[0] || null;
  if (!(state.rule in tree.chosen)) state.rule = Object.keys(tree.chosen)[0] ?? state.rule;
  state.node = tree.chosen[state.rule] ?? 0;
  showTools();
  drawTree();
  select(state.node, { focus: false });
}

function choice(label, options, current, pick) {
  const box = el("span", { class: "choice", role: "group", "aria-label": label });
  for (const [name, text] of options) {
    const button = el("button", { type: "button", "aria-pressed": String(name === current) }, text);
    button.addEventListener("click", () => pick(name));
    box.append(button);
  }
  return box;
}

function ramp(kind, classes, low, high) {
  const cells = classes.map((name) => el("b", { class: name }));
  return el("span", { class: "ramp" }, low, el("i", { class: kind, "aria-hidden": "true" }, ...cells), high);
}

function menu(label, options, current, pick) {
  const select_ = el("select", { "aria-label": label }, ...options.map(([name, text]) => el("option", { value: name, selected: name === current }, text)));
  select_.addEventListener("change", () => pick(select_.value));
  return el("label", {}, label, select_);
}

function showTools() {
  const { tree, record: body } = state, tools = [];
  if (body.trees.length > 1) {
    const names = body.trees.map((other) => [other.name, other.name]);
    tools.push(choice("Tree", names, tree.name, (name) => useTree(body.trees.find((other) => other.name === name))));
  }
  const modes = [["text", "text"], ["overview", "overview"]];
  tools.push(choice("Drawing", modes, state.mode, (name) => { state.wanted = state.mode = name; again(); }));
  const measures = Object.entries(MEASURES).filter(([name]) => tree[name]);
  if (measures.length) {
    tools.push(menu("colour", measures, state.measure, (name) => { state.measure = name; again(); }));
    const [low, high] = span(), ends = state.stretched ? [low.toFixed(2), high.toFixed(2)] : ["0", "1"];
    tools.push(ramp("v", ["v0", "v2", "v4", "v5", "v6", "v8", "v10"], ...ends));
    const stretch = el("input", { type: "checkbox", checked: state.stretched || null });
    stretch.addEventListener("change", () => { state.stretched = stretch.checked; again(); });
    tools.push(el("label", { title: "Colours span the range of this tree instead of 0 to 1" }, stretch, "stretch"));
  }
  tools.push(ramp("e", ["e1", "e2", "e3", "e4", "e5"], "entropy .15", "2+ nats"));
  const rules = Object.keys(tree.chosen).map((rule) => [rule, ruleNames.get(rule) || rule]);
  if (rules.length) {
    tools.push(menu("★ chosen by", rules, state.rule, (rule) => { state.rule = rule; again(); select(tree.chosen[rule], { focus: false }); }));
  }
  byId("tools").replaceChildren(...tools);
}

function again() {
  showTools();
  drawTree();
  select(state.node, { focus: false });
}

function drawTree() {
  const { tree, mode, folded, measure } = state, box = byId("drawing");
  const plan = layOut(tree, { mode, folded, width: box.clientWidth || 800 });
  const winner = tree.chosen[state.rule];
  const onChosen = new Set(winner === undefined ? [] : pathTo(tree, winner));
  const name = `Tree ${tree.name}: ${leavesOf(tree.below[0])}, ${count(tree.parent.length, "node")}`;
  const svg = draw("svg", { role: "tree", "aria-label": name, width: plan.width, height: plan.height });
  const edges = draw("g", { "aria-hidden": "true" }), nodes = draw("g", { role: "presentation" });
  drawn = new Map();
  plan.places.forEach((place, node) => {
    if (!place) return;
    if (node && place.row !== plan.places[tree.parent[node]].row) edges.append(edge(plan.places[tree.parent[node]], place, mode, onChosen.has(node)));
    const group = drawNode(node, place, { onChosen, value: measure ? tree[measure][node] : null, winner, scale: plan.scale });
    drawn.set(node, group);
    nodes.append(group);
  });
  svg.append(edges, nodes);
  const extra = tree.left_out ? el("p", { class: "empty" }, `${count(tree.left_out, "more node")} left out of this page.`) : null;
  box.replaceChildren(svg, ...(extra ? [extra] : []));
  svg.addEventListener("click", (event) => {
    const group = event.target.closest("g.node");
    if (!group) return;
    const node = Number(group.dataset.node);
    if (event.target.closest(".fold") || event.detail === 2) return fold(node);
    select(node, { focus: true });
  });
}

function edge(from, to, mode, chosen) {
  const middle = MODES[mode].row - 12, x = from.x + from.w + 5, y = to.y + middle - 5;
  return draw("path", { class: chosen ? "edge chosen" : "edge", d: `M${x} ${from.y + middle}V${y - 4}q0 6 6 6H${to.x - 1}` });
}

function drawNode(node, place, { onChosen, value, winner, scale }) {
  const { tree, mode, folded } = state, { row, bar } = MODES[mode];
  const group = draw("g", {
    class: `node ${colourOf(node)}${onChosen.has(node) ? " chosen" : ""}`, role: "treeitem", tabindex: "-1", "data-node": node,
    "aria-level": tree.depth[node] + 1, "aria-label": spoken(node),
    "aria-expanded": tree.children[node].length ? String(!folded.has(node)) : null,
    transform: `translate(${place.x.toFixed(1)} ${place.y})`,
  });
  const floor = row - 12;
  group.append(draw("rect", { class: "hit", x: -2, y: -3, width: Math.max(8, place.w + 4), height: row - 3, rx: 3 }));
  if (mode === "text") drawText(group, node, place, floor);
  else drawSparks(group, node, floor, scale);
  if (place.w) group.append(draw("rect", { class: "bar", x: 0, y: floor, width: Math.max(1, place.w), height: bar, rx: 1.5 }));
  const at = place.w + 9;
  if (folded.has(node)) {
    const text = `+ ${leavesOf(tree.below[node])}`;
    group.append(draw("rect", { class: "fold", x: at - 3, y: 0, width: text.length * 7.3 + 8, height: 17, rx: 8 }), draw("text", { class: "fold-text", x: at + 1, y: 12 }, text));
  } else if (!tree.children[node].length) drawEnd(group, node, at, floor, { winner, value });
  return group;
}

function drawText(group, node, place, floor) {
  const { tree } = state, flat = tree.tokens[node];
  let x = 0;
  tree.widths[node].forEach((width, at) => {
    const level = entropyClass(flat[2 * at + 1]);
    if (level) group.append(draw("rect", { class: `ent e${level}`, x: (x * CHAR).toFixed(1), y: 0, width: (width * CHAR).toFixed(1), height: floor - 1, rx: 2 }));
    x += width;
  });
  if (x) group.append(draw("text", { x: 0, y: floor - 5, textLength: (x * CHAR).toFixed(1), lengthAdjust: "spacingAndGlyphs" }, tree.lines[node].join("")));
}

// Entropy as a thin line over each token that has any.
function drawSparks(group, node, floor, scale) {
  const flat = state.tree.tokens[node];
  let path = "";
  for (let at = 1; at < flat.length; at += 2) {
    if (flat[at] >= STEPS[0]) path += `M${((at - 1) / 2 * scale + 0.5).toFixed(1)} ${floor - 1}v${-Math.min(9, flat[at] / 25).toFixed(1)}`;
  }
  if (path) group.append(draw("path", { class: "spark", d: path }));
}

function drawEnd(group, node, at, floor, { winner, value }) {
  const { tree } = state, [answer, right] = tree.answers[node] || [null, null];
  const kind = right === null ? "none" : right ? "right" : "wrong";
  const sign = right === null ? (tree.finish[node] === "stop" ? "■" : "…") : right ? "✓" : "✗";
  const parts = [draw("tspan", { class: `end ${kind}` }, `${sign} ${known(answer) ? oneLine(answer) : "no answer"}`)];
  if (known(value)) parts.push(draw("tspan", { class: "tail", dx: 9 }, shown(value)));
  if (tree.finish[node] && tree.finish[node] !== "stop") parts.push(draw("tspan", { class: "tail", dx: 9 }, tree.finish[node]));
  if (winner === node) parts.push(draw("tspan", { class: "star", dx: 9 }, "★"));
  group.append(draw("text", { x: at, y: floor + 1 }, ...parts));
}

function spoken(node) {
  const { tree } = state, [answer, right] = tree.answers[node] || [null, null];
  const parts = [`node ${node}`, tree.lines[node].join("").trim().slice(0, 80) || "empty"];
  for (const [name, label] of Object.entries(MEASURES)) if (tree[name] && known(tree[name][node])) parts.push(`${label} ${shown(tree[name][node])}`);
  if (!tree.children[node].length) parts.push(`leaf, answer ${known(answer) ? oneLine(answer) : "none"}${right === null ? "" : right ? ", right" : ", wrong"}`);
  else parts.push(leavesOf(tree.below[node]));
  return parts.join(", ");
}

function fold(node) {
  if (!state.tree.children[node].length) return;
  if (!state.folded.delete(node)) state.folded.add(node);
  drawTree();
  select(node, { focus: true });
}

function select(node, { focus }) {
  const { tree } = state, path = pathTo(tree, node);
  for (const at of path) if (at !== node && state.folded.delete(at)) { drawTree(); break; }
  for (const [at, group] of drawn) {
    group.classList.toggle("selected", at === node);
    group.classList.toggle("onpath", path.includes(at));
    if (at === node || group.getAttribute("tabindex") === "0") group.setAttribute("tabindex", at === node ? "0" : "-1");
    if (at === node) group.setAttribute("aria-selected", "true");
    else group.removeAttribute("aria-selected");
  }
  state.node = node;
  const group = drawn.get(node);
  if (group) {
    if (focus) group.focus({ preventScroll: true });
    reveal(group);
  }
  showDetail();
}

// Scroll the drawing, and only it, to the node.
function reveal(group) {
  const box = byId("drawing"), outer = box.getBoundingClientRect(), inner = group.getBoundingClientRect();
  if (inner.top < outer.top + 10) box.scrollTop += inner.top - outer.top - 40;
  else if (inner.bottom > outer.bottom - 10) box.scrollTop += inner.bottom - outer.bottom + 40;
  if (inner.left < outer.left + 10) box.scrollLeft += inner.left - outer.left - 60;
  else if (inner.right > outer.right - 10 && inner.left > outer.left + 100) box.scrollLeft += Math.min(inner.right - outer.right + 60, inner.left - outer.left - 60);
}
