// What the pages of the desk do beyond links and forms: lists by keyboard, dropping files, live progress, filters, help.
import { ask, make, onKeys, recall, remember, say } from "./common.js";

document.documentElement.classList.add("scripted");

// ---- help ----------------------------------------------------------------------------------------------------------
const help = document.getElementById("help");
const keysOn = document.getElementById("keys-on");
keysOn.checked = recall("keys", "on") === "on";
keysOn.addEventListener("change", () => remember("keys", keysOn.checked ? "on" : "off"));
export function openHelp() {
  if (help.open) return;
  help.showModal();
  help.querySelector("form button").focus();
}
document.getElementById("help-open").addEventListener("click", openHelp);

// ---- lists ---------------------------------------------------------------------------------------------------------
const list = document.querySelector("[data-list]");
function step(way) {
  const links = Array.from(list.querySelectorAll("[data-item]:not([hidden]) a:first-of-type")).filter((a) => a.offsetParent);
  if (!links.length) return false;
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at < 0 ? (way > 0 ? 0 : links.length - 1) : at + way))].focus();
  return true;
}
onKeys({
  "?": openHelp,
  ...(list ? { j: () => step(1), k: () => step(-1) } : {}),
  g: () => { const go = document.getElementById("go-on"); if (!go) return false; location.href = go.href; return true; },
  u: () => { const box = document.querySelector(".case"); if (!box) return false; undo(box.dataset.case); return true; },
});

async function undo(id) {
  try { const told = await ask(`/cases/${id}/undo`, new FormData()); say(told.says); setTimeout(() => location.reload(), 600); } catch (error) { say(error.message); }
}

for (const menu of document.querySelectorAll("details.menu")) {
  menu.addEventListener("toggle", () => { if (menu.open) for (const other of document.querySelectorAll("details.menu[open]")) if (other !== menu) other.open = false; });
  menu.addEventListener("click", (event) => { if (event.target.closest(".menu-list a")) menu.open = false; });
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); } });
}
document.addEventListener("click", (event) => { for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false; });

// ---- filters of the findings -----------------------------------------------------------------------------------------
const filters = document.getElementById("filters");
if (filters) {
  const items = Array.from(document.querySelectorAll(".found [data-item]"));
  const kept = `filters.${document.querySelector(".case").dataset.case}`;
  const apply = () => {
    const chosen = Object.fromEntries(new FormData(filters));
    let shown = 0;
    for (const item of items) {
      const { kind, verdict, decision, hidden } = item.dataset;
      const open = decision === "open";
      const good = (!chosen.kind || chosen.kind === kind) && (!chosen.verdict || chosen.verdict === verdict)
        && (!chosen.decision || chosen.decision === decision || (chosen.decision === "any" && !open))
        && (hidden === "0" || chosen.hidden);
      item.hidden = !good;
      shown += Number(good);
    }
    document.getElementById("shown-count").textContent = shown === items.length ? String(shown) : `${shown} of ${items.length}`;
    document.getElementById("none-shown").hidden = shown > 0;
    remember(kept, JSON.stringify(chosen));
  };
  try {
    for (const [name, value] of Object.entries(JSON.parse(recall(kept, "{}")))) {
      const field = filters.elements[name];
      if (field && field.type === "checkbox") field.checked = true; else if (field) field.value = value;
    }
  } catch { /* what is kept is of no use: all are shown */ }
  filters.addEventListener("change", () => { apply(); say(`${document.getElementById("shown-count").textContent} findings shown.`); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// ---- dropping files --------------------------------------------------------------------------------------------------
for (const form of document.querySelectorAll("form[data-drop]")) {
  const input = form.querySelector("input[type=file]");
  const says = form.querySelector(".drop-says");
  const bar = form.querySelector("progress");
  const over = (on) => form.classList.toggle("over", on);
  const send = (files) => {
    if (!files.length) return;
    const body = new FormData();
    for (const file of files) body.append("files", file, file.name);
    const request = new XMLHttpRequest(); // fetch tells nothing of how much was sent
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = (100 * event.loaded) / event.total; });
    request.addEventListener("load", () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* told below */ }
      if (request.status >= 200 && request.status < 300) { says.textContent = "Received."; location.href = told.url; return; }
      bar.hidden = true;
      input.disabled = false;
      says.textContent = told.detail || `The desk refused the files (${request.status}).`;
    });
    request.addEventListener("error", () => { bar.hidden = true; input.disabled = false; says.textContent = "The upload broke off. Is the desk still running, and are the files within its limit?"; });
    bar.hidden = false;
    input.disabled = true;
    says.textContent = `Sending ${files.length === 1 ? files[0].name : `${files.length} files`} …`;
    request.send(body);
  };
  input.addEventListener("change", () => send(Array.from(input.files)));
  for (const name of ["dragenter", "dragover"]) form.addEventListener(name, (event) => { event.preventDefault(); over(true); });
  form.addEventListener("dragleave", (event) => { if (!form.contains(event.relatedTarget)) over(false); });
  form.addEventListener("drop", (event) => { event.preventDefault(); over(false); send(Array.from(event.dataTransfer.files)); });
}
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => { if (event.dataTransfer && event.dataTransfer.types.includes("Files")) event.preventDefault(); });

// ---- live progress ---------------------------------------------------------------------------------------------------
const ENDED = ["done", "failed", "cancelled"];
const jobs = new Map(Array.from(document.querySelectorAll("[data-job]"), (node) => [node.dataset.job, node]));
const page = document.querySelector("[data-events]");
if (jobs.size) {
  let source = null; // none while the page is not looked at: a browser has few connections to one host
  const listen = () => {
    if (source) source.close();
    source = document.hidden ? null : new EventSource(page ? page.dataset.events : "/events");
    source?.addEventListener("message", (event) => {
      const told = JSON.parse(event.data);
      const node = jobs.get(`${told.case} ${told.kind}`);
      if (node) show(node, told);
    });
  };
  listen();
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => source?.close());
}

function show(node, told) {
  const before = node.dataset.state;
  const busy = !ENDED.includes(told.state);
  if (!busy && before === told.state) return;
  node.dataset.state = told.state;
  const what = node.dataset.what ? `${node.dataset.what}: ` : ""; // what is done beside the screening has a line only then
  if (what) node.hidden = told.state === "done" || told.state === "cancelled";
  const bar = node.querySelector("progress");
  bar.hidden = !busy;
  node.querySelector(".cancel").hidden = !busy;
  const says = node.querySelector(".job-says");
  if (told.state === "queued") { says.textContent = what + (told.place ? `waiting, ${told.place} before it` : "waiting"); bar.value = 0; }
  else if (told.state === "running") {
    const steps = told.total ? `${told.done} of ${told.total}` : "";
    says.textContent = what + ([what === `${told.stage}: ` ? "" : told.stage, steps].filter(Boolean).join(", ") || "starting");
    if (told.total) bar.value = (100 * told.done) / told.total; else bar.removeAttribute("value");
  } else {
    says.textContent = what + (told.state === "done" ? "done" : told.state === "cancelled" ? "cancelled" : `could not be finished: ${told.reason}`);
    if (before && !ENDED.includes(before)) { say(says.textContent); location.reload(); }
  }
}

for (const form of document.querySelectorAll("form.cancel")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try { await ask(form.action, new FormData()); say("Cancelled."); } catch (error) { say(error.message); }
  });
}

// ---- choosing two panels ---------------------------------------------------------------------------------------------
const chooser = document.getElementById("choose");
if (chooser) {
  const boxes = Array.from(document.querySelectorAll('input[name="panel"]'));
  const tray = document.getElementById("chosen");
  const go = chooser.querySelector("button[type=submit]");
  const apply = () => {
    const chosen = boxes.filter((box) => box.checked);
    for (const box of boxes) box.disabled = chosen.length >= 2 && !box.checked;
    go.disabled = chosen.length !== 2;
    tray.replaceChildren(...chosen.map((box) => make("li", {}, box.dataset.name)));
    document.getElementById("choose-says").textContent = ["Choose two panels.", "Choose one more.", "Compare these two:"][chosen.length];
  };
  for (const box of boxes) box.addEventListener("change", apply);
  apply();
}
