// What every page of the desk shares: speaking to who listens, making nodes, asking the desk, keys.
const SVG = "http://www.w3.org/2000/svg";

export const say = (text) => { document.getElementById("live").textContent = text; };

export function make(name, attributes = {}, text = "") {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

export function draw(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

export const numbers = (text) => (text || "").trim().split(/[\s,]+/).filter(Boolean).map(Number);
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

// Ask the desk as a script does: the answer is JSON, a refusal is an Error with the desk's own sentence.
export async function ask(url, body, type) {
  let answer;
  try {
    answer = await fetch(url, body === undefined ? { headers: { Accept: "application/json" } }
      : { method: "POST", body, headers: { Accept: "application/json", ...(type ? { "Content-Type": type } : {}) } });
  } catch {
    throw new Error("The desk does not answer. Is it still running?");
  }
  if (answer.status === 401) { location.href = "/login"; throw new Error("You are signed out."); }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || `The desk refused (${answer.status}).`);
  return told;
}

export function remember(key, value) {
  try { localStorage.setItem(`twinscope.${key}`, value); } catch { /* a browser that keeps nothing works, too */ }
}

export function recall(key, otherwise = "") {
  try { return localStorage.getItem(`twinscope.${key}`) ?? otherwise; } catch { return otherwise; }
}

// Single keys. A handler gets the event and returns false where it has no use for the key.
export function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    const on = document.getElementById("keys-on");
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !on.checked) return;
    if (event.target.matches("select, textarea, input:not([type=range]):not([type=checkbox])")) return;
    if (document.getElementById("help").open || !Object.hasOwn(keys, event.key)) return;
    if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    if (keys[event.key](event) !== false) event.preventDefault();
  });
}
