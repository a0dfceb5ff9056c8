// Keys and colours of the page, and its start.

const THEMES = { auto: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

function useTheme(name) {
  const [sign, spokenName] = THEMES[name];
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").replaceChildren(sign, " ", el("span", {}, name));
  byId("theme").setAttribute("aria-label", `Colours: ${spokenName}`);
}

function storedTheme() {
  try {
    const name = localStorage.getItem("eduprm-theme");
    return name in THEMES ? name : "auto";
  } catch { return "auto"; } // some browsers keep nothing for files
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES), now = document.documentElement.dataset.theme || "auto";
  const next = names[(names.indexOf(now) + 1) % names.length];
  useTheme(next);
  try { localStorage.setItem("eduprm-theme", next); } catch { /* as above */ }
});
useTheme(storedTheme());

function problemKey(key) {
  if (key === "/") {
    byId("search").focus();
    byId("search").select();
  } else if (key === "j" || key === "k") {
    if (byId("explorer").getBoundingClientRect().top > innerHeight * 0.7) byId("explorer").scrollIntoView();
    step(key === "j" ? 1 : -1);
  } else return false;
  return true;
}

function treeKey(key) {
  const { tree, node } = state;
  if (!tree || !byId("drawing").contains(document.activeElement)) {
    if (key !== "c" || !tree) return false;
  }
  if (key === "Enter" || key === " ") fold(node);
  else if (key === "c" && tree.chosen[state.rule] !== undefined) select(tree.chosen[state.rule], { focus: true });
  else if (/^Arrow|^Home$|^End$/.test(key)) select(neighbour(tree, node, key), { focus: true });
  else return false;
  return true;
}

function solutionKey(key) {
  if (!byId("drawing").contains(document.activeElement)) return false;
  const last = Math.min(state.shown, state.record.solutions.length) - 1;
  if (key === "ArrowDown") focusSolution(Math.min(last, state.solution + 1));
  else if (key === "ArrowUp") focusSolution(Math.max(0, state.solution - 1));
  else return false;
  return true;
}

function listKey(key) {
  if (document.activeElement !== byId("problems")) return false;
  if (key === "ArrowDown" || key === "ArrowUp") step(key === "ArrowDown" ? 1 : -1);
  else if (key === "Enter") enterDrawing();
  else return false;
  return true;
}

function enterDrawing() {
  if (data.kind === "trees" && state.tree) select(state.node, { focus: true });
  else focusSolution(0);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    else if (event.target.id === "search" && (event.key === "Enter" || event.key === "ArrowDown")) byId("problems").focus();
    else return;
    event.preventDefault();
    return;
  }
  const deeper = data.kind === "trees" ? treeKey : solutionKey;
  if (problemKey(event.key) || listKey(event.key) || (state.record && deeper(event.key))) event.preventDefault();
}

if (data) {
  document.addEventListener("keydown", onKey);
  fillList();
  applyFilter();
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (Math.abs(innerWidth - wide) < 40 || data.kind !== "trees" || !state.tree || !state.record) return;
    wide = innerWidth;
    again();
  });
}
