/* The training set: suspected mislabels, duplicates and leaks, what helps or harms on the whole. */
const ORDERS = {
  held: { name: "held-out loss", needs: "held-out-loss", good: "The label is improbable to a head that was fitted without the image (to four fifths of the training set at a time): the plainest sign of a wrong label, which a head cannot have learned by heart here. Fine-tuned blocks can have." },
  loss: { name: "loss", good: "The label is improbable to the model itself. As good a sign of a wrong label where the model predicts new images as well as those it was trained on; one that has learned wrong labels by heart hides them." },
  self: { name: "self-influence", needs: "self-influence", good: "How much the model’s own loss on an image rests on that image: high for wrong labels and for rare but right ones. At finding wrong labels about as good as a loss." },
  harm: { name: "harm to test images", needs: "mean-scores", good: "The mean score over all test images, lowest first: images without which the test loss is predicted to fall. Finds what harms this test set, whether mislabelled or not." },
  help: { name: "help to test images", needs: "mean-scores", good: "The mean score over all test images, highest first: images the test set leans on most." },
};

/* What an order goes by, and in which direction. */
function trainingColumn(at, by) {
  const columns = page.training.models[at];
  return { held: [columns.held, -1], loss: [columns.loss, -1], self: [columns.self, -1], harm: [columns.mean, 1], help: [columns.mean, -1] }[by];
}

/* Positions of a model's training images, by one of the orders. */
function trainingOrder(at, by) {
  const [values, sign] = trainingColumn(at, by);
  return page.training.id.map((_, position) => position).filter((position) => values[position] !== null)
    .sort((a, b) => sign * (values[a] - values[b]) || a - b);
}

route.views.training = async ({ parts: [part = "mislabels"], filter }) => {
  await load("queries", "training");
  const parts = [["mislabels", "Suspected mislabels"], ["duplicates", "Duplicates and leaks"], ["overall", "Help and harm overall"],
    ...models().some(({ groups }) => groups.length) ? [["groups", "Groups"]] : []];
  if (!parts.some(([key]) => key === part)) throw new Error(`The training set has no list called “${part}”.`);
  return h("article", {}, h("h1", {}, "Training images"),
    h("nav.tabs", { "aria-label": "Lists" }, parts.map(([key, name]) => h("a", { href: `#/training/${key}`, "aria-current": key === part ? "page" : null }, name))),
    part === "duplicates" ? duplicates(filter) : part === "groups" ? trainingGroups() : ordered(part, filter));
};

/* The card, its image opened as one of a list. */
function listed(card, part, filter = []) {
  card.setAttribute("href", `${card.getAttribute("href")}?${new URLSearchParams([["list", part], ...filter])}`);
  return card;
}

/* The lists that are ordered, and by what; first as they are shown first. */
const trainingLists = { mislabels: ["held", "loss", "self", "harm"], overall: ["help", "harm"] };

/* What a filter makes of one of them: the model and order chosen, those there are, and positions. */
function trainingList(part, filter) {
  const at = Math.min(Number(filter.get("model") ?? 0), models().length - 1);
  const available = trainingLists[part].filter((by) => trainingColumn(at, by)[0].some((value) => value !== null));
  const by = available.includes(filter.get("by")) ? filter.get("by") : available[0];
  const wanted = filter.get("label");
  const group = page.training.models[at].groups[filter.get("group") ?? ""];
  const members = group && new Set(group);
  const fits = finder(filter.get("find"));
  const order = by === undefined ? [] : trainingOrder(at, by).filter((position) => (wanted === null || trainLabel(position, at) === Number(wanted)) && (!members || members.has(position))
    && fits(page.training.id[position], fileOf(position), [trainLabel(position, at)]));
  return { at, by, available, order, wanted };
}

/* For below a picture, where there is room for so much. */
const shortLoss = (loss) => loss > 0 && loss < 1e-3 ? loss.toExponential(1) : loss.toPrecision(loss < 0.1 ? 2 : 3);

function ordered(part, filter) {
  const { at, by, available, order, wanted } = trainingList(part, filter);
  const orders = trainingLists[part];
  const choice = models().length > 1
    ? select("Model", String(at), models().map((model, at) => [String(at), model.name]), (model) => route.refine({ model })) : null;
  const absent = new Set(orders.filter((by) => !available.includes(by)).map((by) => absence(models()[at], ORDERS[by].needs)));
  const reasons = [...absent].filter(Boolean).map((reason) => h("p.quiet", {}, unbroken(reason)));
  if (!available.length) return h("section", {}, choice ? h("form.filters", {}, choice) : null,
    reasons.length ? reasons : h("p.quiet", {}, "This run has no numbers for these lists."));
  const columns = page.training.models[at];
  const model = models()[at];
  const classes = [["", "all"], ...page.overview.classes.map((name, label) => [String(label), name])];
  const again = () => route.show({ keep: true });
  const cell = (index) => {
    const position = order[index];
    const said = columns.prediction[position];
    const differs = said !== trainLabel(position, at);
    const value = { held: () => `held out ${shortLoss(columns.held[position])}`, loss: () => `loss ${shortLoss(columns.loss[position])}`, self: () => `self ${score(model, columns.self[position])}`,
      harm: () => score(model, columns.mean[position]), help: () => score(model, columns.mean[position]) }[by]();
    const card = trainCard(position, 64, at,
      h(`span.${differs ? "wrong-text" : "quiet"}`, {}, differs ? ["→ ", nameElement(said)] : `label ${probability(columns.probability[position])}`),
      h("span.quiet", {}, value));
    return h("div.held", {}, listed(card, part, filter), decisions.controls(position, again));
  };
  const search = h("input", { type: "search", id: "find", placeholder: FINDABLE(page.training), value: filter.get("find") ?? "",
    input: later((event) => route.refine({ find: event.target.value })) });
  return h("section", {},
    h("form.filters", { role: "search", submit: (event) => event.preventDefault() },
      choice,
      select("Order by", by, available.map((by) => [by, ORDERS[by].name]), (by) => route.refine({ by })),
      select("Label", wanted ?? "", classes, (label) => route.refine({ label })),
      model.groups.length ? select("Group", filter.get("group") ?? "", [["", "all"], ...model.groups.map(({ name }, place) => [String(place), name])],
        (group) => route.refine({ group })) : null,
      h("span.field", {}, h("label", { for: "find" }, "Find"), search)),
    h("p", {}, ORDERS[by].good),
    reasons,
    h("p.quiet", { id: "found" }, plural(order.length, "training image"), by === "loss" || by === "held" ? "" : `, scores in ${unitOf(model).name}`),
    longGrid(order.length, cell, [124, 164]));
}

/* Groups that the runs scored as a whole: what is predicted without each, and what a head fitted without it does. */
function trainingGroups() {
  const interval = (numbers, words) => {
    const [value, low, high] = numbers.map(words);
    return [h("strong", {}, value), h("span.within", {}, `[${low}, ${high}]`)];
  };
  const points = (share) => share === 0 ? "0" : `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;
  const again = () => route.show({ keep: true });
  const row = (model, at) => (place) => {
    const { name, images, score: predicted, measured } = model.groups[place];
    const ids = page.training.models[at].groups[place].map((position) => page.training.id[position]);
    return h("tr", {}, h("th", { scope: "row" }, name),
      h("td", {}, h("a", { href: `#/training/overall?${new URLSearchParams({ ...at ? { model: at } : {}, group: place })}` }, images.toLocaleString("en"))),
      h("td", {}, scoreElement(model, predicted)),
      h("td", {}, measured ? interval(measured.rise, (value) => score(model, value)) : h("span.quiet", {}, "not measured"), measured && !measured.converged ? h("span.wrong-text", {}, " that fit did not converge") : null),
      h("td", {}, measured?.right ? interval(measured.right, points) : null),
      h("td", {}, decisions.groupControls(ids, name, `group-${at}-${place}`, again)));
  };
  const table = (model, at) => {
    const order = model.groups.map((_, place) => place).sort((a, b) => model.groups[b].score - model.groups[a].score);
    if (!order.length) return h("p.quiet", {}, "This run scored no groups: ascribe rank --train-groups does.");
    return h("div.scroll", {}, h("table.groups", {},
      h("caption.unseen", {}, `Groups of training images, ${model.name}`),
      h("thead", {}, h("tr", {}, ["Group", "Images", `Predicted rise (${unitOf(model).name})`, `Measured rise (${unitOf(model).name})`,
        labelled() ? "Right, change in points" : "Predicted the same, change in points", "Decision"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, order.map(row(model, at)))));
  };
  return h("section", {},
    h("p", {}, "What happens to the mean loss of the test images without a whole group of training images, the others keeping their weight. Predicted: the sum of its images’ scores. Measured: the head fitted again without them, with 95 % intervals over test images."),
    h("p", {}, "A sum of scores is a first order: it holds for groups of which much is left elsewhere, and falls far short of what happens without all, or most, images of a class."),
    sideBySide(table));
}

/* How many groups are look-alikes by their numbers alone, which may be different things. */
function unsure(groups) {
  const alike = groups.filter((group) => group.kind !== "pixels").length;
  return alike ? h("span.quiet", {}, `, ${alike === groups.length ? "all" : alike} of them alike but not equal: look at them`) : null;
}

/* The reader's limit, or the usual one. */
const leastAlike = (filter) => {
  const asked = Number(filter.get("alike") ?? page.training.alike);
  return Number.isFinite(asked) ? asked : page.training.alike;
};

/* Equal images, and those that are at least so alike. */
const duplicatesFrom = (least) => page.training.duplicates.filter((group) => group.similarity >= least);

/* Groups whose rest is shown; a view that is drawn again after a decision leaves them so. */
const unfolded = new Set();

/* The cards of a group, those beyond a number folded away. */
function cardsOf(group, list, train, query) {
  const SHOWN = 24;
  const key = `${list} ${group.training[0]}`;
  const cards = [...group.training.map((position) => () => train(position)), ...group.queries.map((position) => () => query(position))];
  const made = (cards) => h("div.cards", {}, cards.map((card) => card()));
  if (cards.length <= SHOWN) return made(cards);
  const rest = cards.slice(SHOWN);
  const more = h("details", {}, h("summary", {}, `${rest.length} more`));
  more.addEventListener("toggle", () => more.append(made(rest)), { once: true });
  more.addEventListener("toggle", () => { if (more.open) unfolded.add(key); else unfolded.delete(key); });
  more.open = unfolded.has(key);
  return h("div", {}, made(cards.slice(0, SHOWN)), more);
}

function duplicates(filter) {
  const { alike, duplicates } = page.training;
  const near = duplicates.filter((group) => group.kind !== "pixels").map((group) => group.similarity);
  const { model, images } = page.training.compared;
  const [name, all] = [models()[model].name, page.training.id.length];
  const least = leastAlike(filter);
  const groups = duplicatesFrom(least);
  const leaks = groups.filter((group) => group.queries.length);
  const within = groups.filter((group) => group.training.length > 1);
  const again = () => route.show({ keep: true });
  const list = (name, groups) => h("ul.rows", {}, groups.map((group) => h("li.row", {},
    h("span.likeness", {}, group.kind === "pixels" ? "equal pixels" : `alike ${group.similarity.toFixed(3)}`,
      new Set([...group.training.map((at) => page.training.label[at]), ...labelled() ? group.queries.map((at) => page.queries.label[at]) : []]).size > 1
        ? h("strong.wrong-text", {}, "labels differ") : null),
    cardsOf(group, name, (position) => h("div.held", {}, listed(trainCard(position, 56, null), "duplicates", filter), decisions.controls(position, again)),
      (position) => queryCard(position, 56)))));
  const fewest = Math.floor(100 * Math.min(...near, alike)) / 100;
  const slider = h("input", { type: "range", id: "alike", min: fewest, max: 1, step: 0.005, value: least, "aria-valuetext": least.toFixed(3),
    input: later((event) => route.refine({ alike: event.target.value })) });
  return h("section", {},
    near.length ? h("form.filters", { submit: (event) => event.preventDefault() },
      h("span.field", {}, h("label", { for: "alike" }, `Alike at least ${least.toFixed(3)}`), slider)) : null,
    near.length ? h("p", {}, `How alike images are is the mean of two cosines, of what ${name} sees in them and of small thumbnails (where there are no pictures, the first alone). Where duplicates end and look-alikes begin depends on the data: lower the limit for as long as what appears is the same picture.`) : null,
    images < all ? h("p.quiet", { id: "compared" }, `Look-alikes were looked for among the ${images.toLocaleString("en")} of ${plural(all, "training image")} that ${name} was trained on; `
      + `${page.overview.layouts.train ? "equal pixels among all." : "the others were not compared."}`) : null,
    h("h2", {}, `Leaks from training to test: ${plural(leaks.length, "group")}`, unsure(leaks)),
    h("p", {}, "A test image that is in the training set too says nothing about new images."),
    leaks.length ? list("leaks", leaks) : h("p.quiet", {}, "None found."),
    h("h2", {}, `Duplicates within the training set: ${plural(within.length, "group")}`, unsure(within)),
    h("p", {}, "Equal images count twice; equal images with different labels contradict each other."),
    within.length ? list("within", within) : h("p.quiet", {}, "None found."));
}
