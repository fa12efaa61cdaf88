/* One training image: what the models make of it, and the test images that rest on it. */
route.views.image = async ({ parts: [id], filter }) => {
  await load("queries", "training");
  const position = positionOf(Number(id));
  if (position < 0 || id === "") throw new Error(`There is no training image ${id} in this audit.`);
  const piece = await ascribe.load(`image-${Math.floor(position / page.overview.per_piece)}`);
  const details = piece[position % page.overview.per_piece];
  const alike = duplicatesFrom(leastAlike(filter)).filter((group) => group.training.includes(position));
  const again = () => route.show({ keep: true });
  const list = filter.get("list");
  const order = trainingLists[list] ? trainingList(list, filter).order : [];
  const rest = new URLSearchParams(filter);
  rest.delete("list");
  const part = trainingLists[list] || list === "duplicates" ? list : "mislabels";
  return h("article", { "data-subject": position },
    steps(route.address({ view: "training", parts: [part], filter: rest }), "Training images", order, order.indexOf(position), (at) => `#/image/${page.training.id[at]}?${filter}`),
    h("h1", {}, `Training image ${id}: ${className(page.training.label[position])}`),
    h("div.subject", {}, h("figure", {}, thumb("train", position, subjectSize("train"), trainName(position)), h("figcaption", {}, `labelled ${className(page.training.label[position])}`, fileOf(position) ? h("span.file", {}, fileOf(position)) : null)),
      h("div", {}, sideBySide((model, at) => standing(model, at, position)), h("p", {}, decisions.controls(position, again)))),
    alike.length ? h("section", {}, h("h2", {}, "Also in the data"), alike.map((group) => h("div.cards", {},
      group.training.filter((other) => other !== position).map((other) => trainCard(other, 56, null, h("span.quiet", {}, group.kind === "pixels" ? "equal" : group.similarity.toFixed(3)))),
      group.queries.map((other) => queryCard(other, 56, h("span.quiet", {}, "in the test set")))))) : null,
    sideBySide((model, at) => rests(model, details[at])));
};

function standing(model, at, position) {
  const columns = page.training.models[at];
  if (columns.prediction[position] === null) return h("p.quiet", {}, "This model was not trained on it.");
  const label = columns.label[position];
  const facts = label === page.training.label[position] ? [] : [["trained as", className(label)]];
  facts.push(["predicted", className(columns.prediction[position])], ["label’s probability", probability(columns.probability[position])],
    ["loss", `${columns.loss[position].toPrecision(3)} nats`]);
  if (columns.held[position] !== null) facts.push(["held-out loss", `${columns.held[position].toPrecision(3)} nats`]);
  if (columns.self[position] !== null) facts.push(["self-influence", `${score(model, columns.self[position])} ${unitOf(model).name}`]);
  if (columns.mean[position] !== null) facts.push(["mean score over test images", `${score(model, columns.mean[position])} ${unitOf(model).name}`]);
  return h("dl.facts", {}, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, unbroken(value))]));
}

function rests(model, { helps, harms, ranked_by }) {
  const list = (title, pairs) => h("section", {}, h("h4", {}, title),
    pairs.length ? h("div.cards", {}, pairs.map(([position, value]) => queryCard(position, 64, scoreElement(model, value))))
      : h("p.quiet", {}, "None among the ranks that were kept."));
  return h("div", {}, h("p.quiet", {}, `Ranked by ${plural(ranked_by, "test image")}; scores in ${unitOf(model).name}.`),
    list("Helps most", helps), list("Harms most", harms));
}
