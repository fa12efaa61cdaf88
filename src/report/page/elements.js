/* Elements, pictures and numbers. Text is always set as text, never as markup. */
const page = { overview: null, queries: null, training: null };

/* h("p.note", { title: "…" }, "text", child): functions among the properties listen, null children are left out. */
function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "style") element.style.cssText = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, properties, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const className = (label) => page.overview.classes[label] ?? `class ${label}`;
const models = () => page.overview.models;
const percent = (share, places = 0) => `${(100 * share).toFixed(places)} %`;
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/* Of a probability; never 0 or 100 where it is neither. */
function probability(value) {
  if (value > 0 && value < 0.001) return "< 0.1 %";
  if (value < 1 && value > 0.999) return "> 99.9 %";
  return percent(value, 1);
}

const UNITS = [[1, "nats"], [1e3, "millinats"], [1e6, "micronats"], [1e9, "nanonats"]];

/* The unit that suits the scores of a model and of those beside it: { factor, name }. */
function unitOf(model) {
  if (model.unit !== "nats") return { factor: 1, name: model.unit };
  const largest = Math.max(...models().filter(({ unit }) => unit === "nats").map(({ largest_score }) => largest_score));
  const [factor, name] = UNITS.find(([factor]) => largest * factor >= 0.5) ?? UNITS[3];
  return { factor, name };
}

/* Text as nodes, in which options and numbers with exponents are not broken across lines. */
const unbroken = (text) => text.split(/(?<=^|[\s(])(--[a-z][\w-]*|[-+−]?[\d.]+e[-+−]?\d+)/).map((part, at) => at % 2 ? h("span.unbroken", {}, part) : part);

function signed(value, places = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? size.toExponential(places - 1)
    : size >= 10 ** places ? size.toFixed(0) : size.toPrecision(places);
  return `${value > 0 ? "+" : "−"}${text}`;
}

const score = (model, value) => signed(value * unitOf(model).factor);

/* A number with its sign and, for a reader who hears it, its meaning. */
function scoreElement(model, value) {
  const unit = unitOf(model).name;
  const meaning = value >= 0 ? "helpful" : "harmful";
  return h(`span.score.${meaning}`, { title: `${score(model, value)} ${unit}, ${meaning}` }, score(model, value));
}

/* Cuts one picture out of its sheet; the number stands in where there are no pictures. */
function thumb(list, position, size, description) {
  const layout = page.overview.layouts[list];
  if (!layout) return h("span.thumb.none", { style: `width:${size}px;height:${size}px`, role: "img", "aria-label": description }, (list === "train" ? page.training : page.queries).id[position]);
  const perSheet = layout.columns * layout.columns;
  const place = position % perSheet;
  const [column, row] = [place % layout.columns, Math.floor(place / layout.columns)];
  const address = ascribe.address(`${layout.name}-${Math.floor(position / perSheet)}`);
  const style = `width:${size}px;height:${size}px;background-image:url("${address}");`
    + `background-size:${layout.columns * size}px auto;background-position:${-column * size}px ${-row * size}px;`
    + (size >= 2 * layout.tile ? "image-rendering:pixelated;" : "");
  return h("span.thumb", { style, role: "img", "aria-label": description });
}

/* Why a run has no numbers of a kind, in a sentence; nothing where it has them. */
const absence = (model, what) => model.absences.find((absent) => absent.what === what)?.reason;

/* Whether test images have labels of their own; else each counts as one of the class that is predicted. */
const labelled = () => page.overview.labelled;

/* What is known of a test image without the models, below its picture; nothing where nothing is. */
function queryCaption(position) {
  const label = labelled() ? `labelled ${className(page.queries.label[position])}` : null;
  const file = page.queries.file[position];
  return label || file ? h("figcaption", {}, label, file ? h("span.file", {}, file) : null) : null;
}

const queryName = (position) => `test image ${page.queries.id[position]}, ${labelled() ? "" : "predicted "}${className(page.queries.label[position])}`;
const trainName = (position, at) => `training image ${page.training.id[position]}, ${className(trainLabel(position, at))}`;

/* What a training image is labelled; by model `at`, what that was trained on: a decision may lie between two runs. */
const trainLabel = (position, at = null) => (at === null ? null : page.training.models[at].label[position]) ?? page.training.label[position];

/* Where the training image of an id stands among those trained on; -1 where it is none of them. */
const positionOf = (() => {
  let positions;
  return (id) => {
    positions ??= new Map(page.training.id.map((id, position) => [id, position]));
    return positions.get(id) ?? -1;
  };
})();

/* The file of a training image, where the data set is a folder of files. */
const fileOf = (position) => page.training.file[position];

/* A name in its own direction, whatever stands beside it. */
const nameElement = (label) => h("bdi", {}, className(label));

/* What the picture of a card is of; below it only where it is not to be seen otherwise. */
const identity = (name) => h("span.quiet.identity", {}, name);

/* A training image as a link, with what is said below it and how it was decided; labelled as model `at` was trained on it. */
function trainCard(position, size, at, ...below) {
  const decision = decisions.of(page.training.id[position]);
  const state = decision ? `.${decision.decision}` : "";
  const own = page.training.label[position];
  const differs = trainLabel(position, at) === own ? [] : [`labelled ${className(own)} in another run`];
  const name = `training ${page.training.id[position]}`;
  const title = [name, ...differs, ...(fileOf(position) ? [fileOf(position)] : [])].join(", ");
  const card = h(`a.card${state}`, { href: `#/image/${page.training.id[position]}`, "data-train": position, title },
    thumb("train", position, size, trainName(position, at)),
    h("span.name", { dir: "auto" }, className(trainLabel(position, at))),
    identity(name), ...below);
  return card;
}

function queryCard(position, size, ...below) {
  const right = models().map((_, at) => page.queries.models[at].prediction[position] === page.queries.label[position]);
  const state = !labelled() ? "" : right.every(Boolean) ? ".right" : right.some(Boolean) ? ".mixed" : ".wrong";
  const name = `test ${page.queries.id[position]}`;
  const file = page.queries.file[position];
  return h(`a.card${state}`, { href: `#/query/${page.queries.id[position]}`, title: file ? `${name}, ${file}` : name },
    thumb("test", position, size, queryName(position)),
    h("span.name", { dir: "auto" }, className(page.queries.label[position])),
    identity(name), ...below);
}

/* The way up to a list, and to the neighbours of what is at `place` in its order. */
function steps(list, name, order, place, address) {
  const step = (to, rel, text) => order[to] === undefined ? h("span.button.off", {}, text) : h("a.button", { rel, href: address(order[to]) }, text);
  return h("p.steps", {}, h("a", { href: list, rel: "up" }, name), place < 0 ? null : [h("span.spring"), step(place - 1, "prev", "← Previous"),
    h("span.quiet", {}, `${place + 1} of ${order.length}`), step(place + 1, "next", "Next →")]);
}

/* How large the picture that a page is about is shown: a small one enlarged, a large one as large as it was kept. */
const subjectSize = (list) => Math.max(160, page.overview.layouts[list]?.tile ?? 0);

/* One column a model, its name above it where there are two. */
function sideBySide(of) {
  const columns = models().map((model, at) => h("section.model", { "aria-label": model.name },
    models().length > 1 ? h("h3.model-name", {}, h(`span.swatch.series-${at}`), model.name) : null,
    of(model, at)));
  return h("div.models", {}, columns);
}

function select(label, value, options, change) {
  const id = `select-${label.replace(/\W+/g, "-").toLowerCase()}`;
  const element = h("select", { id, change: (event) => change(event.target.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return h("span.field", {}, h("label", { for: id }, label), element);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

/* Most images of a list that are printed. */
const PRINTED = 2000;

/* A window onto a long list: only the rows in sight are in the document; drawn by the view that holds it. */
function longGrid(count, cell, [width, height]) {
  const grid = h("div.long-grid", { role: "list" });
  const holder = h("div.long", {}, grid);
  /* What is in the document, by place. */
  const items = new Map();
  const made = (at) => h("div", { role: "listitem", "aria-setsize": count, "aria-posinset": at + 1 }, cell(at));
  let shown = "";
  let printing = false;
  function draw() {
    if (printing || !holder.isConnected) return;
    const columns = Math.max(1, Math.floor(holder.clientWidth / width));
    const rows = Math.ceil(count / columns);
    holder.style.height = `${rows * height}px`;
    const above = -holder.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / height) - 2);
    const last = Math.min(rows, Math.ceil((above + window.innerHeight) / height) + 2);
    const key = `${columns} ${first} ${last}`;
    if (key === shown) return;
    shown = key;
    const [begin, end] = [first * columns, Math.min(count, last * columns)];
    for (const [at, item] of items) if (at < begin || at >= end) { item.remove(); items.delete(at); }
    // What stays in sight is not touched: one of it may have the focus.
    for (let at = end - 1; at >= begin; at -= 1) {
      if (items.has(at)) continue;
      items.set(at, made(at));
      grid.insertBefore(items.get(at), items.get(at + 1) ?? null);
    }
    grid.style.transform = `translateY(${first * height}px)`;
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    grid.style.gridAutoRows = `${height}px`;
  }
  const listen = new AbortController();
  for (const event of ["scroll", "resize"]) {
    window.addEventListener(event, () => {
      if (holder.isConnected) requestAnimationFrame(draw); else listen.abort();
    }, { passive: true, signal: listen.signal });
  }
  // On paper all of it is in sight.
  window.addEventListener("beforeprint", () => {
    if (!holder.isConnected) return listen.abort();
    printing = true;
    holder.style.height = "auto";
    grid.style.position = "static";
    grid.style.transform = "none";
    grid.style.gridTemplateColumns = `repeat(auto-fill, minmax(${width - 20}px, 1fr))`;
    grid.style.gridAutoRows = "auto";
    shown = "";
    items.clear();
    grid.replaceChildren(...Array.from({ length: Math.min(count, PRINTED) }, (_, at) => made(at)),
      ...count > PRINTED ? [h("p.quiet", {}, `and ${(count - PRINTED).toLocaleString("en")} more`)] : []);
  }, { signal: listen.signal });
  window.addEventListener("afterprint", () => {
    grid.style.position = "";
    grid.replaceChildren();
    printing = false;
    draw();
  }, { signal: listen.signal });
  holder.draw = draw;
  return holder;
}
