/* What the reader decides about training images, kept by the browser and exported as CSV for ascribe transfer. */
const decisions = (() => {
  const made = new Map();
  /* Of what the decisions are about: other images, or others' labels, are another audit. */
  const key = () => {
    let hash = 5381;
    for (const unit of JSON.stringify([page.training.id, page.training.label])) hash = (hash * 33 + unit.charCodeAt(0)) % 2 ** 40;
    return `ascribe:${page.overview.title}:${hash}`;
  };

  function restore() {
    try {
      const known = new Set(page.training.id);
      for (const [id, decision] of JSON.parse(localStorage.getItem(key()) ?? "[]"))
        if (known.has(id)) made.set(id, decision);
    } catch { /* A browser may keep nothing for pages on a disk. */ }
    count();
  }

  function save() {
    try {
      localStorage.setItem(key(), JSON.stringify([...made]));
    } catch { /* As above: the export still works. */ }
    count();
  }

  function count() {
    const element = document.getElementById("decided");
    element.hidden = made.size === 0;
    element.textContent = made.size;
  }

  function decide(id, decision) {
    if (decision) made.set(id, decision); else made.delete(id);
    save();
    say(decision ? `training image ${id}: ${words(decision)}` : `training image ${id}: as it is`);
  }

  const words = (decision) => decision.decision === "exclude" ? "exclude" : `relabel as ${className(decision.label)}`;

  function csv() {
    const rows = [...made].sort(([a], [b]) => a - b)
      .map(([id, { decision, label }]) => `${id},${decision},${decision === "relabel" ? label : ""}`);
    return ["train,decision,label", ...rows, ""].join("\n");
  }

  /* Takes up an exported file; the reason why not, where it is none. */
  function read(text) {
    const [head, ...rows] = text.trim().split(/\r?\n/);
    if (head !== "train,decision,label") return "expected the columns train,decision,label";
    const known = new Set(page.training.id);
    const taken = [];
    for (const [at, row] of rows.entries()) {
      const [id, decision, label] = row.split(",");
      const fits = known.has(Number(id)) && id !== ""
        && (decision === "exclude" || (decision === "relabel" && label !== "" && Number(label) in page.overview.classes));
      if (!fits) return `line ${at + 2}: “${row}” is no decision on an image of this audit`;
      taken.push([Number(id), decision === "exclude" ? { decision } : { decision, label: Number(label) }]);
    }
    for (const [id, decision] of taken) made.set(id, decision);
    save();
    return null;
  }

  /* The choice for one training image; `changed` draws its surroundings again. */
  function controls(position, changed) {
    const id = page.training.id[position];
    const now = made.get(id);
    const others = page.overview.classes.map((name, label) => [String(label), `relabel: ${name}`])
      .filter(([label]) => Number(label) !== page.training.label[position]);
    const options = [["", now ? "as it is" : "mark …"], ["exclude", "exclude"], ...others];
    const chosen = now ? now.label === undefined ? "exclude" : String(now.label) : "";
    const change = ({ target: { value } }) => {
      decide(id, value === "" ? null : value === "exclude" ? { decision: "exclude" } : { decision: "relabel", label: Number(value) });
      changed();
    };
    return h("select.decide", { "aria-label": `Decide on training image ${id}`, change },
      options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  }

  route.views.decisions = async () => {
    await load("training");
    const rows = [...made].sort(([a], [b]) => a - b).map(([id, decision]) => {
      const position = page.training.id.indexOf(id);
      return h("li.row", {}, trainCard(position, 48, h("span.quiet", {}, `id ${id}`)),
        h("strong", {}, words(decision)), controls(position, route.show));
    });
    const file = () => new Blob([csv()], { type: "text/csv" });
    const save = h("a.button", { download: "decisions.csv", href: URL.createObjectURL(file()), id: "export" }, "Export decisions.csv");
    const wrong = h("p.alert", { role: "alert", hidden: true });
    const open = h("input", {
      type: "file", accept: ".csv", id: "import",
      change: async (event) => {
        const reason = read(await event.target.files[0].text());
        if (reason) { wrong.hidden = false; wrong.textContent = reason; } else route.show();
      },
    });
    return h("article", {},
      h("h1", {}, "Decisions"),
      h("p.lead", {}, "Training images that you marked to be left out or relabelled. They change nothing here: export them, and transfer again with them. The audit of that run shows what they did."),
      h("pre.command", {}, "ascribe transfer … --exclude decisions.csv --relabel decisions.csv"),
      h("p.actions", {}, made.size ? save : null,
        h("label.button", { for: "import" }, "Import"), open,
        made.size ? h("button", { type: "button", click: () => { made.clear(); save_and_show(); } }, "Forget all") : null),
      wrong,
      rows.length ? h("ul.rows", {}, rows)
        : h("p.quiet", {}, "None so far. Mark images under ", h("a", { href: "#/training/mislabels" }, "Training images"), " or beside any test image."));
  };

  function save_and_show() {
    save();
    route.show();
  }

  return { restore, decide, controls, csv, read, of: (id) => made.get(id), words };
})();

/* Loads the columns that a view needs, once. */
async function load(...names) {
  await Promise.all(names.map(async (name) => { page[name] ??= await ascribe.load(name); }));
}
