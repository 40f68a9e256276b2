// The page of a manuscript with its panel boxes: draw, move, resize, take out; nothing is kept until that is asked for.
import { ask, clamp, draw, onKeys, say } from "./common.js";

const sheet = document.getElementById("sheet");
const home = document.getElementById("sheet-page");
const [, , WIDTH, HEIGHT] = sheet.getAttribute("viewBox").split(" ").map(Number);
const LEAST = 8; // points
const GRIP = Math.max(5, Math.max(WIDTH, HEIGHT) / 130);
const boxes = new Map(); // node -> {panel, first, box}; box is [x0, y0, x1, y1], null where it is taken out
const past = [];
let chosen = null;

const of = (node) => { const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(node.getAttribute(name))); return [x, y, x + w, y + h]; };
for (const node of sheet.querySelectorAll(".panel-box")) boxes.set(node, { panel: node.dataset.panel, first: of(node), box: of(node) });
for (const node of boxes.keys()) listen(node);
const grips = draw("g", { class: "grips" });
sheet.append(grips);

const same = (p, q) => p === q || (p && q && p.every((value, i) => Math.abs(value - q[i]) < 0.25));
const changed = () => Array.from(boxes.values()).filter((one) => (one.panel ? !same(one.box, one.first) : one.box));

function place(node) {
  const { box, panel, first } = boxes.get(node);
  node.toggleAttribute("hidden", !box);
  node.setAttribute("visibility", box ? "visible" : "hidden");
  node.setAttribute("tabindex", box ? "0" : "-1");
  if (!box) return;
  const [x0, y0, x1, y1] = box;
  for (const [name, value] of [["x", x0], ["y", y0], ["width", x1 - x0], ["height", y1 - y0]]) node.setAttribute(name, value.toFixed(2));
  node.classList.toggle("changed", !panel || !same(box, first));
}

function show() {
  grips.replaceChildren();
  for (const node of boxes.keys()) node.classList.toggle("chosen", node === chosen);
  if (chosen && boxes.get(chosen).box) {
    const [x0, y0, x1, y1] = boxes.get(chosen).box;
    [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].forEach(([x, y], corner) => {
      const grip = draw("rect", { class: "grip", x: x - GRIP / 2, y: y - GRIP / 2, width: GRIP, height: GRIP });
      grip.style.cursor = corner % 2 ? "nesw-resize" : "nwse-resize";
      grip.addEventListener("pointerdown", (event) => drag(event, chosen, corner));
      grips.append(grip);
    });
  }
  const count = changed().length;
  document.getElementById("keep").disabled = !count;
  document.getElementById("back").disabled = !past.length;
  document.getElementById("take-out").disabled = !chosen;
  document.getElementById("sheet-says").textContent = count ? `${count} ${count === 1 ? "box is" : "boxes are"} changed and not kept yet.` : "";
}

function set(node, box, remember = true) {
  if (remember) past.push([node, boxes.get(node).box]);
  boxes.get(node).box = box;
  place(node);
  show();
}

function choose(node) { chosen = node; show(); }

const at = (event) => { const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(sheet.getScreenCTM().inverse()); return [clamp(p.x, 0, WIDTH), clamp(p.y, 0, HEIGHT)]; };

function whole([xa, ya, xb, yb]) {
  return [Math.min(xa, xb), Math.min(ya, yb), Math.max(xa, xb, Math.min(xa, xb) + LEAST), Math.max(ya, yb, Math.min(ya, yb) + LEAST)];
}

function moved([x0, y0, x1, y1], dx, dy) {
  const x = clamp(dx, -x0, WIDTH - x1);
  const y = clamp(dy, -y0, HEIGHT - y1);
  return [x0 + x, y0 + y, x1 + x, y1 + y];
}

// corner: 0 to 3 clockwise from the upper left; undefined moves the whole box
function drag(event, node, corner) {
  if (event.button) return;
  event.stopPropagation();
  event.preventDefault();
  choose(node);
  node.focus({ preventScroll: true });
  const before = boxes.get(node).box;
  const [x, y] = at(event);
  past.push([node, before]);
  const move = (later) => {
    const [px, py] = at(later);
    if (corner === undefined) { set(node, moved(before, px - x, py - y), false); return; }
    const [x0, y0, x1, y1] = before;
    set(node, whole([corner === 0 || corner === 3 ? px : x0, corner < 2 ? py : y0, corner === 1 || corner === 2 ? px : x1, corner > 1 ? py : y1]), false);
  };
  const end = () => {
    removeEventListener("pointermove", move);
    if (same(boxes.get(node).box, before)) past.pop();
    show();
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
}

function listen(node) {
  node.addEventListener("pointerdown", (event) => drag(event, node));
  node.addEventListener("focus", () => choose(node));
}

function add(box) {
  const node = draw("rect", { class: "panel-box changed", tabindex: 0, role: "button", "aria-label": "new box" });
  boxes.set(node, { panel: "", first: null, box: null });
  sheet.insertBefore(node, grips);
  listen(node);
  set(node, box);
  choose(node);
  return node;
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button || event.target.matches(".panel-box, .grip")) return;
  event.preventDefault();
  const [x, y] = at(event);
  let node = null;
  const move = (later) => {
    const [px, py] = at(later);
    if (!node && Math.hypot(px - x, py - y) < LEAST) return;
    if (!node) node = add(whole([x, y, px, py])); else set(node, whole([x, y, px, py]), false);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", () => { removeEventListener("pointermove", move); if (!node) choose(null); }, { once: true });
});

function addInTheMiddle() { add([WIDTH * 0.35, HEIGHT * 0.4, WIDTH * 0.65, HEIGHT * 0.6]).focus(); say("A new box lies in the middle of the page. Arrows move it."); }
function takeOut() { if (!chosen) return false; set(chosen, null); say("The box is taken out."); choose(null); return true; }
function back() {
  const last = past.pop();
  if (!last) { say("There is nothing to undo."); return; }
  set(last[0], last[1], false);
  choose(last[1] ? last[0] : null);
}
function nudge(dx, dy) {
  return (event) => {
    if (!chosen || !boxes.get(chosen).box) return false;
    const box = boxes.get(chosen).box;
    set(chosen, event.shiftKey ? whole([box[0], box[1], clamp(box[2] + 2 * dx, box[0] + LEAST, WIDTH), clamp(box[3] + 2 * dy, box[1] + LEAST, HEIGHT)]) : moved(box, 2 * dx, 2 * dy));
    return true;
  };
}

document.getElementById("add").addEventListener("click", addInTheMiddle);
document.getElementById("take-out").addEventListener("click", takeOut);
document.getElementById("back").addEventListener("click", back);
document.getElementById("keep").addEventListener("click", async () => {
  const says = document.getElementById("sheet-says");
  const changes = changed().map((one) => ({ panel: one.panel, box: one.box ? one.box.map((v) => Math.round(100 * v) / 100) : null }));
  try {
    const told = await ask(home.dataset.send, JSON.stringify({ changes }), "application/json");
    past.length = 0;
    for (const one of boxes.values()) one.first = one.box;
    location.href = told.url;
  } catch (error) { says.textContent = error.message; }
});
onKeys({ a: addInTheMiddle, Delete: takeOut, Backspace: takeOut, u: back, ArrowLeft: nudge(-1, 0), ArrowRight: nudge(1, 0), ArrowUp: nudge(0, -1), ArrowDown: nudge(0, 1) });
addEventListener("beforeunload", (event) => { if (changed().length && past.length) event.preventDefault(); });
show();
