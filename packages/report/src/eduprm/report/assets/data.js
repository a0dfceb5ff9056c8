// What the page holds: a list of problems, and a record of each, compressed by itself where the run is large.

const data = byId("data") ? JSON.parse(byId("data").textContent) : null;
const problems = data ? data.list.map(([id, text, answer, badge, mark, tags]) => ({ id, text, answer, badge, mark, tags })) : [];
const ruleNames = new Map(data ? data.rules : []);
const unpacked = new Map();

async function unpack(body) {
  if (typeof body !== "string") return body;
  const bytes = Uint8Array.from(atob(body), (char) => char.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
}

// The record of a problem; null where the page had no room for it.
async function record(index) {
  if (!unpacked.has(index)) {
    if (unpacked.size > 8) unpacked.delete(unpacked.keys().next().value);
    unpacked.set(index, await unpack(data.records[index]));
  }
  return unpacked.get(index);
}

const state = {
  index: -1, record: null,
  tree: null, mode: null, measure: null, stretched: false, rule: null, node: 0, folded: new Set(),
  solution: 0, open: new Set(),
};
