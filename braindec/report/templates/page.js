"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  /** An element with properties and children; strings become text, so no caption is ever read as markup. */
  function el(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }

  // ---- colour theme: follows the system until the reader chooses ----
  const themes = ["auto", "light", "dark"];
  const words = { auto: "Auto", light: "Light", dark: "Dark" };
  const themeButton = $("#theme");

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    $(".word", themeButton).textContent = words[theme];
    themeButton.setAttribute("aria-label", `Colour theme: ${theme === "auto" ? "automatic" : theme}`);
  }

  function storedTheme() {
    // Pages opened from disk may be refused storage.
    try { return localStorage.getItem("braindec-theme"); } catch { return null; }
  }

  function storeTheme(theme) {
    try { localStorage.setItem("braindec-theme", theme); } catch { return; }
  }

  setTheme(themes.includes(storedTheme()) ? storedTheme() : "auto");
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    setTheme(next);
    storeTheme(next);
  });

  // ---- sortable tables ----
  function sortBy(button) {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = [...header.parentNode.children].indexOf(header);
    const numeric = button.dataset.kind === "number";
    const next = header.getAttribute("aria-sort") === (numeric ? "descending" : "ascending")
      ? (numeric ? "ascending" : "descending") : (numeric ? "descending" : "ascending");
    $$("thead th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", th === header ? next : "none"));
    const sign = next === "ascending" ? 1 : -1;
    const key = (row) => row.children[column].dataset.sort ?? "";
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
    });
    table.tBodies[0].append(...rows);
  }
  $$("table.sortable .sort").forEach((button) => button.addEventListener("click", () => sortBy(button)));

  // ---- collapsed parts are printed open ----
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = $$("details:not([open])");
    closed.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));

  // ---- gallery ----
  const source = $("#gallery-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const form = $("#filters");
  const panels = data.series.map((_, i) => i).filter((i) => data.series[i].panel);
  const single = panels.length === 1;
  const hasPictures = data.images.length > 0;
  // A run may decode words alone: then no empty frames stand beside what was shown.
  const drawable = panels.filter((i) => data.items.some((item) => item.pictures[i] !== null));
  const PAGE = 60;
  const RULE_COUNT = 24;
  let visible = [];
  let limit = PAGE;

  const show = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "−"));
  const heading = (i) => (i === "truth" ? "shown" : data.series[i].label);

  function boxSize() {
    const width = document.documentElement.clientWidth;
    return width <= 640 ? Math.floor((width - 32 - 5) / 2) : 128;
  }

  /** Enlargement of a picture by whole factors within a box, or 0 when it may be scaled freely. */
  function factorOf(index, box) {
    const [, width, height] = data.images[index];
    const side = Math.max(width, height);
    return side <= data.tiny ? Math.max(1, Math.floor(box / side)) : 0;
  }

  function snapped(index, box) {
    if (index === null || index === undefined || !factorOf(index, box)) return box;
    return factorOf(index, box) * Math.max(data.images[index][1], data.images[index][2]);
  }

  function picture(index, alt, box) {
    if (index === null || index === undefined) return el("span", { className: "none" }, "no picture");
    const [src, width, height] = data.images[index];
    const image = el("img", { src, alt, decoding: "async" });
    const factor = factorOf(index, box);
    if (factor) {
      Object.assign(image, { className: "tiny", width: width * factor, height: height * factor });
    } else {
      image.className = "whole";
    }
    return image;
  }

  function tile(item, which, box, caption) {
    const truth = which === "truth";
    const index = truth ? item.truth : item.pictures[which];
    const text = truth ? item.caption ?? item.concept : item.captions[which] ?? item.labels[which];
    const alt = `${truth ? "Shown" : heading(which)}: ${text ?? `stimulus ${item.stimulus}`}`;
    const decoded = !truth && data.series[which].panel;
    const figure = el("figure", { className: decoded ? "tile decoded" : "tile" },
      el("span", { className: "frame" }, picture(index, alt, box)),
      el("figcaption", {}, caption ?? heading(which)));
    if (decoded && !single) figure.lastChild.style.color = `var(--c${which % 6})`;
    figure.style.setProperty("--box", `${snapped(index, box)}px`);
    return figure;
  }

  function wording(item, which) {
    const label = item.labels[which] ? `“${item.labels[which]}”` : "";
    return [item.captions[which], label].filter(Boolean).join(" · ");
  }

  /** The first line of what was decoded in words: a caption, without answers to questions. */
  function said(item, which) {
    const text = wording(item, which).split("\n")[0];
    if (!text) return null;
    const line = el("span", { className: "said" }, text);
    line.style.color = `var(--c${which % 6})`;
    return line;
  }

  function sentences(item) {
    const lines = [];
    const seen = [item.caption, item.caption ? "" : item.concept].filter(Boolean).join(" · ");
    if (seen) lines.push(el("span", {}, `○ ${seen}`));
    for (const i of panels) {
      const text = wording(item, i);
      if (!text) continue;
      const line = el("span", { className: "own" }, `● ${single ? "" : `${heading(i)}: `}${text}`);
      line.style.color = `var(--c${i % 6})`;
      lines.push(line);
    }
    return lines.length ? el("p", { className: "words" }, ...lines) : null;
  }

  function valueLine(item, state) {
    const metric = data.metrics[state.metric];
    const line = el("p", { className: "measure" }, `${metric.label} `);
    panels.forEach((i, k) => line.append(k ? " · " : "", el("b", {}, show(item.values[i][state.metric]))));
    const where = [item.subject, item.concept && item.caption ? item.concept : null].filter(Boolean).join(", ");
    line.append(` · ${where}`);
    return line;
  }

  function card(item, state) {
    const drawn = hasPictures ? ["truth", ...drawable].map((which) => tile(item, which, boxSize())) : [];
    const label = `Enlarge item ${item.id}, ${item.caption ?? item.concept ?? item.stimulus}`;
    const button = el("button", { type: "button" }, ...drawn, hasPictures ? "" : `${item.stimulus} ⤢`);
    button.setAttribute("aria-label", label);
    button.addEventListener("click", () => openZoom(visible, item, state));
    return el("article", { className: "card" }, button, sentences(item), valueLine(item, state));
  }

  // The rules are those of braindec/report/selection.py; the page prints them in words.
  function choose(items, rule, count, state) {
    if (rule === "random") return [...items].sort((a, b) => a.rank - b.rank).slice(0, count);
    const sign = data.metrics[state.metric].direction === "higher" ? 1 : -1;
    const good = (item) => sign * item.values[state.series][state.metric];
    const eligible = items.filter((item) => item.values[state.series][state.metric] !== null);
    const ordered = eligible.map(good).sort((a, b) => a - b);
    const half = ordered.length >> 1;
    const median = ordered.length % 2 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
    const key = { best: (i) => -good(i), worst: good, median: (i) => Math.abs(good(i) - median) }[rule];
    return eligible.sort((a, b) => key(a) - key(b) || (a.id < b.id ? -1 : 1)).slice(0, count);
  }

  function ruleSentence(rule, count, total, state) {
    const noun = count === 1 ? "item" : "items";
    if (rule === "random") return `${count} of ${total} ${noun} drawn at random (seed ${data.seed}).`;
    const metric = data.metrics[state.metric];
    const owner = single ? "" : ` of ${heading(state.series)}`;
    const better = (rule === "best") === (metric.direction === "higher") ? "highest" : "lowest";
    const extent = rule === "median" ? "nearest to the median" : `with the ${better}`;
    return `The ${count} of ${total} ${noun} ${extent} ${metric.label}${owner}; ties in order of item id.`;
  }

  function readState() {
    const fields = new FormData(form);
    return {
      rule: fields.get("rule"),
      metric: Number(fields.get("metric")),
      series: Number(fields.get("series") ?? panels[0]),
      subject: fields.get("subject") ?? "",
      concept: fields.get("concept") ?? "",
      text: (fields.get("text") ?? "").trim().toLowerCase(),
    };
  }

  const haystacks = new Map(data.items.map((item) => [item, [item.id, item.stimulus, item.concept, item.caption,
    ...panels.flatMap((i) => [item.captions[i], item.labels[i]])].filter(Boolean).join(" ").toLowerCase()]));

  function filtered(state) {
    return data.items.filter((item) => (!state.subject || item.subject === state.subject)
      && (!state.concept || item.concept === state.concept)
      && (!state.text || haystacks.get(item).includes(state.text)));
  }

  const capital = (text) => text[0].toUpperCase() + text.slice(1);

  function draw() {
    const state = readState();
    const pool = filtered(state);
    const rules = state.rule === "overview" ? ["best", "median", "worst", "random"] : [state.rule];
    const groups = [];
    visible = [];
    for (const rule of pool.length ? rules : []) {
      const every = rule === "all";
      const chosen = every ? pool.slice(0, limit)
        : choose(pool, rule, rules.length > 1 ? data.count : RULE_COUNT, state);
      visible.push(...chosen.filter((item) => !visible.includes(item)));
      const cards = el("div", { className: "cards" }, ...chosen.map((item) => card(item, state)));
      cards.style.setProperty("--card", `${Math.max(200, hasPictures ? (drawable.length + 1) * 133 - 5 : 240)}px`);
      groups.push(el("section", { className: "group" },
        el("h3", {}, every ? "Every item" : capital(rule)),
        el("p", {}, every ? `In the order of the run; ${chosen.length} of ${pool.length} shown.`
          : ruleSentence(rule, chosen.length, pool.length, state)), cards));
    }
    $("#cards").replaceChildren(...groups);
    $("#more").hidden = state.rule !== "all" || pool.length <= limit;
    $("#count").textContent = pool.length === data.items.length ? `${pool.length} items.`
      : pool.length ? `${pool.length} of ${data.items.length} items pass the filters.`
        : "No item passes the filters. Clear the search or choose another concept.";
  }

  function fill(name, options, first) {
    const select = form.elements[name];
    if (first) select.append(new Option(first, ""));
    options.forEach(([value, text]) => select.append(new Option(text, value)));
    const field = select.closest("[data-field]");
    if (field && options.length < 2) field.hidden = true;
  }

  const distinct = (key) => [...new Set(data.items.map((item) => item[key]).filter(Boolean))]
    .sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).map((value) => [value, value]);
  fill("metric", data.metrics.map((metric, i) => [i, metric.label])
    .filter(([i]) => data.items.some((item) => item.values[panels[0]][i] !== null)));
  form.elements.metric.value = data.metric;
  if (form.elements.metric.value === "") form.elements.metric.add(new Option("no per-item values", data.metric, true, true));
  fill("series", panels.map((i) => [i, data.series[i].label]));
  fill("subject", distinct("subject"), "all subjects");
  fill("concept", distinct("concept"), "all concepts");
  form.hidden = false;
  form.addEventListener("input", () => { limit = PAGE; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  $("#more").addEventListener("click", () => { limit += PAGE; draw(); });

  // ---- the strip under the verdict: a random draw, never the best ----
  function drawStrip() {
    const strip = $("#strip");
    if (!strip || !hasPictures) return;
    const state = readState();
    const chosen = choose(data.items, "random", 8, state);
    const row = el("div", { className: "row" }, ...chosen.map((item) => {
      const width = document.documentElement.clientWidth;
      const box = width <= 640 ? Math.floor((width - 50) / 4) : 128;
      const button = el("button", { type: "button" }, ...["truth", ...drawable].map((which) => tile(item, which, box)),
        ...panels.filter((i) => !drawable.includes(i)).map((i) => said(item, i)).filter(Boolean));
      button.setAttribute("aria-label", `Enlarge item ${item.id}`);
      button.addEventListener("click", () => openZoom(chosen, item, state));
      return button;
    }));
    strip.replaceChildren(row, el("p", {}, `${chosen.length} of ${data.items.length} items, drawn at random (seed ${data.seed}).`));
    strip.hidden = false;
  }

  // ---- enlargement ----
  const zoom = $("#zoom");
  let walk = [];
  let at = 0;
  let zoomState = null;

  function valuesTable(item) {
    const series = data.series.map((_, i) => i).filter((i) => item.values[i].some((value) => value !== null));
    const metrics = data.metrics.map((_, m) => m).filter((m) => series.some((i) => item.values[i][m] !== null));
    if (!metrics.length) return null;
    const head = el("tr", {}, el("th", { scope: "col" }, "This item"),
      ...series.map((i) => el("th", { scope: "col", className: "num" }, heading(i))));
    const rows = metrics.map((m) => el("tr", {},
      el("th", { scope: "row" }, `${data.metrics[m].label} ${data.metrics[m].direction === "higher" ? "↑" : "↓"}`),
      ...series.map((i) => {
        const cell = el("td", { className: "num" }, el("b", {}, show(item.values[i][m])));
        if (data.series[i].panel) cell.classList.add("own");
        return cell;
      })));
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
    const scroll = el("div", { className: "scroll", tabIndex: 0 }, table);
    return scroll;
  }

  function drawZoom() {
    const item = walk[at];
    $("#zoom-title").textContent = item.caption ?? item.concept ?? `Stimulus ${item.stimulus}`;
    $("#zoom-place").textContent = `${at + 1} of ${walk.length}`;
    const body = $("#zoom-body");
    const width = Math.min(384, document.documentElement.clientWidth - 50);
    const parts = [];
    if (hasPictures) parts.push(el("div", { className: "large" }, ...["truth", ...drawable].map((w) => tile(item, w, width))));
    parts.push(sentences(item));
    const extras = data.series.map((_, i) => i).filter((i) => !panels.includes(i) && item.pictures[i] !== null);
    if (extras.length) {
      parts.push(el("div", { className: "small" }, ...extras.map((i) => {
        const value = item.values[i][zoomState.metric];
        return tile(item, i, 128, `${heading(i)}${value === null ? "" : ` ${show(value)}`}`);
      })));
    } else if (!data.allControls) {
      parts.push(el("p", { className: "fine" }, "Control pictures are embedded only for the items of the overview."));
    }
    parts.push(valuesTable(item));
    const about = [`item ${item.id}`, `subject ${item.subject}`, `fold ${item.fold}`, `stimulus ${item.stimulus}`,
      item.concept ? `concept ${item.concept}` : null].filter(Boolean).join(" · ");
    const fine = el("p", { className: "fine" }, about);
    if (item.link) fine.append(" · ", el("a", { href: item.link, target: "_blank", rel: "noopener" }, "full-size picture"));
    parts.push(fine);
    body.replaceChildren(...parts.filter(Boolean));
  }

  function openZoom(items, item, state) {
    walk = items;
    at = items.indexOf(item);
    zoomState = state;
    drawZoom();
    if (!zoom.open) zoom.showModal();
    zoom.scrollTop = 0;
  }

  function step(by) {
    at = (at + by + walk.length) % walk.length;
    drawZoom();
  }

  zoom.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    }
  });
  zoom.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target === zoom || button?.hasAttribute("data-close")) zoom.close();
    else if (button?.dataset.step) step(Number(button.dataset.step));
  });

  let lastWidth = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    const width = document.documentElement.clientWidth;
    if (width === lastWidth) return;
    lastWidth = width;
    draw();
    drawStrip();
  });
  draw();
  drawStrip();
})();
