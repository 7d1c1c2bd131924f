/* The interactive figure: draws one run of EM, whose data are in the element em-data. */
"use strict";

const emFigure = (() => {
  const LEFT = 40, TOP = 8, SIZE = 412; // the map in units of its SVG; em_figure.css has them too
  const LOSS = { left: 46, right: 350, top: 10, bottom: 136 };
  const CELLS = 92; // squares of the coloured map, per side
  const FRAME_MS = 180;
  const { mix } = emGeometry;
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("em-data").textContent);
  const state = { problem: 0, run: 0, iteration: 0, view: "class", point: 0, x: null, label: null };
  let timer = null;

  const problem = () => data.problems[state.problem];
  const run = () => problem().runs[state.run];
  const parameters = () => run().iterations[state.iteration];
  const last = () => run().iterations.length - 1;
  const place = () => (state.x === null ? problem().X[state.point] : state.x);
  const label = () => (state.label === null ? problem().y[state.point] : state.label);

  const toMap = ([x1, x2]) => {
    const scale = SIZE / (2 * problem().extent);
    return [LEFT + (x1 + problem().extent) * scale, TOP + (problem().extent - x2) * scale];
  };
  const fromMap = ([left, top]) => {
    const scale = (2 * problem().extent) / SIZE;
    return [(left - LEFT) * scale - problem().extent, problem().extent - (top - TOP) * scale];
  };

  function svg(name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /* Colours. */
  const css = (name) => getComputedStyle(element("em-figure")).getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const cssColour = (colour) => `rgb(${colour.map(Math.round).join(",")})`;

  function palette() {
    return {
      surface: rgb(css("--em-surface")),
      classes: [0, 1, 2].map((k) => rgb(css(`--em-class-${k}`))),
      on: rgb(css("--em-on")),
      tint: Number(css("--em-tint")),
    };
  }

  /* Values on the corners of the squares of the map: p(y = k | x), or P(Z_h = 1 | x). */
  function grid(valuesAt) {
    const { extent } = problem();
    const at = (i) => -extent + (2 * extent * i) / CELLS;
    return Array.from({ length: CELLS + 1 }, (_, row) =>
      Array.from({ length: CELLS + 1 }, (_, column) => valuesAt([at(column), -at(row)])));
  }

  function drawMap() {
    const current = parameters();
    const colours = palette();
    const table = emModel.logClassTable(current);
    const byUnit = state.view !== "class";
    const unit = Number(state.view);
    const probabilities = grid((x) => emModel.classProbability(emModel.logOdds(current, x), table));
    const colourAt = (x, p) => byUnit
      ? mix(colours.surface, colours.on, 1 / (1 + Math.exp(-emModel.logOdds(current, x)[unit])))
      : [0, 1, 2].map((i) => (1 - colours.tint) * colours.surface[i]
        + colours.tint * p.reduce((sum, pk, k) => sum + pk * colours.classes[k][i], 0));
    const values = byUnit ? grid((x) => colourAt(x)) : probabilities.map((row) =>
      row.map((p) => colourAt(null, p)));
    const canvas = element("em-canvas");
    canvas.width = canvas.height = CELLS + 1;
    const context = canvas.getContext("2d");
    const image = context.createImageData(CELLS + 1, CELLS + 1);
    values.flat().forEach((colour, i) => image.data.set([...colour.map(Math.round), 255], 4 * i));
    context.putImageData(image, 0, 0);
    const d = emGeometry.boundary(probabilities, LEFT, TOP, SIZE / CELLS);
    element("em-boundary").replaceChildren(svg("path", { d, class: "em-edge" }));
  }

  /* The line P(Z_h = 1 | x) = 1/2 of every unit, and an arrow to where the probability is 0.9. */
  function drawUnits() {
    const { W, b } = parameters();
    const group = element("em-units");
    group.replaceChildren();
    b.forEach((_, h) => {
      const ends = emGeometry.clippedLine(W[0][h], W[1][h], b[h], problem().extent);
      if (ends === null) return;
      const chosen = state.view === String(h) ? " em-chosen" : "";
      const share = 0.5 + 0.16 * (h - (b.length - 1) / 2);
      const start = mix(ends[0], ends[1], share);
      const norm = Math.hypot(W[0][h], W[1][h]);
      const length = Math.min(Math.max(Math.log(9) / norm, 0.25), 0.8);
      const end = [start[0] + (length * W[0][h]) / norm, start[1] + (length * W[1][h]) / norm];
      const [from, to] = [toMap(ends[0]), toMap(ends[1])];
      const [tail, tip] = [toMap(start), toMap(end)];
      const angle = (Math.atan2(tip[1] - tail[1], tip[0] - tail[0]) * 180) / Math.PI;
      group.append(
        ...["em-line-back", `em-line${chosen}`].map((name) =>
          svg("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: name })),
        svg("line", { x1: tail[0], y1: tail[1], x2: tip[0], y2: tip[1], class: "em-arrow" }),
        svg("path", { d: "M1 0L-9 -5L-9 5Z", class: "em-arrow-head",
          transform: `translate(${tip[0]} ${tip[1]}) rotate(${angle})` }),
        svg("circle", { cx: tail[0], cy: tail[1], r: 9, class: "em-badge" }),
        svg("text", { x: tail[0], y: tail[1] + 4.2, class: "em-badge-text" }, h + 1));
    });
  }

  const SHAPES = [
    "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z",
    "M-4.6 -4.6L4.6 -4.6L4.6 4.6L-4.6 4.6Z",
    "M0 -6.2L5.8 4.4L-5.8 4.4Z",
  ];

  function drawPoints() {
    const colours = palette();
    const byUnit = state.view !== "class";
    const nodes = problem().X.map((x, i) => {
      const y = problem().y[i];
      const [left, top] = toMap(x);
      const q = byUnit ? emModel.posterior(parameters(), x, y).posterior[Number(state.view)] : 0;
      const fill = byUnit ? mix(colours.surface, colours.on, q) : colours.classes[y];
      return svg("path", { d: SHAPES[y], class: `em-point${byUnit ? " em-by-unit" : ""}`,
        fill: cssColour(fill), transform: `translate(${left} ${top})`, "data-point": i });
    });
    element("em-points").replaceChildren(...nodes);
  }

  function drawAxes() {
    const [right, bottom] = [LEFT + SIZE, TOP + SIZE];
    const nodes = [svg("rect", { x: LEFT, y: TOP, width: SIZE, height: SIZE, class: "em-axis" })];
    for (const tick of [-2, -1, 0, 1, 2]) {
      const [left, top] = toMap([tick, tick]);
      const text = String(tick).replace("-", "\u2212");
      nodes.push(
        svg("path", { d: `M${left} ${bottom}v5M${LEFT} ${top}h-5`, class: "em-axis" }),
        svg("text", { x: left, y: bottom + 18, "text-anchor": "middle" }, text),
        svg("text", { x: LEFT - 8, y: top + 4, "text-anchor": "end" }, text));
    }
    nodes.push(
      svg("text", { x: right, y: bottom + 34, "text-anchor": "end" }, "feature x\u2081"),
      svg("text", { x: 12, y: TOP, "text-anchor": "end", transform: `rotate(-90 12 ${TOP})` },
        "feature x\u2082"));
    element("em-axes").replaceChildren(...nodes);
  }

  function drawLegend() {
    const names = ["circle", "square", "triangle"];
    const classes = Array.from({ length: problem().n_classes }, (_, k) =>
      `<span><svg viewBox="-7 -7 14 14" aria-hidden="true"><path d="${SHAPES[k]}" `
      + `fill="var(--em-class-${k})"/></svg> class ${k} (${names[k]})</span>`);
    const unit = Number(state.view) + 1;
    element("em-legend").innerHTML = state.view === "class"
      ? `${classes.join("")}<span>thick line: decision boundary</span>`
        + `<span>dashed line: P(Z = 1 | x) = 1/2 of a hidden unit</span>`
      : `<span>0 <span class="em-ramp"></span> 1</span><span>map: prior P(Z = 1 | x) of unit ${unit}`
        + `</span><span>points: posterior P(Z = 1 | x, y)</span>`;
  }

  /* Loss. */
  const lossX = (t) => LOSS.left + ((LOSS.right - LOSS.left) * t) / last();
  function lossY(value) {
    const top = Math.max(...run().loss);
    return LOSS.bottom - ((LOSS.bottom - LOSS.top) * value) / top;
  }

  function drawLoss() {
    const { loss } = run();
    const axes = [svg("path", { class: "em-axis",
      d: `M${LOSS.left} ${LOSS.top}V${LOSS.bottom}H${LOSS.right}` })];
    for (let value = 0; value <= Math.max(...loss); value += 0.25) {
      axes.push(
        svg("path", { d: `M${LOSS.left} ${lossY(value)}h-4`, class: "em-axis" }),
        svg("text", { x: LOSS.left - 7, y: lossY(value) + 4, "text-anchor": "end" },
          value.toFixed(2)));
    }
    const step = last() > 50 ? 20 : last() > 25 ? 10 : 5;
    for (let t = 0; t <= last(); t += step) {
      axes.push(
        svg("path", { d: `M${lossX(t)} ${LOSS.bottom}v4`, class: "em-axis" }),
        svg("text", { x: lossX(t), y: LOSS.bottom + 17, "text-anchor": "middle" }, t));
    }
    axes.push(svg("text", { x: LOSS.right, y: LOSS.bottom + 32, "text-anchor": "end" },
      "iteration; loss in nats per row"));
    element("em-loss-axes").replaceChildren(...axes);
    element("em-loss-curve").setAttribute("d", loss.map((value, t) =>
      `${t === 0 ? "M" : "L"}${lossX(t).toFixed(1)} ${lossY(value).toFixed(1)}`).join(""));
  }

  function drawStatus() {
    const { loss } = run();
    const t = state.iteration;
    element("em-loss-mark").setAttribute("cx", lossX(t));
    element("em-loss-mark").setAttribute("cy", lossY(loss[t]));
    const text = t === 0
      ? `Iteration 0 of ${last()}: the starting values. Loss ${loss[0].toFixed(4)} nats per row.`
      : `Iteration ${t} of ${last()}. Loss ${loss[t].toFixed(4)} nats per row, `
        + `${(loss[t - 1] - loss[t]).toFixed(6)} less than before.`;
    element("em-status").textContent = text;
    element("em-map-title").textContent = `Map of the data. ${text}`;
    const slider = element("em-slider");
    slider.max = last();
    slider.value = t;
    slider.setAttribute("aria-valuetext", `iteration ${t}, loss ${loss[t].toFixed(4)}`);
  }

  /* Posterior of the selected point. */
  function bars(prior, posterior) {
    const bar = (kind, p) =>
      `<div class="em-bar em-${kind}" style="width:${(100 * p).toFixed(1)}%"></div>`;
    return `<td aria-hidden="true">${bar("prior", prior)}${bar("posterior", posterior)}</td>`;
  }

  function drawPosterior() {
    const x = place(), y = label();
    const result = emModel.posterior(parameters(), x, y);
    const rows = result.prior.map((p, h) =>
      `<tr><th scope="row">${h + 1}</th>${bars(p, result.posterior[h])}`
      + `<td>${p.toFixed(3)}</td><td>${result.posterior[h].toFixed(3)}</td></tr>`);
    element("em-unit-bars").tBodies[0].innerHTML = rows.join("");
    const states = result.statePrior.map((p, s) => {
      const name = result.prior.map((_, h) => (s >> h) & 1).join("");
      return `<tr><th scope="row">${name}</th>${bars(p, result.statePosterior[s])}`
        + `<td>${p.toFixed(3)}</td><td>${result.stateLikelihood[s].toFixed(3)}</td>`
        + `<td>${result.statePosterior[s].toFixed(3)}</td></tr>`;
    });
    element("em-state-bars").tBodies[0].innerHTML = states.join("");
    element("em-point-name").textContent = state.x === null
      ? `point ${state.point + 1} of ${problem().X.length}` : "a place without data";
    const numbers = x.map((value) => value.toFixed(2).replace("-", "\u2212")).join(", ");
    const logLikelihood = result.logLikelihood.toFixed(3).replace("-", "\u2212");
    element("em-point-text").textContent = `x = (${numbers}), p(y = ${y} | x) = `
      + `${Math.exp(result.logLikelihood).toFixed(3)}, log p = ${logLikelihood} nats`;
    element("em-label").value = y;
    const [left, top] = toMap(x);
    element("em-selected").replaceChildren(...["em-ring-back", "em-ring"].map((name) =>
      svg("circle", { cx: left, cy: top, r: 10, class: name })));
  }

  /* Drawing, and the controls. */
  function draw() {
    drawMap();
    drawUnits();
    drawPoints();
    drawStatus();
    drawPosterior();
  }

  function drawAll() {
    drawAxes();
    drawLegend();
    drawLoss();
    draw();
  }

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  }

  function choose(problemIndex, runIndex) {
    stop();
    Object.assign(state, { problem: problemIndex, run: runIndex, iteration: 0 });
    const { runs, n_classes: nClasses } = problem();
    fill(element("em-run"), runs.map(({ title }, i) => [i, title]));
    element("em-run").value = runIndex;
    const units = parameters().b.map((_, h) => [h, `hidden unit ${h + 1}`]);
    fill(element("em-view"), [["class", "classes"], ...units]);
    element("em-view").value = state.view;
    fill(element("em-label"), Array.from({ length: nClasses }, (_, k) => [k, k]));
    drawAll();
  }

  function setIteration(t) {
    state.iteration = Math.min(Math.max(t, 0), last());
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    element("em-play").textContent = "Play";
    element("em-status").setAttribute("aria-live", "polite");
  }

  function play() {
    if (timer !== null) return stop();
    if (state.iteration === last()) setIteration(0);
    element("em-play").textContent = "Pause";
    element("em-status").setAttribute("aria-live", "off"); // not ten announcements in two seconds
    timer = setInterval(() => {
      setIteration(state.iteration + 1);
      if (state.iteration === last()) stop();
    }, FRAME_MS);
    return undefined;
  }

  function selectPoint(i) {
    const n = problem().X.length;
    Object.assign(state, { point: (i + n) % n, x: null, label: null });
    drawPosterior();
  }

  function inSvg(node, event) {
    const box = node.getBoundingClientRect();
    const scale = node.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  /* A click near a point of the data selects it; another place keeps the class that is shown. */
  function selectPlace(event) {
    const clicked = inSvg(element("em-map"), event);
    const distances = problem().X.map((x) => {
      const [left, top] = toMap(x);
      return Math.hypot(left - clicked[0], top - clicked[1]);
    });
    const nearest = distances.indexOf(Math.min(...distances));
    if (distances[nearest] <= 12) return selectPoint(nearest);
    const x = fromMap(clicked);
    if (x.some((value) => Math.abs(value) > problem().extent)) return undefined;
    Object.assign(state, { label: label(), x });
    return drawPosterior();
  }

  function listen() {
    const on = (id, type, action) => element(id).addEventListener(type, action);
    on("em-problem", "change", (event) => {
      Object.assign(state, { view: "class", point: 0, x: null, label: null });
      choose(Number(event.target.value), 0);
    });
    on("em-run", "change", (event) => choose(state.problem, Number(event.target.value)));
    on("em-view", "change", (event) => {
      state.view = event.target.value;
      drawAll();
    });
    on("em-slider", "input", (event) => {
      stop();
      setIteration(Number(event.target.value));
    });
    for (const [id, step] of [["em-previous", -1], ["em-next", 1]]) {
      on(id, "click", () => {
        stop();
        setIteration(state.iteration + step);
      });
    }
    on("em-play", "click", play);
    on("em-point-previous", "click", () => selectPoint(state.point - 1));
    on("em-point-next", "click", () => selectPoint(state.point + 1));
    on("em-label", "change", (event) => {
      state.label = Number(event.target.value);
      drawPosterior();
    });
    on("em-map", "click", selectPlace);
    on("em-loss", "click", (event) => {
      stop();
      const [left] = inSvg(element("em-loss"), event);
      setIteration(Math.round((last() * (left - LOSS.left)) / (LOSS.right - LOSS.left)));
    });
    new MutationObserver(drawAll).observe(document.documentElement,
      { attributes: true, attributeFilter: ["data-theme"] });
  }

  fill(element("em-problem"), data.problems.map(({ title }, i) => [i, title]));
  choose(0, 0);
  listen();

  /* For the browser's console: the current parameters, and the posterior at the chosen place. */
  return {
    data,
    current: () => ({ ...state, x: place(), label: label(), parameters: parameters() }),
    posterior: () => emModel.posterior(parameters(), place(), label()),
  };
})();
