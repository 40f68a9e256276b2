// The viewer: both panels in the frame of b, beside or over each other, with one zoom, one tone and several ways to compare.
import { clamp, draw, make, numbers, say } from "./common.js";

const RATES = [["slow", 0.5], ["normal", 1], ["fast", 1.5]]; // changes a second
const NAMES = { side: "Side by side", blink: "Blink", slider: "Slider", opacity: "Opacity", difference: "Difference", heat: "Heat-map", points: "Matched points" };
const still = matchMedia("(prefers-reduced-motion: reduce)");
const MOST_ZOOM = 40;

export function viewer(box, base) {
  const told = box.dataset;
  const [width, height] = numbers(told.frame);
  const [widthA, heightA] = numbers(told.sizeA);
  const whole = { x: 0, y: 0, w: width, h: height };
  const [x0, y0, x1, y1] = numbers(told.zoom);
  const region = { x: x0, y: y0, w: x1 - x0, h: y1 - y0 };
  const panes = box.querySelector("#panes");
  const extra = box.querySelector("#mode-controls");
  const state = { mode: "side", linked: true, outlines: true, level: Number(told.level), at: 0.5, opacity: 0.5, gain: 2, rate: 1, shown: "a", views: {}, tone: [0, 0] };
  let shown = []; // the panes that are shown: {key, svg, frame, top}
  let timer = null;
  let matched = null;

  const start = told.zoomed === "1" ? region : whole;
  for (const key of ["a", "b"]) state.views[key] = { ...start };

  // ---- layers ------------------------------------------------------------------------------------------------------
  function tone() {
    const [contrast, gamma] = state.tone;
    const slope = contrast >= 0 ? 1 + contrast / 25 : 1 + contrast / 110;
    const exponent = 2 ** (-gamma / 50);
    const parts = ["R", "G", "B"];
    return draw("filter", { id: "tone", x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" },
      draw("feComponentTransfer", {}, ...parts.map((c) => draw(`feFunc${c}`, { type: "linear", slope, intercept: 0.5 - 0.5 * slope }))),
      draw("feComponentTransfer", {}, ...parts.map((c) => draw(`feFunc${c}`, { type: "gamma", exponent, amplitude: 1, offset: 0 }))));
  }
  const defs = draw("defs", {}, tone());
  panes.before(draw("svg", { class: "pool", width: 0, height: 0, "aria-hidden": "true" }, defs));

  function picture(href, w, h, matrix) {
    const image = draw("image", { href, width: w, height: h, preserveAspectRatio: "none" });
    if (matrix) image.setAttribute("transform", matrix);
    const group = draw("g", {}, image);
    if (state.tone.some(Boolean)) group.setAttribute("filter", "url(#tone)");
    group.classList.add("toned");
    return group;
  }

  function layer(side) {
    const group = draw("g", { class: `layer-${side}` });
    if (side === "b") {
      if (told.b) group.append(picture(told.b, width, height));
      return group;
    }
    if (!told.moved) return group;
    group.append(told.matrix ? picture(told.moved, widthA, heightA, told.matrix) : picture(told.moved, width, height));
    if (!told.clip) return group;
    const id = `viewer-clip-${Math.random().toString(36).slice(2)}`;
    group.setAttribute("clip-path", `url(#${id})`);
    return draw("g", {}, draw("clipPath", { id }, draw("polygon", { points: told.clip })), group);
  }

  function outlines() {
    const group = draw("g", { class: "outlines" });
    const both = (name, attributes) => { for (const kind of ["under", "over"]) group.append(draw(name, { ...attributes, class: `${kind} ${attributes.class || ""}` })); };
    if (told.outline) both("polygon", { points: told.outline, class: "dash" });
    for (const one of (told.edits || "").split(";").filter(Boolean)) {
      const [number, ex0, ey0, ex1, ey1] = numbers(one);
      both("rect", { x: ex0, y: ey0, width: ex1 - ex0, height: ey1 - ey0, class: "change" });
      const r = 0.02 * Math.max(width, height);
      const [px, py] = [Math.max(ex0, r * 1.1), Math.max(ey0, r * 1.1)];
      const text = draw("text", { x: px, y: py + r * 0.42, "font-size": r * 1.35 });
      text.textContent = String(number);
      group.append(draw("g", { class: "pin" }, draw("circle", { cx: px, cy: py, r }), text));
    }
    return group;
  }

  function heatLayer() {
    const group = draw("g", { class: "heat-over" }, draw("image", { href: told.heat, width, height, preserveAspectRatio: "none", filter: "url(#level)" }));
    if (told.unsure) group.append(draw("path", { class: "unsure", d: told.unsure, fill: "url(#unsure)" }));
    return group;
  }

  function pane(key, label, frame, ...layers) {
    const svg = draw("svg", { class: "pane", tabindex: 0, role: "img", "aria-label": label, preserveAspectRatio: "xMidYMid meet" },
      draw("rect", { class: "void", x: frame.x, y: frame.y, width: frame.w, height: frame.h }), ...layers);
    const figure = make("figure", { class: "pane-figure" });
    const words = make("figcaption");
    figure.append(svg, words);
    panes.append(figure);
    const made = { key, svg, frame, words, figure };
    shown.push(made);
    listen(made);
    return made;
  }

  function caption(made, side, more) {
    made.words.append(make("span", { class: "tag" }, side), make("bdi", {}, side === "a" ? told.nameA : told.nameB), more);
  }

  const moved = told.still === "1" ? "" : ", moved into the frame of b";

  // ---- modes -------------------------------------------------------------------------------------------------------
  function render() {
    stop();
    panes.replaceChildren();
    extra.replaceChildren();
    shown = [];
    panes.dataset.mode = state.mode;
    MODES[state.mode]();
    panes.dataset.count = String(shown.length);
    size();
    for (const one of shown) apply(one);
    for (const button of box.querySelectorAll("button[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
    box.classList.toggle("no-outlines", !state.outlines);
  }

  // Panes are as high as the window leaves them, and no higher than their picture needs.
  function size() {
    const across = panes.clientWidth / (shown.length === 2 && told.shape !== "wide" ? 2 : 1) - 8;
    for (const one of shown) {
      const aspect = one.frame.h / one.frame.w;
      const high = clamp(across * aspect, 140, Math.max(240, innerHeight * (told.shape === "wide" && shown.length === 2 ? 0.3 : 0.62)));
      one.svg.setAttribute("height", String(Math.round(high)));
    }
  }

  const MODES = {
    side() {
      caption(pane("a", `Panel a, ${told.nameA}${moved}`, whole, layer("a"), outlines()), "a", moved);
      caption(pane("b", `Panel b, ${told.nameB}`, whole, layer("b"), outlines()), "b", "");
    },
    heat() {
      defs.querySelector("#level")?.remove();
      const source = document.getElementById("coloured");
      const level = draw("filter", { id: "level", x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" },
        draw("feColorMatrix", { values: "1 0 0 0 0  0 1 0 0 0  0 0 1 0 0  1 0 0 0 0" }),
        draw("feComponentTransfer", {}, ...Array.from(source.querySelectorAll("feFuncR, feFuncG, feFuncB"), (one) => one.cloneNode()), draw("feFuncA", { type: "linear", slope: 255, intercept: 0 })));
      defs.append(level);
      caption(pane("a", `Panel a, ${told.nameA}${moved}, under the heat-map`, whole, layer("a"), heatLayer(), outlines()), "a", moved);
      caption(pane("b", `Panel b, ${told.nameB}, under the heat-map`, whole, layer("b"), heatLayer(), outlines()), "b", "");
      range("Threshold", 1, 99, 100 * state.level, (value, output) => {
        state.level = value / 100;
        output.textContent = state.level.toFixed(2);
        level.querySelector("feFuncA").setAttribute("intercept", String(0.5 - 255 * state.level));
      });
      extra.append(make("span", { class: "quiet" }, "Yellow differs; below the threshold nothing is shown; hatched: nothing can be said."));
    },
    opacity() {
      const [bottom, top] = over();
      void bottom;
      range("Panel a over b", 0, 100, 100 * state.opacity, (value, output) => {
        state.opacity = value / 100;
        output.textContent = `${Math.round(value)} %`;
        top.setAttribute("opacity", String(state.opacity));
      });
    },
    difference() {
      const [bottom, top] = over();
      bottom.parentNode.classList.add("differ");
      top.classList.add("on-top");
      range("Gain", 1, 10, state.gain, (value, output) => {
        state.gain = value;
        output.textContent = `× ${value}`;
        bottom.parentNode.style.filter = `grayscale(1) brightness(${value})`;
      });
      extra.append(make("span", { class: "quiet" }, "Black is equal; tone is not matched in this view."));
    },
    slider() {
      const [bottom, top] = over();
      const made = shown[0];
      const cut = draw("rect", { y: -height, height: 3 * height });
      made.svg.prepend(draw("clipPath", { id: "slide" }, cut));
      top.setAttribute("clip-path", "url(#slide)");
      void bottom;
      const handle = draw("g", { class: "slide-handle" }, ...["handle-under", "handle"].map((name) => draw("line", { class: name, y1: -height, y2: 2 * height })));
      const knob = draw("g", { class: "pin knob" }, draw("circle", { r: 1 }));
      handle.append(knob);
      made.svg.append(handle);
      const output = range("Slider", 0, 100, 100 * state.at, (value, said) => { state.at = value / 100; said.textContent = `${Math.round(value)} % of a`; made.place?.(); });
      made.place = () => {
        const view = state.views[made.key];
        const x = view.x + state.at * view.w;
        cut.setAttribute("x", String(-3 * width));
        cut.setAttribute("width", String(Math.max(0, x + 3 * width)));
        for (const line of handle.querySelectorAll("line")) { line.setAttribute("x1", x); line.setAttribute("x2", x); }
        const r = 0.018 * Math.max(view.w, view.h);
        const circle = knob.querySelector("circle");
        circle.setAttribute("cx", x); circle.setAttribute("cy", view.y + view.h / 2); circle.setAttribute("r", r);
        output.value = String(Math.round(100 * state.at));
      };
      handle.addEventListener("pointerdown", (event) => {
        event.stopPropagation();
        const move = (at) => { const view = state.views[made.key]; state.at = clamp((place(made.svg, at).x - view.x) / view.w, 0, 1); output.value = String(Math.round(100 * state.at)); output.dispatchEvent(new Event("input")); };
        handle.setPointerCapture(event.pointerId);
        handle.addEventListener("pointermove", move);
        const end = () => handle.removeEventListener("pointermove", move);
        handle.addEventListener("pointerup", end, { once: true });
        handle.addEventListener("pointercancel", end, { once: true });
      });
      made.place();
    },
    blink() {
      const [bottom, top] = over();
      const made = shown[0];
      const flip = (side) => {
        state.shown = side;
        top.setAttribute("visibility", side === "a" ? "visible" : "hidden");
        bottom.setAttribute("visibility", side === "b" || !told.moved ? "visible" : told.clip ? "visible" : "hidden");
        made.words.replaceChildren(make("span", { class: "tag" }, side), make("bdi", {}, side === "a" ? told.nameA : told.nameB));
      };
      made.flip = () => flip(state.shown === "a" ? "b" : "a");
      flip("a");
      const once = make("button", { type: "button" }, "Swap");
      once.addEventListener("click", () => { made.flip(); say(`Shows ${state.shown}.`); });
      if (still.matches) extra.append(once, make("span", { class: "quiet" }, "Motion is reduced on this device: nothing blinks by itself."));
      else {
        const run = make("button", { type: "button", "aria-pressed": "false", id: "blink-run" }, "Start");
        const rate = make("select", { "aria-label": "Speed of the blinking" });
        for (const [name, value] of RATES) rate.append(make("option", { value: String(value) }, `${name}, ${value} a second`));
        rate.value = String(state.rate);
        run.addEventListener("click", () => (timer ? stop() : go()));
        rate.addEventListener("change", () => { state.rate = Number(rate.value); if (timer) { stop(); go(); } });
        extra.append(run, rate, once);
      }
    },
    points() {
      const k = height / heightA; // both as high as b
      const gap = 0.04 * (width + widthA * k);
      const frame = { x: 0, y: 0, w: widthA * k + gap + width, h: height };
      const a = draw("g", { transform: `scale(${k})` });
      if (told.a) a.append(picture(told.a, widthA, heightA));
      const b = draw("g", { transform: `translate(${widthA * k + gap} 0)` });
      if (told.b) b.append(picture(told.b, width, height));
      const lines = draw("g", { class: "matched" });
      state.views.points = state.views.points || { ...frame };
      const made = pane("points", `Panel a, ${told.nameA}, and panel b, ${told.nameB}, as published, with lines between the points that match`, frame, a, b, lines);
      made.words.append(make("span", { class: "tag" }, "a"), make("bdi", {}, told.nameA), "  ", make("span", { class: "tag" }, "b"), make("bdi", {}, told.nameB), ", as published");
      const said = make("span", { class: "quiet" }, "Looking for matched points …");
      extra.append(said);
      matched = matched || fetch(`${base}/points`, { headers: { Accept: "application/json" } }).then((answer) => { if (!answer.ok) throw new Error(); return answer.json(); });
      matched.then((points) => {
        const r = 0.005 * Math.max(frame.w, frame.h);
        points.a.forEach(([ax, ay], i) => {
          const [bx, by] = points.b[i];
          const at = { x1: ax * k, y1: ay * k, x2: bx + widthA * k + gap, y2: by };
          lines.append(draw("line", { ...at, class: "under" }), draw("line", { ...at, class: "over" }),
            draw("circle", { cx: at.x1, cy: at.y1, r }), draw("circle", { cx: at.x2, cy: at.y2, r }));
        });
        said.textContent = points.says;
      }).catch(() => { matched = null; said.textContent = "The matched points could not be had."; });
    },
  };

  function over() {
    const bottom = layer("b");
    const top = draw("g", {}, layer("a"));
    const mix = draw("g", { class: "mix" }, bottom, top);
    const made = pane("b", `Panel a, ${told.nameA}, over panel b, ${told.nameB}: ${NAMES[state.mode]}`, whole, mix, outlines());
    made.words.append(make("span", { class: "tag" }, "a"), make("bdi", {}, told.nameA), " over ", make("span", { class: "tag" }, "b"), make("bdi", {}, told.nameB));
    return [bottom, top];
  }

  function range(label, least, most, value, change) {
    const wrap = make("label", {}, label);
    const input = make("input", { type: "range", min: String(least), max: String(most), step: "1", id: "mode-range" });
    const output = make("output");
    input.value = String(Math.round(value));
    wrap.append(input, output);
    extra.append(wrap);
    input.addEventListener("input", () => change(Number(input.value), output));
    change(Number(input.value), output);
    return input;
  }

  function go() {
    const made = shown[0];
    if (still.matches || !made || !made.flip) return;
    timer = setInterval(made.flip, 1000 / state.rate);
    const run = document.getElementById("blink-run");
    if (run) { run.textContent = "Stop"; run.setAttribute("aria-pressed", "true"); }
    say(`Blinking ${state.rate} times a second. Press b to stop.`);
  }

  function stop() {
    if (!timer) return;
    clearInterval(timer);
    timer = null;
    const run = document.getElementById("blink-run");
    if (run) { run.textContent = "Start"; run.setAttribute("aria-pressed", "false"); }
    say("Blinking stopped.");
  }

  // ---- zoom and pan --------------------------------------------------------------------------------------------------
  const place = (svg, event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());

  function apply(made) {
    const view = state.views[made.key];
    made.svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    if (made.place) made.place();
  }

  function setView(made, view) {
    const frame = made.frame;
    const w = clamp(view.w, frame.w / MOST_ZOOM, frame.w);
    const h = w * (view.h / view.w);
    const kept = { x: clamp(view.x, frame.x - w / 2, frame.x + frame.w - w / 2), y: clamp(view.y, frame.y - h / 2, frame.y + frame.h - h / 2), w, h };
    if (w >= frame.w && h >= frame.h) Object.assign(kept, { ...frame });
    const both = state.linked && made.key !== "points";
    for (const key of both ? ["a", "b"] : [made.key]) state.views[key] = { ...kept };
    for (const one of shown) apply(one);
  }

  function zoom(made, factor, at) {
    const view = state.views[made.key];
    const centre = at || { x: view.x + view.w / 2, y: view.y + view.h / 2 };
    const k = clamp(factor, made.frame.w / MOST_ZOOM / view.w, Math.max(made.frame.w / view.w, made.frame.h / view.h));
    setView(made, { x: centre.x - (centre.x - view.x) * k, y: centre.y - (centre.y - view.y) * k, w: view.w * k, h: view.h * k });
  }

  function pan(made, dx, dy) {
    const view = state.views[made.key];
    setView(made, { ...view, x: view.x + dx * view.w, y: view.y + dy * view.h });
  }

  function listen(made) {
    const { svg } = made;
    const fingers = new Map();
    svg.addEventListener("wheel", (event) => { event.preventDefault(); zoom(made, event.deltaY > 0 ? 1.2 : 1 / 1.2, place(svg, event)); }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      svg.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(svg, event));
    });
    svg.addEventListener("pointermove", (event) => {
      const from = fingers.get(event.pointerId);
      if (!from) return;
      const view = state.views[made.key];
      const to = place(svg, event);
      if (fingers.size === 1) { setView(made, { ...view, x: view.x + from.x - to.x, y: view.y + from.y - to.y }); return; }
      const other = Array.from(fingers.entries()).find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(from.x - other.x, from.y - other.y);
      const now = Math.hypot(to.x - other.x, to.y - other.y);
      if (before > 0 && now > 0) zoom(made, before / now, other);
    });
    for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, (event) => fingers.delete(event.pointerId));
    svg.addEventListener("dblclick", (event) => zoom(made, 0.5, place(svg, event)));
  }

  // ---- what the page may ask of it -------------------------------------------------------------------------------------
  function setMode(mode) {
    if (mode === "heat" && !told.heat) { say("This finding has no heat-map."); return; }
    state.mode = mode;
    render();
    say(`${NAMES[mode]}.`);
  }
  const toggleMode = (mode) => setMode(state.mode === mode ? "side" : mode);

  function setTone(contrast, gamma) {
    state.tone = [contrast, gamma];
    for (const [id, value, text] of [["contrast", contrast, String(contrast)], ["gamma", gamma, (2 ** (-gamma / 50)).toFixed(2)]]) {
      const input = box.querySelector(`#${id}`);
      input.value = String(value);
      input.parentNode.querySelector("output").textContent = text;
    }
    defs.querySelector("#tone").replaceWith(tone());
    for (const group of panes.querySelectorAll(".toned")) {
      if (state.tone.some(Boolean)) group.setAttribute("filter", "url(#tone)"); else group.removeAttribute("filter");
    }
  }

  const DO = {
    in: () => zoom(shown[shown.length - 1], 1 / 1.4), out: () => zoom(shown[shown.length - 1], 1.4),
    whole: () => { for (const one of shown) setView(one, { ...one.frame }); },
    region: () => { for (const one of shown) if (one.key !== "points") setView(one, fitted(region)); },
    tone: () => setTone(0, 0),
  };
  const fitted = (view) => ({ ...view });
  const TOGGLES = {
    link() { state.linked = !state.linked; if (state.linked && shown.length) setView(shown[0], state.views[shown[0].key]); say(state.linked ? "Zoom and pan are linked." : "Each picture has its own zoom."); return state.linked; },
    outlines() { state.outlines = !state.outlines; box.classList.toggle("no-outlines", !state.outlines); say(state.outlines ? "Outlines on." : "Outlines off."); return state.outlines; },
  };
  function toggle(name) {
    box.querySelector(`[data-toggle="${name}"]`).setAttribute("aria-pressed", String(TOGGLES[name]()));
  }

  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || !box.contains(button)) return;
    if (button.dataset.mode) setMode(button.dataset.mode);
    else if (button.dataset.do) DO[button.dataset.do]();
    else if (button.dataset.toggle) toggle(button.dataset.toggle);
  });
  for (const id of ["contrast", "gamma"]) {
    box.querySelector(`#${id}`).addEventListener("input", () => setTone(Number(box.querySelector("#contrast").value), Number(box.querySelector("#gamma").value)));
  }
  const resized = () => { if (box.isConnected) size(); else removeEventListener("resize", resized); };
  addEventListener("resize", resized);
  still.addEventListener("change", stop);

  render();
  return {
    setMode, toggleMode, toggle, stop,
    act: (name) => DO[name](),
    pan: (dx, dy) => { if (shown.length) pan(shown[0], dx, dy); },
    blink() {
      if (timer) { stop(); return; }
      if (state.mode !== "blink") setMode("blink");
      if (still.matches) { shown[0].flip(); say(`Shows ${state.shown}.`); } else go();
    },
    nudge(way) { // the slider, the threshold, or whatever the mode has
      const input = extra.querySelector("#mode-range");
      if (!input) return false;
      input.value = String(Number(input.value) + way * (state.mode === "slider" ? 2 : 1));
      input.dispatchEvent(new Event("input"));
      return true;
    },
  };
}
