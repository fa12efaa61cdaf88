/* Per label and prediction, or where there are no labels per prediction: the training images most responsible. */
route.views.confusions = async ({ parts: [label, prediction] }) => {
  await load("queries", "training", "confusions");
  const worst = models().flatMap((model) => model.cells).filter(([label, prediction]) => !labelled() || label !== prediction).sort((a, b) => b[2] - a[2])[0];
  const chosen = label !== undefined && prediction !== undefined ? { label: Number(label), prediction: Number(prediction) }
    : worst ? { label: worst[0], prediction: worst[1] } : null;
  return h("article", {}, h("h1", {}, labelled() ? "Confusions" : "Predictions"),
    h("p.lead", {}, !labelled() ? "Test images by the class that is predicted. " : classesInSight().length > TABLE ? "Pairs of label and prediction. " : "Rows are labels, columns predictions. ",
      `Choose a ${!labelled() ? "class" : classesInSight().length > TABLE ? "pair" : "cell"}: its test images, and the training images whose scores, averaged over them, are the most harmful and most helpful.`),
    sideBySide((_, at) => confusionMatrix(at, chosen)),
    chosen ? h("section", {}, h("h2", { tabindex: -1, "data-asked": label !== undefined }, !labelled() ? `Predicted as ${className(chosen.prediction)}` : chosen.label === chosen.prediction ? `${className(chosen.label)}, rightly predicted`
      : `${className(chosen.label)}, predicted as ${className(chosen.prediction)}`),
      sideBySide((model, at) => cellOf(model, at, chosen))) : h("p.quiet", {}, "Nothing is confused."));
};

function cellOf(model, at, { label, prediction }) {
  const cell = page.confusions[at].find((cell) => cell.label === label && cell.prediction === prediction);
  if (!cell) return h("p.quiet", {}, "No test image.");
  const again = () => route.show({ keep: true });
  const list = (title, ranked, none) => h("section", {}, h("h4", {}, title, h("span.quiet", {}, ` mean score in ${unitOf(model).name}`)),
    ranked.train.length ? h("div.cards", {}, ranked.train.map((train, rank) => h("div.held", {}, trainCard(train, 64, at, scoreElement(model, ranked.score[rank])), decisions.controls(train, again))))
      : h("p.quiet", {}, none));
  return h("div", {},
    h("p", {}, h("a", { href: `#/queries?label=${label}&prediction=${prediction}${models().length > 1 ? `&by=${at}` : ""}` }, plural(cell.queries.length, "test image"))),
    h("div.cards", {}, cell.queries.slice(0, 24).map((position) => queryCard(position, 48))),
    cell.computed ? [
      list(label === prediction ? "Work against it" : "Most responsible: without these the label is predicted to become more probable", cell.harmful, "None: no mean score is below 0."),
      list(label === prediction ? "Speak for it" : "Speak for the label", cell.helpful, "None: no mean score is above 0."),
    ] : h("p.quiet", {}, unbroken(absence(model, "mean-scores") ?? "Mean scores were computed for the fullest cells alone.")));
}
