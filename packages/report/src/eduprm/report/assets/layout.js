// Where the nodes of a tree stand: one row a leaf, from left to right along the path; the first child goes on in its
// parent's row, every other child begins a row of its own.

const CHAR = 7.53; // width of a character of 12.5 px monospace; texts are fitted to it
const MODES = { text: { row: 30, bar: 4 }, overview: { row: 20, bar: 7 } };
const FORK = 18, JOIN = 3, TAIL = 210, EDGE = 14;

function prepare(tree) {
  const size = tree.parent.length;
  tree.children = Array.from({ length: size }, () => []);
  tree.depth = new Array(size).fill(0);
  tree.end = Array.from({ length: size }, (_, node) => node + 1);
  for (let node = 1; node < size; node++) {
    tree.children[tree.parent[node]].push(node);
    tree.depth[node] = tree.depth[tree.parent[node]] + 1;
  }
  for (let node = size - 1; node > 0; node--) tree.end[tree.parent[node]] = Math.max(tree.end[tree.parent[node]], tree.end[node]);
  tree.lines = tree.tokens.map((flat) => flat.filter((_, at) => at % 2 === 0).map((piece) => (piece === "" ? "∎" : oneLine(piece))));
  tree.widths = tree.lines.map((pieces) => pieces.map((piece) => [...piece].length));
  tree.chars = tree.widths.map((widths) => widths.reduce((sum, width) => sum + width, 0));
  tree.below = new Array(size).fill(0);
  for (let node = size - 1; node >= 0; node--) {
    if (!tree.children[node].length) tree.below[node] = 1;
    if (node) tree.below[tree.parent[node]] += tree.below[node];
  }
  tree.ready = true;
}

// Characters on the longest path, and tokens.
function longest(tree, sizes) {
  const sums = sizes.slice();
  let most = 0;
  for (let node = 0; node < sums.length; node++) {
    if (node) sums[node] += sums[tree.parent[node]];
    most = Math.max(most, sums[node]);
  }
  return most;
}

function bestMode(tree) {
  const letters = tree.chars.reduce((sum, number) => sum + number, 0);
  return longest(tree, tree.chars) <= 420 && letters <= 16000 ? "text" : "overview";
}

function layOut(tree, { mode, folded, width }) {
  const { row: height } = MODES[mode];
  const joints = longest(tree, tree.children.map((below) => (below.length > 1 ? FORK : JOIN)));
  const scale = Math.min(9, Math.max(0.7, (width - TAIL - joints) / Math.max(1, longest(tree, tree.num))));
  const places = new Array(tree.parent.length).fill(null);
  let rows = 0, right = 0;
  for (let node = 0; node < places.length; node++) {
    const above = node ? places[tree.parent[node]] : null;
    if (node && (!above || folded.has(tree.parent[node]))) continue;
    const first = !above || tree.children[tree.parent[node]][0] === node;
    const row = first && above ? above.row : rows;
    const gap = above ? (tree.children[tree.parent[node]].length > 1 ? FORK : JOIN) : 0;
    const x = above ? above.x + above.w + gap : EDGE;
    const w = mode === "text" ? tree.chars[node] * CHAR : tree.num[node] ? Math.max(3, tree.num[node] * scale) : 0;
    places[node] = { x, w, row, y: row * height + 6 };
    right = Math.max(right, x + w);
    if (!tree.children[node].length || folded.has(node)) rows = row + 1;
  }
  return { places, rows, width: Math.max(width - 2, right + TAIL), height: rows * height + 14, scale };
}

// The node beside this one: parent, first child, next or previous branch.
function neighbour(tree, node, key) {
  const visible = (other) => {
    for (let at = tree.parent[other]; at >= 0; at = tree.parent[at]) if (state.folded.has(at)) return false;
    return true;
  };
  if (key === "ArrowLeft") return Math.max(0, tree.parent[node]);
  if (key === "ArrowRight") return state.folded.has(node) ? node : tree.children[node][0] ?? node;
  if (key === "Home") return 0;
  if (key === "End") return tree.parent.length - 1 - [...tree.parent.keys()].reverse().findIndex(visible);
  const forward = key === "ArrowDown";
  for (let at = node; at > 0; at = tree.parent[at]) {
    const beside = tree.children[tree.parent[at]], place = beside.indexOf(at);
    if (forward && place + 1 < beside.length) return beside[place + 1];
    if (!forward && place > 0) return beside[place - 1];
  }
  return node;
}

function pathTo(tree, node) {
  const path = [];
  for (let at = node; at >= 0; at = tree.parent[at]) path.unshift(at);
  return path;
}
