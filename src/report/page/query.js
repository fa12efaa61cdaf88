/* One test image: what the models say of it, and the training images behind that. */
const SHOWN = 12;

route.views.query = async ({ parts: [id], filter }) => {
  await load("queries", "training");
  const position = page.queries.id.indexOf(Number(id));
  if (position < 0 || id === "") throw new Error(`There is no test image ${id} in this audit.`);
  const piece = Math.floor(position / page.overview.per_piece);
  const details = (await ascribe.load(`query-${piece}`))[position % page.overview.per_piece];
  const order = queryOrder(filter);
  const place = order.indexOf(position);
  const tail = filter.toString() ? `?${filter}` : "";
  const all = filter.get("all") === "1";
  const rest = new URLSearchParams(filter);
  rest.delete("all");
  // The next piece is at hand when the reader steps on.
  const next = order[place + 1];
  if (next !== undefined) ascribe.load(`query-${Math.floor(next / page.overview.per_piece)}`).catch(() => {});
  const again = () => route.show({ keep: true });
  return h("article", {},
    steps(route.address({ view: "queries", filter: rest }), "Test images", order, place, (at) => `#/query/${page.queries.id[at]}${tail}`),
    h("h1", {}, `Test image ${id}${labelled() ? ": " : ", predicted "}${className(page.queries.label[position])}`),
    h("div.subject", {}, h("figure", {}, thumb("test", position, subjectSize("test"), queryName(position)), queryCaption(position)),
      sideBySide((model, at) => verdict(model, at, position, details[at]))),
    sideBySide((model, at) => behind(model, at, details[at], all, again)),
    longest(details) > SHOWN ? h("p", {}, h("button", { type: "button", id: "all", "aria-pressed": String(all),
      click: () => route.refine({ all: all ? null : "1" }) }, all ? "Show fewer" : `Show all ${longest(details)}`)) : null);
};

const longest = (details) => Math.max(...details.flatMap(({ helpful, harmful }) => [helpful.train.length, harmful.train.length]));

/* Prediction, probabilities, loss, sensitivity. */
function verdict(model, at, position, { probabilities, removal, flip }) {
  const label = page.queries.label[position];
  const prediction = page.queries.models[at].prediction[position];
  const order = probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
  const listed = [...new Set([...order.slice(0, 4), label])];
  const right = prediction === label;
  const before = flip && flip.before !== prediction ? `Training stopped early: fitted to the end on all images, the head says ${className(flip.before)}. ` : null;
  const map = page.overview.layouts[`sensitivity-${at}`];
  return h("div", {},
    h("p.verdict", {}, labelled() ? h(`span.badge.${right ? "right" : "wrong"}`, {}, right ? "right" : "wrong") : null, " predicted ",
      h("strong", {}, className(prediction)), unbroken(`, loss ${page.queries.models[at].loss[position].toPrecision(3)} nats`)),
    h("div.evidence", {},
      h("table.bars", {}, h("caption.unseen", {}, `Probabilities by ${model.name}`), h("tbody", {}, listed.map((index) =>
        h(`tr${index === label ? ".label" : ""}`, {}, h("th", { scope: "row" }, className(index)),
          h("td", {}, h("span.meter", { style: `--part:${probabilities[index]}` })), h("td", {}, probability(probabilities[index])))))),
      map ? h("figure", {}, thumb(`sensitivity-${at}`, position, 96, `Loss sensitivity of test image ${page.queries.id[position]} by ${model.name}`),
        h("figcaption", {}, "loss sensitivity")) : null),
    removal ? h("p", {}, `Without its ${plural(removal.images, "most helpful image")} the loss is predicted to rise by `,
      h("strong", {}, unbroken(`${score(model, removal.predicted)} ${unitOf(model).name}`)), removal.converged === null ? "; trained again without their losses: " : "; the head fitted again without them: ",
      h("strong", {}, unbroken(`${score(model, removal.measured)} ${unitOf(model).name}`)), removal.converged === false ? " (that fit did not converge)." : ".") : null,
    flip ? h("p", {}, flip.images.length
      ? [before, "The head fitted again without ", h("strong", {}, plural(flip.images.length, "image")), ` says ${className(flip.prediction)}.${flip.images.length > 1 ? " Fewer, chosen otherwise, may be enough." : ""} `,
        h("details", {}, h("summary", {}, "Which"), h("div.cards", {}, flip.images.slice(0, 200).map((train) => trainCard(train, 40, at))))]
      : [before, flip.tried || !flip.unsettled ? `Leaving out up to ${plural(flip.tried, "image")} did not change the prediction.` : null],
      flip.unsettled ? ` The fit without ${plural(flip.unsettled, "image")} did not converge: the search ended there.` : null) : null);
}

/* The groups of training images that the prediction rests on; where there are many, those at either end. */
function groupsBehind(model, at, groups, all) {
  if (!groups.length) return null;
  const few = all || groups.length <= SHOWN;
  const shown = few ? groups : [...groups.slice(0, SHOWN / 2), ...groups.slice(-SHOWN / 2)];
  const most = Math.max(...groups.map(([, value]) => Math.abs(value)), Number.MIN_VALUE);
  return h("section", {}, h("h4", {}, "Groups behind it", h("span.quiet", {}, ` in ${unitOf(model).name}`)),
    h("table.bars", {}, h("caption.unseen", {}, `Groups behind the prediction of ${model.name}`), h("tbody", {}, shown.map(([place, value]) =>
      h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/training/overall?${new URLSearchParams({ ...at ? { model: at } : {}, group: place })}` }, model.groups[place].name)),
        h("td", {}, h(`span.meter${value < 0 ? ".against" : ""}`, { style: `--part:${Math.abs(value) / most}` })), h("td", {}, scoreElement(model, value)))))),
    few ? null : h("p.quiet", {}, `${groups.length - shown.length} more between them`));
}

function behind(model, at, { helpful, harmful, groups }, all, again) {
  const unit = unitOf(model).name;
  const list = (title, ranked, empty) => {
    const count = all ? ranked.train.length : Math.min(SHOWN, ranked.train.length);
    return h("section", {}, h("h4", {}, title, h("span.quiet", {}, ` in ${unit}`)),
      count ? h("div.cards", { role: "list" }, ranked.train.slice(0, count).map((train, rank) => h("div.held", { role: "listitem" },
        trainCard(train, 64, at, scoreElement(model, ranked.score[rank]), proof(ranked, rank)),
        decisions.controls(train, again))))
        : h("p.quiet", {}, unbroken(empty)));
  };
  return h("div", {}, groupsBehind(model, at, groups, all), list("Most helpful", helpful, absence(model, "helpful-end") ?? "None: no score is above 0."),
    list("Most harmful", harmful, absence(model, "harmful-end") ?? "None: no score is below 0."));
}

function proof(ranked, rank) {
  if (!ranked.certified) return null;
  return ranked.certified[rank]
    ? h("span.proof", { title: "This rank is proven against the solver’s and rounding’s errors" }, `#${rank + 1} proven`)
    : h("span.quiet", { title: "Its neighbours’ scores are too near to prove this rank" }, `#${rank + 1} unproven`);
}
