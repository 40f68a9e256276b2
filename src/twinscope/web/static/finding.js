// The page of a finding: the viewer, deciding, and going on to the next one, which is fetched before it is asked for.
import { ask, onKeys, recall, remember, say } from "./common.js";
import { viewer } from "./viewer.js";

const ahead = new Map(); // address -> promise of the text of a page
let shown = null;

function begin() {
  const page = document.getElementById("finding");
  shown = { page, view: viewer(page.querySelector("#viewer"), page.dataset.base) };
  document.title = page.dataset.title;
  document.getElementById("crumb-number").textContent = `Finding ${page.dataset.number}`;
  const wanted = recall("mode", "side");
  if (wanted !== "side" && page.querySelector(`button[data-mode="${wanted}"]`)) shown.view.setMode(wanted);
  page.querySelector("#decide").addEventListener("submit", decide);
  page.querySelector("#control").addEventListener("change", control);
  page.querySelector("#note-form").addEventListener("submit", note);
  page.querySelector("#undo").addEventListener("submit", (event) => { event.preventDefault(); undo(); });
  page.querySelector("#viewer").addEventListener("click", (event) => { const mode = event.target.closest("button[data-mode]"); if (mode) remember("mode", mode.dataset.mode); });
  page.addEventListener("click", (event) => {
    const larger = event.target.closest(".enlarge");
    if (larger) larger.setAttribute("aria-pressed", String(larger.closest(".where").classList.toggle("large")));
    const turn = event.target.closest(".turn a");
    if (turn && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); turnTo(turn.getAttribute("href")); }
  });
  page.querySelector("#why").addEventListener("toggle", because);
  const area = page.querySelector("#note");
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") area.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); page.querySelector("#note-form").requestSubmit(); }
  });
  for (const address of [page.dataset.next, page.dataset.previous]) if (address) prefetch(address);
}

// ---- from one finding to the next ----------------------------------------------------------------------------------
function prefetch(address) {
  if (ahead.has(address)) return ahead.get(address);
  const text = fetch(address, { headers: { Purpose: "prefetch" } }).then((answer) => { if (!answer.ok || answer.redirected) throw new Error(); return answer.text(); });
  ahead.set(address, text);
  text.then((html) => {
    const found = new DOMParser().parseFromString(html, "text/html").getElementById("viewer");
    for (const name of ["a", "b", "moved", "heat"]) if (found && found.dataset[name]) new Image().src = found.dataset[name];
  }).catch(() => ahead.delete(address));
  return text;
}

async function turnTo(address, push = true) {
  if (!address) { say("There is no further finding."); return; }
  let text;
  try { text = await prefetch(address); } catch { location.href = address; return; }
  ahead.delete(address); // what was fetched ahead is shown once: decisions change it
  const next = new DOMParser().parseFromString(text, "text/html").getElementById("finding");
  if (!next) { location.href = address; return; }
  shown.view.stop();
  shown.page.replaceWith(next);
  if (push) history.pushState(null, "", address);
  scrollTo(0, 0);
  begin();
  next.querySelector("#title").focus({ preventScroll: true });
  say(`${document.title.split(" · ")[0]}: ${next.querySelector("#title").textContent.replace(/\s+/g, " ").trim()}`);
  fetch(`${next.dataset.base}/seen`, { method: "POST", keepalive: true }).catch(() => {}); // only where the reviewer was
}
addEventListener("popstate", () => turnTo(location.pathname, false));

// ---- deciding --------------------------------------------------------------------------------------------------------
let sending = Promise.resolve(); // one after the other, in the order of the keys
function send(url, body) {
  const { page } = shown;
  const sent = sending.then(() => ask(url, body)).then((told) => put(page, told), (error) => { page.querySelector("#done").textContent = error.message; return null; });
  sending = sent;
  return sent;
}

function put(page, told) {
  for (const button of page.querySelectorAll(".choices button")) button.setAttribute("aria-pressed", String(button.value === told.decision));
  page.querySelector("#control").value = told.control || "";
  page.querySelector("#history").replaceChildren(...new DOMParser().parseFromString(told.history, "text/html").body.childNodes);
  page.querySelector("#done").textContent = told.says;
  page.classList.add("just-done");
  setTimeout(() => page.classList.remove("just-done"), 900);
  return told;
}

function decided(decision) {
  const body = new FormData();
  body.set("decision", decision);
  if (decision === "benign") body.set("control", shown.page.querySelector("#control").value);
  return send(`${shown.page.dataset.base}/decide`, body);
}

function decide(event) {
  event.preventDefault();
  if (event.submitter) decided(event.submitter.value);
}

function control() {
  if (shown.page.querySelector("#control").value) decided("benign");
}

async function note(event) {
  event.preventDefault();
  const area = shown.page.querySelector("#note");
  if (!area.value.trim()) { area.focus(); return; }
  const body = new FormData();
  body.set("note", area.value);
  if (await send(`${shown.page.dataset.base}/note`, body)) { area.value = ""; area.blur(); }
}

function undo() {
  send(`${shown.page.dataset.base}/undo`, new FormData());
}

// ---- why -------------------------------------------------------------------------------------------------------------
async function because(event) {
  const part = event.target;
  if (!part.open || part.dataset.told) return;
  part.dataset.told = "1";
  const home = part.querySelector("div");
  try {
    const answer = await fetch(part.dataset.from);
    if (!answer.ok) throw new Error();
    const told = new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
    const inner = told.querySelector("details"); // it is open already, in this one
    if (inner) { inner.querySelector("summary").remove(); inner.replaceWith(...inner.childNodes); }
    home.replaceChildren(told);
  } catch {
    delete part.dataset.told;
    home.textContent = "The explanation could not be had.";
  }
}

// ---- keys ------------------------------------------------------------------------------------------------------------
const DECISIONS = ["same", "not", "benign", "unclear"];
const mode = (name) => () => { shown.view.toggleMode(name); remember("mode", shown.page.querySelector('button[data-mode][aria-pressed="true"]').dataset.mode); };
const arrow = (dx, dy) => (event) => {
  if (event.shiftKey) { shown.view.pan(0.15 * dx, 0.15 * dy); return true; }
  return dx !== 0 && shown.view.nudge(dx);
};
onKeys({
  j: () => turnTo(shown.page.dataset.next), k: () => turnTo(shown.page.dataset.previous),
  ...Object.fromEntries(DECISIONS.map((name, i) => [String(i + 1), () => decided(name)])),
  n: () => shown.page.querySelector("#note").focus(), u: undo,
  p: () => { shown.view.setMode("side"); remember("mode", "side"); },
  b: () => shown.view.blink(), s: mode("slider"), o: mode("opacity"), d: mode("difference"), h: mode("heat"), m: mode("points"),
  w: () => { const part = shown.page.querySelector("#why"); part.open = !part.open; if (part.open) part.scrollIntoView({ block: "nearest" }); },
  l: () => shown.view.toggle("link"), x: () => shown.view.toggle("outlines"), c: () => shown.view.act("tone"),
  "+": () => shown.view.act("in"), "=": () => shown.view.act("in"), "-": () => shown.view.act("out"), 0: () => shown.view.act("whole"), z: () => shown.view.act("region"),
  ArrowLeft: arrow(-1, 0), ArrowRight: arrow(1, 0), ArrowUp: arrow(0, -1), ArrowDown: arrow(0, 1),
  Escape: () => { location.href = document.getElementById("up").href; },
});

begin();
