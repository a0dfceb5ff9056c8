"use strict";
// Elements, and texts that show and never act: nothing of a run is ever parsed as markup.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined && child !== "") node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Controls, format characters (bidi overrides among them), halves of surrogate pairs, line separators.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const NAMED = { "\n": "⏎", "\t": "⇥" };

function named(char) {
  const code = char.codePointAt(0);
  return NAMED[char] || "\\" + (code < 256 ? "x" + code.toString(16).padStart(2, "0") : "u" + code.toString(16).padStart(4, "0"));
}

// The text on one line.
const oneLine = (text) => text.replace(HIDDEN, named);

// The text with its lines, put into a parent; what hides is marked.
function put(parent, text) {
  let last = 0;
  for (const found of text.matchAll(HIDDEN)) {
    if (found[0] === "\n") continue;
    parent.append(text.slice(last, found.index), el("span", { class: "hidden-char" }, named(found[0])));
    last = found.index + found[0].length;
  }
  parent.append(text.slice(last));
  return parent;
}

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const leavesOf = (number) => `${number.toLocaleString("en")} ${number === 1 ? "leaf" : "leaves"}`;
const known = (value) => value !== null && value !== undefined;
const shown = (value) => (known(value) ? value.toFixed(2) : "–");
const valueClass = (value) => (known(value) ? "v" + Math.round(10 * Math.min(1, Math.max(0, value))) : "");

// Entropy in hundredths of nats to a class, 0 for none.
const STEPS = [15, 40, 80, 130, 200];
const entropyClass = (hundredths) => STEPS.filter((step) => hundredths >= step).length;

function leftOut(number) {
  return number ? el("span", { class: "more" }, ` … ${number.toLocaleString("en")} more characters left out`) : null;
}

function meter(value) {
  const bar = el("i", { class: valueClass(value) });
  bar.style.width = `${100 * (value || 0)}%`;
  return el("span", {}, el("span", { class: "meter", "aria-hidden": "true" }, bar), shown(value));
}
