/* The test images, filtered and sorted; the same order is that of "next" and "previous" beside one of them. */
const STATES = () => {
  const list = [["", "all"]];
  if (labelled()) models().forEach((model, at) => {
    const name = models().length > 1 ? ` (${model.name})` : "";
    list.push([`wrong-${at}`, `wrong${name}`], [`right-${at}`, `right${name}`]);
  });
  if (models().length > 1) list.push(["apart", "models disagree"]);
  return list;
};

const QUERY_ORDERS = () => {
  const list = [["", "as in the data"]];
  models().forEach((model, at) => {
    const name = models().length > 1 ? ` (${model.name})` : "";
    list.push([`loss-${at}`, `largest loss${name}`], [`sure-${at}`, `surest prediction${name}`]);
    if (page.queries.models[at].flip.some((count) => count)) list.push([`flip-${at}`, `fewest images change it${name}`]);
  });
  return list;
};

/* Positions of the queries that a filter lets through, in its order. */
function queryOrder(filter) {
  const { id, label, models: columns } = page.queries;
  const [state, stateModel] = (filter.get("state") ?? "").split("-");
  const [sort, sortModel] = (filter.get("sort") ?? "").split("-");
  const wanted = (name) => filter.get(name) === null ? null : Number(filter.get(name));
  const [ofLabel, ofPrediction, by] = [wanted("label"), wanted("prediction"), wanted("by")];
  const fits = finder(filter.get("find"));
  const predicted = (position) => columns.map((model) => model.prediction[position]);
  const kept = id.map((_, position) => position).filter((position) => {
    if (ofLabel !== null && label[position] !== ofLabel) return false;
    if (ofPrediction !== null && !predicted(position).some((own, at) => own === ofPrediction && (by ?? at) === at)) return false;
    if (state === "wrong" && columns[stateModel]?.prediction[position] === label[position]) return false;
    if (state === "right" && columns[stateModel]?.prediction[position] !== label[position]) return false;
    if (state === "apart" && new Set(predicted(position)).size < 2) return false;
    return fits(id[position], page.queries.file[position], [label[position], ...predicted(position)]);
  });
  const model = columns[sortModel];
  const key = model && {
    loss: (position) => -model.loss[position],
    sure: (position) => -model.probability[position],
    flip: (position) => model.flip[position] || Infinity,
  }[sort];
  if (key) kept.sort((a, b) => (key(a) - key(b)) || (a - b));
  return kept;
}

route.views.queries = async ({ filter }) => {
  await load("queries", "training");
  const order = queryOrder(filter);
  const classes = [["", "all"], ...page.overview.classes.map((name, at) => [String(at), name])];
  const search = h("input", { type: "search", id: "find", placeholder: FINDABLE(page.queries), value: filter.get("find") ?? "",
    input: later((event) => route.refine({ find: event.target.value })) });
  const tail = filter.toString() ? `?${filter}` : "";
  const states = STATES();
  const cell = (at) => {
    const position = order[at];
    const predicted = [...new Set(page.queries.models.map((model) => model.prediction[position]))].flatMap((label) => [" → ", nameElement(label)]);
    const sure = () => page.queries.models.map((model) => probability(model.probability[position]));
    const card = queryCard(position, 64, h("span.quiet", {}, labelled() ? predicted : sure().join(" ")));
    card.setAttribute("href", card.getAttribute("href") + tail);
    return card;
  };
  return h("article", {},
    h("h1", {}, "Test images"),
    h("form.filters", { role: "search", submit: (event) => event.preventDefault() },
      h("span.field", {}, h("label", { for: "find" }, "Find"), search),
      labelled() ? select("Label", filter.get("label") ?? "", classes, (label) => route.refine({ label })) : null,
      select("Predicted", filter.get("prediction") ?? "", classes, (prediction) => route.refine({ prediction })),
      models().length > 1 ? select("By", filter.get("by") ?? "", [["", "either"], ...models().map((model, at) => [String(at), model.name])], (by) => route.refine({ by })) : null,
      states.length > 1 ? select("Show", filter.get("state") ?? "", states, (state) => route.refine({ state })) : null,
      select("Sort", filter.get("sort") ?? "", QUERY_ORDERS(), (sort) => route.refine({ sort })),
      filter.size ? h("a.button", { href: "#/queries" }, "Clear") : null),
    h("p.quiet", { id: "found" }, plural(order.length, "test image"), ". ",
      labelled() ? [h("span.legend.right", {}, "right"), models().length > 1 ? h("span.legend.mixed", {}, "one model right") : null, h("span.legend.wrong", {}, "wrong")] : null),
    order.length ? longGrid(order.length, cell, [104, 124]) : h("p", {}, "No test image fits. ", h("a", { href: "#/queries" }, "Show all")));
};

/* After the last of several quick events, unless the reader has gone on to another view. */
function later(act) {
  let timer;
  return (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (event.target.isConnected) act(event); }, 150);
  };
}
