// The small script of the report: view modes, keys, filters. It builds nodes and sets attributes, never HTML from text.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MODES = { side: "side by side", heat: "heat-map over both panels", blink: "blink", slider: "slider", opacity: "opacity", difference: "difference" };
  const RATES = [["slow", 0.5], ["normal", 1], ["fast", 1.5]]; // changes a second
  const LIGHT = 118; // grey from which on a ground counts as light, as in edits.py
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const findings = Array.from(document.querySelectorAll(".finding"));
  const live = document.getElementById("live");
  const help = document.getElementById("help");
  const keysOn = document.getElementById("keys-on");
  let current = null;
  let blinking = null; // the one finding that blinks: {card, timer}

  document.documentElement.classList.add("scripted");

  const say = (text) => { live.textContent = text; };
  const make = (name, attributes = {}, text = "") => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  };
  const draw = (name, attributes = {}) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
    return node;
  };
  const numbers = (text) => text.split(" ").map(Number);
  const nameOf = (card) => card.querySelector("h3").textContent.replace(/\s+/g, " ").trim();

  // ---- the mixed view: a over b in one frame --------------------------------------------------------------------
  const mixes = new WeakMap();

  function mix(card) {
    if (mixes.has(card)) return mixes.get(card);
    const from = card.querySelector(".cell-b svg");
    const layerA = card.querySelector(".cell-a .layer-a");
    if (!from || !layerA) return null;
    const svg = from.cloneNode(true);
    const layerB = svg.querySelector(".layer-b");
    const [, , width, height] = numbers(svg.dataset.whole);
    const top = layerA.cloneNode(true);
    const clips = {};
    const number = card.dataset.number;
    for (const [side, layer] of [["a", top], ["b", layerB]]) {
      const clip = draw("clipPath", { id: `slide-${side}-${number}` });
      clips[side] = draw("rect", { x: 0, y: 0, width, height });
      clip.append(clips[side]);
      svg.prepend(clip);
      const wrap = draw("g");
      layer.replaceWith(wrap);
      wrap.append(layer);
      if (side === "a") layerB.after(wrap);
      clips[side + "Wrap"] = wrap;
    }
    const handle = draw("g", { class: "slide" });
    for (const name of ["handle-under", "handle"]) handle.append(draw("line", { class: name, y1: 0, y2: height }));
    svg.append(handle);
    const figure = make("figure", { class: "cell cell-mix" });
    const controls = make("div", { class: "controls" });
    figure.append(svg, controls);
    card.querySelector(".stage").append(figure);
    const made = { svg, top, bottom: layerB, clips, handle, controls, width, height, shown: "a", at: 0.5 };
    svg.addEventListener("pointerdown", (event) => slide(card, made, event));
    mixes.set(card, made);
    return made;
  }

  function slide(card, made, event) {
    const views = card.querySelector(".views");
    if (views.dataset.mode !== "slider") return;
    event.preventDefault();
    const move = (at) => {
      const inverse = made.svg.getScreenCTM().inverse();
      const box = made.svg.viewBox.baseVal;
      const x = new DOMPoint(at.clientX, at.clientY).matrixTransform(inverse).x;
      setSlider(made, Math.min(1, Math.max(0, (x - box.x) / box.width)));
    };
    const stop = () => { made.svg.removeEventListener("pointermove", move); };
    made.svg.setPointerCapture(event.pointerId);
    made.svg.addEventListener("pointermove", move);
    made.svg.addEventListener("pointerup", stop, { once: true });
    made.svg.addEventListener("pointercancel", stop, { once: true });
    move(event);
  }

  function setSlider(made, at) {
    made.at = at;
    const box = made.svg.viewBox.baseVal;
    const x = box.x + at * box.width;
    made.clips.a.setAttribute("width", String(Math.max(0, x)));
    made.clips.b.setAttribute("x", String(x));
    for (const line of made.handle.children) { line.setAttribute("x1", String(x)); line.setAttribute("x2", String(x)); }
    const range = made.controls.querySelector("input");
    if (range) range.value = String(Math.round(at * 100));
  }

  function clearMix(made, mode) {
    const sliding = mode === "slider";
    made.clips.aWrap[sliding ? "setAttribute" : "removeAttribute"]("clip-path", `url(#${made.clips.a.parentNode.id})`);
    made.clips.bWrap[sliding ? "setAttribute" : "removeAttribute"]("clip-path", `url(#${made.clips.b.parentNode.id})`);
    made.handle.setAttribute("visibility", sliding ? "visible" : "hidden");
    made.top.removeAttribute("opacity");
    made.top.removeAttribute("visibility");
    made.svg.style.filter = "";
    made.controls.replaceChildren();
  }

  function addRange(made, label, value, change, ends = ["b", "a"]) {
    const wrap = make("label");
    const range = make("input", { type: "range", min: "0", max: "100", value: String(value) });
    range.addEventListener("input", () => change(Number(range.value)));
    wrap.append(make("span", { class: "sr" }, label), make("span", { class: "show", "aria-hidden": "true" }, ends[0]),
      range, make("span", { class: "show", "aria-hidden": "true" }, ends[1]));
    made.controls.append(wrap);
    change(value);
    return range;
  }

  // ---- the modes -------------------------------------------------------------------------------------------------
  function setMode(card, mode) {
    const views = card.querySelector(".views");
    if (mode === "heat" ? !views.querySelector(".level") : mode !== "side" && !mix(card)) { say("This finding has no pictures to overlay."); return; }
    if (blinking) stopBlink();
    views.dataset.mode = mode;
    for (const button of views.querySelectorAll("button[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    say(`Finding ${card.dataset.number}: ${MODES[mode]}.`);
    if (mode === "heat") setLevel(card, Number(card.querySelector(".level").value));
    if (mode === "side" || mode === "heat") return;
    const made = mix(card);
    clearMix(made, mode);
    const label = `Finding ${card.dataset.number}: `;
    if (mode === "slider") {
      addRange(made, label + "slider, per cent of panel a", made.at * 100, (value) => setSlider(made, value / 100), ["a", "b"]);
    } else if (mode === "opacity") {
      addRange(made, label + "opacity of panel a over b, per cent", 50, (value) => made.top.setAttribute("opacity", String(value / 100)));
    } else if (mode === "difference") {
      addRange(made, label + "gain of the difference", 20, (value) => { made.svg.style.filter = `grayscale(1) brightness(${1 + value / 10})`; }, ["gain", ""]);
      made.controls.append(make("span", {}, "black is equal; tone is not matched in this view"));
    } else {
      blinkControls(card, made);
    }
    made.svg.setAttribute("aria-label", `${nameOf(card)}, laid over each other: ${MODES[mode]}`);
  }

  // ---- the heat-map over both panels -----------------------------------------------------------------------------
  const drawn = new Map(); // id of a picture in the page -> its grey values

  async function greyOf(id, longest) {
    if (!drawn.has(id)) {
      drawn.set(id, (async () => {
        const image = new Image();
        image.src = document.getElementById(id).getAttribute("href");
        await image.decode();
        const scale = Math.min(1, longest / Math.max(image.naturalWidth, image.naturalHeight));
        const width = Math.max(1, Math.round(image.naturalWidth * scale));
        const height = Math.max(1, Math.round(image.naturalHeight * scale));
        const canvas = make("canvas", { width: String(width), height: String(height) });
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, width, height);
        const data = context.getImageData(0, 0, width, height).data;
        const values = new Float32Array(width * height);
        for (let i = 0; i < values.length; i++) values[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
        return { width, height, values };
      })());
    }
    return drawn.get(id);
  }

  // Marching squares: the pieces of the line on which a map reaches a level; each piece is x0, y0, x1, y1 in its pixels.
  function contour(map, level) {
    const { width, height, values } = map;
    const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? -1 : values[y * width + x]);
    const out = [];
    for (let y = -1; y < height; y++) {
      for (let x = -1; x < width; x++) {
        const [p, q, r, s] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
        const kind = (p >= level) + 2 * (q >= level) + 4 * (r >= level) + 8 * (s >= level);
        if (kind === 0 || kind === 15) continue;
        const cut = (from, to) => (level - from) / (to - from);
        const points = [];
        if ((p >= level) !== (q >= level)) points.push([x + cut(p, q), y]);
        if ((q >= level) !== (r >= level)) points.push([x + 1, y + cut(q, r)]);
        if ((r >= level) !== (s >= level)) points.push([x + 1 - cut(r, s), y + 1]);
        if ((s >= level) !== (p >= level)) points.push([x, y + 1 - cut(s, p)]);
        for (let i = 0; i + 1 < points.length; i += 2) out.push([...points[i], ...points[i + 1]]);
      }
    }
    return out;
  }

  async function trace(svg, level) {
    const [map, ground] = await Promise.all([greyOf(svg.dataset.map, 480), greyOf(svg.dataset.ground, 40)]);
    const box = svg.viewBox.baseVal;
    const [kx, ky] = [box.width / map.width, box.height / map.height];
    const paths = { dark: "", light: "" };
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    for (const [x0, y0, x1, y1] of contour(map, level * 255)) {
      const gx = Math.floor((clamp((x0 + x1) / 2 + 0.5, map.width - 1) / map.width) * ground.width);
      const gy = Math.floor((clamp((y0 + y1) / 2 + 0.5, map.height - 1) / map.height) * ground.height);
      const place = (x, y) => `${(clamp(x + 0.5, map.width) * kx).toFixed(1)} ${(clamp(y + 0.5, map.height) * ky).toFixed(1)}`;
      paths[ground.values[gy * ground.width + gx] >= LIGHT ? "light" : "dark"] += `M${place(x0, y0)}L${place(x1, y1)}`;
    }
    for (const node of svg.querySelectorAll(".trace")) node.setAttribute("d", paths[node.dataset.ground]);
  }

  function setLevel(card, percent) {
    const range = card.querySelector(".level");
    range.value = String(percent);
    const level = Number(range.value) / 100;
    card.querySelector(".level-number").textContent = level.toFixed(2);
    card.querySelector(".over-controls .below").setAttribute("width", String(100 * level));
    const filter = document.getElementById(`level-${card.dataset.number}`);
    filter.querySelector("feFuncA").setAttribute("intercept", String(0.5 - 255 * level));
    cancelAnimationFrame(range.waits);
    range.waits = requestAnimationFrame(() => {
      for (const svg of card.querySelectorAll(".cell-over svg")) trace(svg, level).catch(() => say("The outlines could not be drawn."));
    });
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches(".level")) setLevel(event.target.closest(".finding"), Number(event.target.value));
  });

  function showSide(made, side) {
    made.shown = side;
    made.top.setAttribute("visibility", side === "a" ? "visible" : "hidden");
    const tag = made.controls.querySelector(".tag");
    if (tag) tag.textContent = side;
  }

  function blinkControls(card, made) {
    const start = make("button", { type: "button", class: "blink-start", "aria-pressed": "false" }, "Start");
    const swap = make("button", { type: "button" }, "Swap once");
    const rate = make("select", { "aria-label": "Speed of the blinking" });
    for (const [name, value] of RATES) rate.append(make("option", { value: String(value) }, `${name}, ${value} Hz`));
    rate.value = "1";
    made.rate = rate;
    made.start = start;
    start.addEventListener("click", () => (blinking ? stopBlink() : startBlink(card)));
    swap.addEventListener("click", () => swapOnce(made));
    rate.addEventListener("change", () => { if (blinking) startBlink(card); });
    const shows = make("span", {}, "shows ");
    shows.append(make("span", { class: "tag" }, "a"));
    made.controls.append(shows);
    if (!still.matches) made.controls.append(start, rate);
    made.controls.append(swap);
    if (still.matches) made.controls.append(make("span", {}, "motion is reduced on this device: nothing blinks by itself"));
    showSide(made, "a");
  }

  function swapOnce(made) {
    showSide(made, made.shown === "a" ? "b" : "a");
    say(`Shows ${made.shown}.`);
  }

  function startBlink(card) {
    stopBlink();
    const made = mix(card);
    if (still.matches || !made) return;
    const rate = Math.min(1.5, Number(made.rate.value) || 1);
    const timer = setInterval(() => showSide(made, made.shown === "a" ? "b" : "a"), 1000 / rate);
    blinking = { card, timer };
    made.start.textContent = "Stop";
    made.start.setAttribute("aria-pressed", "true");
    say(`Blinking between a and b, ${rate} times a second. Press b to stop.`);
  }

  function stopBlink() {
    if (!blinking) return;
    clearInterval(blinking.timer);
    const made = mix(blinking.card);
    made.start.textContent = "Start";
    made.start.setAttribute("aria-pressed", "false");
    blinking = null;
    say("Blinking stopped.");
  }

  function blinkKey(card) {
    const views = card.querySelector(".views");
    if (blinking && blinking.card === card) { stopBlink(); return; }
    if (views.dataset.mode !== "blink") setMode(card, "blink");
    const made = mix(card);
    if (!made) return;
    if (still.matches) swapOnce(made); else startBlink(card);
  }

  still.addEventListener("change", () => { if (still.matches) stopBlink(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) stopBlink(); });

  // ---- zoom and outlines -----------------------------------------------------------------------------------------
  function toggleZoom(card) {
    const views = card.querySelector(".views");
    if (!views.querySelector('[data-toggle="zoom"]')) { say("The shared region is the whole panel."); return; }
    const zoomed = views.toggleAttribute("data-zoomed");
    for (const svg of views.querySelectorAll("svg[data-whole]")) {
      const [x0, y0, x1, y1] = numbers(zoomed ? svg.dataset.zoom : svg.dataset.whole);
      const scale = 1200 / Math.max(x1 - x0, y1 - y0);
      svg.setAttribute("viewBox", [x0, y0, x1 - x0, y1 - y0].join(" "));
      svg.setAttribute("width", String((x1 - x0) * scale));
      svg.setAttribute("height", String((y1 - y0) * scale));
    }
    views.querySelector('[data-toggle="zoom"]').setAttribute("aria-pressed", String(zoomed));
    if (mixes.has(card)) setSlider(mixes.get(card), mixes.get(card).at);
    say(zoomed ? "Zoomed to the shared region." : "Whole panel.");
  }

  function toggleOutlines(card) {
    const views = card.querySelector(".views");
    if (!views.querySelector('[data-toggle="outlines"]')) { say("There is nothing to outline."); return; }
    const off = views.classList.toggle("no-outlines");
    views.querySelector('[data-toggle="outlines"]').setAttribute("aria-pressed", String(!off));
    say(off ? "Outlines off." : "Outlines on.");
  }

  function toggleStretch(card) {
    const views = card.querySelector(".views");
    const on = views.toggleAttribute("data-stretched");
    for (const use of views.querySelectorAll(".layer-a use, .layer-b use")) {
      const filter = `stretch-${use.getAttribute("href").slice(1)}`;
      if (on && document.getElementById(filter)) use.setAttribute("filter", `url(#${filter})`); else use.removeAttribute("filter");
    }
    views.querySelector('[data-toggle="stretch"]').setAttribute("aria-pressed", String(on));
    say(on ? "Contrast stretched." : "Contrast as published.");
  }

  function toggleWhy(card) {
    const part = card.querySelector(".why");
    if (!part) { say("This finding has no map of the distance."); return; }
    part.open = !part.open;
    if (part.open) part.scrollIntoView({ block: "nearest" });
    say(part.open ? `Why the metric says so: ${part.querySelector("p").textContent}` : "Closed.");
  }

  // ---- moving between findings -----------------------------------------------------------------------------------
  function setCurrent(card) {
    if (card === current) return;
    if (current) current.classList.remove("current");
    current = card;
    for (const link of document.querySelectorAll(".list a")) {
      const here = Boolean(card) && link.dataset.number === card.dataset.number;
      if (here) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
      if (here) {
        const list = link.closest(".index");
        const gap = link.getBoundingClientRect().top - list.getBoundingClientRect().top;
        if (gap < 0 || gap > list.clientHeight - 60) list.scrollTop += gap - list.clientHeight / 2;
      }
    }
    if (card) card.classList.add("current");
  }

  function go(step) {
    if (!findings.length) return;
    const at = current ? findings.indexOf(current) : step > 0 ? -1 : findings.length;
    const next = findings[Math.min(findings.length - 1, Math.max(0, at + step))];
    if (blinking && blinking.card !== next) stopBlink();
    setCurrent(next);
    const group = next.closest(".group");
    const leads = group && group.querySelector(".finding") === next;
    (leads ? group : next).scrollIntoView({ block: "start" });
    next.querySelector("h3").focus({ preventScroll: true });
    const told = leads ? `${group.querySelector("h3").textContent}. ` : "";
    say(`${told}Finding ${next.dataset.number} of ${findings.length}: ${nameOf(next)}.`);
  }

  const seen = new Map();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) seen.set(entry.target, entry.isIntersecting ? entry.intersectionRect.height : 0);
    if (blinking && !seen.get(blinking.card)) stopBlink();
    let best = null;
    for (const card of findings) if ((seen.get(card) || 0) > (best ? seen.get(best) : 60)) best = card;
    const focused = document.activeElement && document.activeElement.closest(".finding");
    const box = focused && focused.getBoundingClientRect(); // as it is now: what was seen may be older than the key
    if (box && box.bottom > 0 && box.top < innerHeight) best = focused;
    if (best) setCurrent(best);
  }, { threshold: [0, 0.1, 0.25, 0.5, 0.75, 1] });
  findings.forEach((card) => watcher.observe(card));

  document.addEventListener("focusin", (event) => {
    const card = event.target.closest(".finding");
    if (card) setCurrent(card);
  });

  document.addEventListener("click", (event) => {
    const larger = event.target.closest(".enlarge");
    if (larger) larger.setAttribute("aria-pressed", String(larger.closest(".where").classList.toggle("large")));
    const button = event.target.closest(".modes button");
    if (!button) return;
    const card = button.closest(".finding");
    setCurrent(card);
    if (button.dataset.mode) setMode(card, button.dataset.mode);
    else TOGGLES[button.dataset.toggle](card);
  });

  const TOGGLES = { zoom: toggleZoom, stretch: toggleStretch, outlines: toggleOutlines };
  const switchMode = (mode) => (card) => setMode(card, card.querySelector(".views").dataset.mode === mode ? "side" : mode);
  const KEYS = {
    p: (card) => setMode(card, "side"), h: switchMode("heat"), b: blinkKey, s: switchMode("slider"), o: switchMode("opacity"),
    d: switchMode("difference"), z: toggleZoom, c: toggleStretch, x: toggleOutlines, w: toggleWhy,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !keysOn.checked) return;
    if (event.target.matches("select, textarea, input:not([type=range]):not([type=checkbox])") || help.open) return;
    const key = event.key;
    if (key === "?") openHelp();
    else if (key === "j") go(1);
    else if (key === "k") go(-1);
    else if (current && (key === "ArrowLeft" || key === "ArrowRight") && !event.target.matches("input")) {
      const way = key === "ArrowLeft" ? -1 : 1;
      const mode = current.querySelector(".views").dataset.mode;
      if (mode === "heat") {
        setLevel(current, Number(current.querySelector(".level").value) + way);
        say(`Threshold ${current.querySelector(".level-number").textContent}.`);
      } else if (mode === "slider") setSlider(mix(current), Math.min(1, Math.max(0, mix(current).at + 0.02 * way)));
      else return;
    } else if (Object.hasOwn(KEYS, key)) {
      if (!current && findings.length) go(1);
      if (current) KEYS[key](current);
    } else return;
    event.preventDefault();
  });

  // ---- help, print, copy, filters --------------------------------------------------------------------------------
  function openHelp() {
    if (help.open) return;
    help.showModal();
    help.querySelector("form button").focus();
  }
  document.getElementById("help-open").addEventListener("click", openHelp);
  document.getElementById("print").addEventListener("click", () => print());

  const opened = [];
  addEventListener("beforeprint", () => {
    stopBlink();
    for (const part of document.querySelectorAll("details:not([open])")) { part.open = true; opened.push(part); }
  });
  addEventListener("afterprint", () => { for (const part of opened.splice(0)) part.open = false; });

  const copy = document.getElementById("copy");
  copy.addEventListener("click", async () => {
    const code = document.getElementById("command");
    let done = false;
    try { await navigator.clipboard.writeText(code.textContent); done = true; } catch {
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    say(done ? "Command copied." : "The command is selected; copy it with the keys of your system.");
    copy.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });

  const filters = ["filter-kind", "filter-document", "filter-found"].map((id) => document.getElementById(id));
  if (filters[0]) {
    const cards = Array.from(document.querySelectorAll(".gallery li"));
    const apply = () => {
      const [kind, doc, found] = [filters[0].value, filters[1].value, filters[2].checked];
      let shown = 0;
      for (const card of cards) {
        const ok = (!kind || card.dataset.kind === kind) && (!doc || card.dataset.document === doc) && (!found || card.dataset.found === "1");
        card.hidden = !ok;
        shown += Number(ok);
      }
      const text = shown === 1 ? "1 panel" : `${shown} panels`;
      document.getElementById("filter-count").textContent = text;
    };
    for (const filter of filters) filter.addEventListener("change", apply);
    apply();
  }
})();
