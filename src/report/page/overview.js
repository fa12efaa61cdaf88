/* What was trained on what, how far the answers can be trusted, and where to look first. */
route.views.overview = async () => {
  await load("queries", "training");
  const { title, left_out } = page.overview;
  const counts = `${plural(page.queries.id.length, "test image")}, ${plural(page.training.id.length, "training image")}, ${plural(page.overview.classes.length, "class", "classes")}`;
  return h("article", {},
    h("h1", {}, title),
    h("p.lead", {}, "Which training images do these predictions rest on, and how far can that answer be trusted?"),
    h("p.quiet", {}, counts, left_out ? `; ${plural(left_out, "more test image")} left out, for which the models predict different classes` : null),
    lookFirst(),
    sideBySide((model) => h("div", {},
      h("dl.facts", {}, model.facts.flatMap(({ name, value }) => [h("dt", {}, name), h("dd", {}, unbroken(value))])),
      h("ul.statements", { "aria-label": "How far to trust it" },
        model.statements.map(({ tone, text }) => h(`li.${tone}`, {}, h("span.tone", {}, TONES[tone]), " ", unbroken(text)))))),
    h("section", {}, h("h2", {}, "What a score means"), meaning()),
    h("section", {}, h("h2", {}, "Class match"),
      h("p", {}, "How often the training image at a rank has the class of the image it explains. It describes the ranking; it does not prove it right."),
      classMatch(), pairedMatch()),
    h("section", {}, h("h2", {}, labelled() ? "Confusion matrix" : "Predictions"),
      h("p", {}, !labelled() ? "Test images by the class that is predicted, which leads to the training images behind it."
        : classesInSight().length > TABLE ? "Pairs of label and prediction lead to the training images behind them."
          : "Rows are labels, columns predictions; a cell leads to the training images behind it."),
      sideBySide((_, at) => confusionMatrix(at))));
};

const TONES = { good: "Good:", note: "Note:", warning: "Careful:" };

function meaning() {
  const divided = models().filter(({ unit }) => unit !== "nats");
  const whose = divided.length < models().length ? ` of ${divided.map(({ name }) => name).join(" and ")}` : "";
  return h("div", {},
    h("p", {}, "A score belongs to a test image and a training image. ", divided.length < models().length
      ? "It is the predicted rise of the test image’s loss if that training image had been left out: " : "Its sign is that of the predicted rise of the test image’s loss if that training image had been left out: ",
      h("strong.helpful", {}, "positive is helpful"), ", ", h("strong.harmful", {}, "negative is harmful"),
      ". It is given in ", [...new Set(models().map((model) => unitOf(model).name))].join(" and "), "."),
    divided.length ? h("p", {}, `Scores${whose} were divided (--normalise): their size is no rise of a loss, and only their order and sign are to be read.`) : null,
    h("p", {}, "What is taken to be learned anew without the image is what “scores through” says above; everything before it stays as it is."),
    h("p", {}, "Scores describe what this model learned from these images to first order. They do not say that an image is wrong, nor what another training run would give; where measured values stand beside them, these say how well they hold."));
}

/* The few places that are most worth a look. */
function lookFirst() {
  const { queries, training } = page;
  const items = [];
  // Two runs of one model predict the same: what rests on predictions alone is shown once.
  const different = predictAlike() ? models().slice(0, 1) : models();
  const nameOf = (model) => different.length > 1 ? `, ${model.name}` : "";
  if (!labelled()) {
    const unsure = queryOrder(new URLSearchParams("sort=loss-0"));
    items.push(["Least sure", "#/queries?sort=loss-0", unsure.slice(0, 5).map((position) => queryCard(position, 48)), "test images, least probable prediction first"]);
  }
  different.forEach((model, at) => {
    const columns = queries.models[at];
    const wrong = queries.id.map((_, position) => position)
      .filter((position) => columns.prediction[position] !== queries.label[position])
      .sort((a, b) => columns.probability[b] - columns.probability[a]);
    if (wrong.length) items.push([`Surely wrong${nameOf(model)}`, `#/queries?state=wrong-${at}&sort=sure-${at}`,
      wrong.slice(0, 5).map((position) => queryCard(position, 48)), plural(wrong.length, "wrong prediction")]);
  });
  if (different.length === 2) {
    const apart = queries.id.map((_, position) => position)
      .filter((position) => queries.models[0].prediction[position] !== queries.models[1].prediction[position]);
    if (apart.length) items.push(["The models disagree", "#/queries?state=apart",
      apart.slice(0, 5).map((position) => queryCard(position, 48)), plural(apart.length, "test image")]);
  }
  different.forEach((model, at) => {
    const order = trainingOrder(at, page.training.models[at].held.some((value) => value !== null) ? "held" : "loss");
    if (order.length) items.push([`Perhaps mislabelled${nameOf(model)}`, `#/training/mislabels?model=${at}`,
      order.slice(0, 5).map((position) => trainCard(position, 48, at)), "training images, least probable label first"]);
  });
  const leaks = duplicatesFrom(training.alike).filter((group) => group.queries.length);
  const leaked = (fits) => leaks.filter(fits).flatMap((group) => group.queries);
  const equal = new Set(leaked((group) => group.kind === "pixels"));
  const alike = new Set(leaked((group) => group.kind !== "pixels").filter((position) => !equal.has(position)));
  if (leaks.length) items.push([`${equal.size ? "Leaks" : "Perhaps leaks"} from training to test`, "#/training/duplicates",
    [...equal, ...alike].slice(0, 5).map((position) => queryCard(position, 48)), [
      ...equal.size ? [`${plural(equal.size, "test image")} equal to a training image`] : [],
      ...alike.size ? [`${equal.size ? alike.size.toLocaleString("en") : plural(alike.size, "test image")} alike but not equal: look at ${alike.size === 1 ? "it" : "them"}`] : []].join(", ")]);
  return h("section", {}, h("h2", {}, "Look here first"),
    h("div.first", {}, items.map(([name, href, cards, note]) => h("div.panel", {},
      h("h3", {}, h("a", { href }, name)), h("div.strip", {}, cards), h("p.quiet", {}, note)))));
}

/* Whether two runs give every image the same prediction with the same probability. */
function predictAlike() {
  const same = ([one, other]) => ["prediction", "probability"].every((key) => one[key].every((value, at) => value === other[key][at]));
  return models().length === 2 && same(page.queries.models) && same(page.training.models);
}

function classMatch() {
  const [width, height, left, bottom] = [640, 300, 44, 40];
  const sets = [...new Set(models().flatMap((model) => model.class_match.map((curve) => curve.queries)))];
  if (!sets.length) return h("p.quiet", {}, "No ranks were kept.");
  return h("div.charts", {}, sets.map((set) => {
    const curves = models().map((model, at) => ({ model, at, curve: model.class_match.find((curve) => curve.queries === set) }))
      .filter(({ curve }) => curve);
    const ranks = Math.max(...curves.map(({ curve }) => curve.percent.length));
    const x = (rank) => left + (width - left - 12) * (ranks > 1 ? Math.log(rank) / Math.log(ranks) : 0.5);
    const y = (value) => 10 + (height - bottom - 10) * (1 - value / 100);
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img",
      "aria-label": `Class match by rank, ${set}: ` + curves.map(({ model, curve }) => `${model.name} ${curve.percent[0]} percent at rank 1`).join(", ") });
    for (const value of [0, 25, 50, 75, 100]) chart.append(
      svg("line", { x1: left, x2: width - 12, y1: y(value), y2: y(value), class: "grid" }),
      text(left - 6, y(value) + 4, value, "end"));
    for (const rank of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].filter((rank) => rank <= ranks))
      chart.append(text(x(rank), height - bottom + 18, rank, "middle"));
    chart.append(text((left + width) / 2, height - 4, "rank, most helpful first", "middle"));
    for (const { at, curve } of curves) {
      const path = curve.percent.map((value, rank) => `${rank ? "L" : "M"}${x(rank + 1).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      chart.append(svg("path", { d: path, class: `series series-${at}` }));
    }
    const chance = curves[0].curve.chance;
    chart.append(svg("line", { x1: left, x2: width - 12, y1: y(chance), y2: y(chance), class: "chance" }),
      text(left + 6, y(chance) - 5, "chance", "start"));
    return h("figure", {}, h("figcaption", {}, `Percent of ${set}${set.includes(",") ? "," : ""} whose image at the rank has their class `,
      curves.map(({ model, at, curve }) => h("span.key", {}, h(`span.swatch.series-${at}`), `${model.name}: ${curve.percent[0].toFixed(1)} % at rank 1 `))), chart);
  }));

  function text(x, y, content, anchor) {
    return svg("text", { x, y, "text-anchor": anchor }, String(content));
  }
}

/* How the second model ranks for the same queries, in sentences. */
function pairedMatch() {
  const points = ({ value, low, high }) => {
    const [own, least, most] = [value, low, high].map((share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`);
    return `${own} points (95 %: ${least} to ${most})`;
  };
  const share = ({ value, low, high }) => `${percent(value, 1)} (95 %: ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
  const overlap = ({ value, low, high }) => `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  return page.overview.paired.map(({ queries, difference: of }) => h("p.paired", {},
    `On the same ${of.query_count.toLocaleString("en")} ${queries}, ${models()[1].name} less ${models()[0].name}: `,
    h("strong", {}, points(of.first_match)), ` at rank 1, ${points(of.ranks_match)} over the first ${of.ranks}. `,
    of.shared ? `Of these both have ${share(of.shared)}; rank-biased overlap ${overlap(of.rank_biased_overlap)}.` : null));
}

/* Most classes of a table of confusions; where there are more, or no labels, its fullest cells are listed, so many right and so many
   wrong ones. */
const TABLE = 60;
const FULLEST = 30;

/* The classes that test images have, or are predicted as by a model. */
const classesInSight = () => [...new Set(models().flatMap((model) => model.cells.flatMap(([label, prediction]) => [label, prediction])))].sort((a, b) => a - b);

function confusionMatrix(at, chosen) {
  const classes = classesInSight();
  if (!labelled() || classes.length > TABLE) return fullestCells(at, chosen);
  const cells = new Map(models()[at].cells.map(([label, prediction, count]) => [`${label} ${prediction}`, count]));
  const sums = new Map();
  for (const [label, , count] of models()[at].cells) sums.set(label, (sums.get(label) ?? 0) + count);
  const cell = (label, prediction) => {
    const count = cells.get(`${label} ${prediction}`) ?? 0;
    const share = count ? count / sums.get(label) : 0;
    const kind = label === prediction ? "hit" : "miss";
    const current = chosen && chosen.label === label && chosen.prediction === prediction;
    const content = count ? h("a", { href: `#/confusions/${label}/${prediction}`, "aria-current": current ? "true" : null,
      "aria-label": `${className(label)} predicted as ${className(prediction)}: ${count}` }, count) : h("span", { "aria-hidden": "true" }, "·");
    return h(`td.${kind}${current ? ".chosen" : ""}`, { style: `--share:${Math.sqrt(share).toFixed(3)}` }, content);
  };
  const names = classes.map(className);
  const rest = page.overview.classes.length - classes.length;
  return h("div.scroll", {}, h(`table.matrix${names.every((name) => name.length < 4) ? ".short" : ""}`, {},
    h("caption.unseen", {}, `Confusion matrix of ${models()[at].name}`),
    h("thead", {}, h("tr", {}, h("td", {}), names.map((name) => h("th", { scope: "col", title: name }, h("span", {}, name))))),
    h("tbody", {}, classes.map((label, row) => h("tr", {}, h("th", { scope: "row", title: names[row] }, names[row]),
      classes.map((prediction) => cell(label, prediction)))))),
    rest ? h("p.quiet", {}, `${plural(rest, "class", "classes")} of no test image and no prediction left out.`) : null);
}

/* In the place of a table that would be too large: the cells with most test images. */
function fullestCells(at, chosen) {
  const { cells } = models()[at];
  const list = (title, what, more, fits) => {
    const listed = cells.filter(fits).sort((a, b) => b[2] - a[2]);
    const row = ([label, prediction, count]) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/confusions/${label}/${prediction}`,
      "aria-current": chosen && chosen.label === label && chosen.prediction === prediction ? "true" : null },
      labelled() && label !== prediction ? [nameElement(label), " → ", nameElement(prediction)] : className(prediction))), h("td", {}, count.toLocaleString("en")));
    return h("section", {}, h("h4", {}, title),
      listed.length ? h("table.groups.fullest", {}, h("caption.unseen", {}, `${title}, ${models()[at].name}`),
        h("thead", {}, h("tr", {}, [what, "Test images"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, listed.slice(0, FULLEST).map(row))) : h("p.quiet", {}, "None."),
      listed.length > FULLEST ? h("p.quiet", {}, `and ${plural(listed.length - FULLEST, ...more)}: `, h("a", { href: "#/queries" }, "find them by class"), ".") : null);
  };
  const classes = ["more class", "more classes"];
  return labelled() ? h("div", {}, list("Most often confused", "Label → prediction", ["more pair"], ([label, prediction]) => label !== prediction),
    list("Most often right", "Class", classes, ([label, prediction]) => label === prediction))
    : list("Most often predicted", "Class", classes, () => true);
}
