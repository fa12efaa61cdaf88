/* What the reader decides about training images, kept by the browser and exported as CSV for ascribe transfer. */
const decisions = (() => {
  const made = new Map();
  /* Whether the browser keeps nothing for this page: then this tab's memory is all there is. */
  let forgetful = false;
  /* Of what the decisions are about: other data, other images, or others' labels, are another audit. */
  const key = () => {
    let hash = 5381;
    for (const unit of JSON.stringify([page.overview.data, page.training.id, page.training.label])) hash = (hash * 33 + unit.charCodeAt(0)) % 2 ** 40;
    return `ascribe:${page.overview.title}:${hash}`;
  };

  function restore() {
    if (forgetful) return;
    try {
      const kept = JSON.parse(localStorage.getItem(key()) ?? "[]");
      made.clear();
      for (const [id, decision] of kept) made.set(id, decision);
    } catch { forgetful = true; /* As some do for pages on a disk. */ }
    count();
  }

  function save() {
    try {
      localStorage.setItem(key(), JSON.stringify([...made]));
    } catch { forgetful = true; /* The export still works. */ }
    count();
  }

  function count() {
    const element = document.getElementById("decided");
    element.hidden = made.size === 0;
    element.textContent = made.size;
  }

  /* What `of` makes of the decision on each image, on top of what another tab may have decided since; null is none. */
  function decideEach(ids, of, said) {
    restore();
    for (const id of ids) {
      const decision = of(made.get(id) ?? null);
      if (decision) made.set(id, decision); else made.delete(id);
    }
    save();
    say(said);
  }

  const decide = (id, decision) => decideEach([id], () => decision, `training image ${id}: ${decision ? words(decision) : "as it is"}`);

  const words = (decision) => decision.decision === "exclude" ? "exclude" : `relabel as ${className(decision.label)}`;

  function csv() {
    const quoted = (file) => /[",\r\n]/.test(file) ? `"${file.replaceAll('"', '""')}"` : file;
    const rows = [...made].sort(([a], [b]) => a - b).map(([id, { decision, label, file }]) => [id, decision,
      decision === "relabel" ? quoted(labelName(label)) : "", quoted(fileOf(positionOf(id)) ?? file ?? ""), page.overview.data].join(","));
    return ["train,decision,label,file,data", ...rows, ""].join("\n");
  }

  /* Rows of cells; quotes may hold commas, line breaks and doubled quotes. */
  function table(text) {
    const rows = [[]];
    for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/g)) {
      rows.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
      if (end !== ",") rows.push([]);
    }
    return rows.filter((row) => row.some((cell) => cell !== ""));
  }

  /* Also as programs write it where a column has gaps: 9.0. */
  const whole = (text) => /^\d+(\.0*)?$/.test(text) ? parseInt(text, 10) : -1;

  /* By its class's name, which is read before a number; by its number where another class has the name too. */
  const labelName = (label) => labelOf(className(label)) === label ? className(label) : label;

  const isTwin = (name) => page.overview.classes.indexOf(name) !== page.overview.classes.lastIndexOf(name);

  function labelOf(text) {
    const { classes } = page.overview;
    const name = [text, text.trim()].find((name) => classes.includes(name));
    if (name !== undefined) return isTwin(name) ? -1 : classes.indexOf(name);
    return whole(text.trim());
  }

  function idOf(train, file) {
    const names = [file, file.trim()];
    if (train === "") return page.training.id[page.training.file.findIndex((own) => own && names.includes(own))] ?? -1;
    const own = fileOf(positionOf(whole(train)));
    return names[1] && own && !names.includes(own) ? -1 : whole(train);
  }

  /* Takes up a file of decisions, columns by name as ascribe transfer does; the reason why not, where it is none. */
  function read(text) {
    const [head = [], ...rows] = table(text.replace(/^\ufeff/, ""));
    const column = (name) => head.findIndex((cell) => cell.trim() === name);
    if (column("decision") < 0 || Math.max(column("train"), column("file")) < 0) return "expected the columns train (or file), decision and label";
    const taken = new Map();
    for (const [at, row] of rows.entries()) {
      const cell = (name) => row[column(name)] ?? "";
      const wrong = (reason) => `line ${at + 2}: ${reason}`;
      const data = cell("data").trim();
      if (data && data !== page.overview.data) return wrong("decided on another data set, or on this one before it changed");
      const id = idOf(cell("train").trim(), cell("file"));
      if (id < 0 && cell("train").trim() === "" && cell("file")) {
        return wrong(`no image that was trained on has the file “${cell("file")}”: one that was left out is known by its id, in the column train`);
      }
      const decision = cell("decision").trim();
      const label = decision === "relabel" ? labelOf(cell("label")) : 0;
      const fits = (number, count) => number >= 0 && number < count;
      if (!["exclude", "relabel"].includes(decision) || !fits(id, page.overview.rows) || !fits(label, page.overview.classes.length)) {
        return wrong(`“${row.join(",")}” is no decision on an image of this data set`);
      }
      if (taken.has(id)) return wrong(`another decision on image ${id}`);
      taken.set(id, { decision, file: cell("file"), ...decision === "relabel" && { label } });
    }
    restore();
    for (const [id, decision] of taken) made.set(id, decision);
    save();
    return null;
  }

  /* The choice for one training image; `changed` draws its surroundings again. */
  function controls(position, changed) {
    const id = page.training.id[position];
    const now = made.get(id);
    const chosen = now ? now.label === undefined ? "exclude" : String(now.label) : "";
    const option = (value, text) => h("option", { value, selected: value === chosen }, text);
    /* A closed menu is narrow, and letters lead to a class: names stand alone. */
    const options = (labels) => [option("", now ? "as it is" : "mark …"), option("exclude", "exclude"),
      ...labels.length ? [h("optgroup", { label: "relabel as" }, labels.map((label) => option(String(label), className(label))))] : []];
    const change = ({ target }) => {
      const { value } = target;
      /* An image may be on the page more than once. */
      const alike = () => [...document.querySelectorAll(`[data-decide="${id}"]`)];
      const place = alike().indexOf(target);
      decide(id, value === "" ? null : value === "exclude" ? { decision: "exclude" } : { decision: "relabel", label: Number(value) });
      /* Drawn again, it would lose the keyboard. */
      changed().then(() => alike()[place]?.focus({ preventScroll: true }));
    };
    /* Of a thousand classes, on each of many images, those that are chosen from alone are in the document. */
    const fill = ({ target }) => {
      if (target.dataset.filled) return;
      target.dataset.filled = "true";
      /* What is predicted comes first. The own label is there where it was decided for, as in the audit of a run that was made with the
         decision. */
      const predicted = page.training.models.map(({ prediction }) => prediction[position]).filter((label) => label !== null);
      const others = [...new Set([...predicted, ...page.overview.classes.keys()])].filter((label) => label !== page.training.label[position] || label === now?.label);
      target.replaceChildren(...options(others));
    };
    return h("select.decide", { "data-decide": id, "aria-label": `Decide on training image ${id}`, title: now ? words(now) : null, change, focus: fill, pointerdown: fill },
      options(now?.label === undefined ? [] : [now.label]));
  }

  /* The choice for a whole group. Taken back, its images are as they were before it; where none was excluded with it, as of a file that
     was read, all are taken back. */
  function groupControls(ids, name, id, changed) {
    const isOut = (decision) => decision?.decision === "exclude";
    const count = ids.filter((id) => isOut(made.get(id))).length;
    const all = count === ids.length;
    const images = plural(ids.length, "image");
    const text = all ? "Take back" : `Exclude ${ids.length > 1 ? "all " : ""}${images}`;
    const click = () => {
      const own = ids.filter((id) => made.get(id)?.group === name);
      if (all) decideEach(own.length ? own : ids, (now) => now?.before ?? null, `group ${name}: as it was`);
      else decideEach(ids, (now) => isOut(now) ? now : { decision: "exclude", group: name, before: now }, `group ${name}: ${images} excluded`);
      changed();
    };
    return [h("button", { type: "button", id, "aria-label": `${text}, group ${name}`, click }, text),
      count ? h("span.within", {}, all ? "excluded" : `${count.toLocaleString("en")} of ${ids.length.toLocaleString("en")} excluded`) : null];
  }

  route.views.decisions = async () => {
    await load("training");
    const again = () => route.show({ keep: true });
    const rows = [...made].sort(([a], [b]) => a - b);
    const cell = (at) => {
      const [id, decision] = rows[at];
      const position = positionOf(id);
      if (position < 0) return h("div.held", { title: decision.file || null }, h("span.quiet", {}, `id ${id}${decision.file ? `, ${decision.file}` : ""}: this model was not trained on it`),
        h("strong", { title: words(decision) }, words(decision)), h("button", { type: "button", click: () => { decide(id, null); again(); } }, "Forget"));
      return h("div.held", {}, trainCard(position, 64, null, h("span.quiet", {}, `id ${id}`)),
        h("strong", { title: words(decision) }, words(decision)), controls(position, again));
    };
    const file = () => new Blob([csv()], { type: "text/csv" });
    const save = h("a.button", { download: "decisions.csv", href: URL.createObjectURL(file()), id: "export" }, "Export decisions.csv");
    const wrong = h("p.alert", { role: "alert", hidden: true });
    const open = h("input", {
      type: "file", accept: ".csv", id: "import",
      change: async (event) => {
        const reason = read(await event.target.files[0].text());
        /* The same file, once it is mended, is a change again. */
        event.target.value = "";
        if (reason) { wrong.hidden = false; wrong.textContent = reason; } else route.show();
      },
    });
    return h("article", {},
      h("h1", {}, "Decisions"),
      h("p.lead", {}, "Training images that you marked to be left out or relabelled. They change nothing here: export them, and fine-tune again with them: ascribe transfer does it, and ascribe adopt takes a model that was fine-tuned so elsewhere. The audit of that run shows what they did."),
      h("pre.command", {}, "ascribe transfer … --exclude decisions.csv --relabel decisions.csv\nascribe adopt … --exclude decisions.csv --relabel decisions.csv"),
      h("p.actions", {}, made.size ? save : null,
        h("label.button", { for: "import" }, "Import"), open,
        made.size ? h("button", { type: "button", click: forget }, "Forget all") : null),
      wrong,
      rows.length ? longGrid(rows.length, cell, [164, 190])
        : h("p.quiet", {}, "None so far. Mark images under ", h("a", { href: "#/training/mislabels" }, "Training images"), " or beside any test image."));
  };

  function forget() {
    if (!confirm(`Forget ${plural(made.size, "decision")}? What was not exported is lost.`)) return;
    made.clear();
    save();
    route.show();
  }

  /* Another tab of this page decided something. */
  window.addEventListener("storage", (event) => {
    if (event.key === key()) { restore(); route.show({ keep: true }); }
  });

  return { restore, decide, controls, groupControls, csv, read, of: (id) => made.get(id), words };
})();

/* Loads the columns that a view needs, once. */
async function load(...names) {
  await Promise.all(names.map(async (name) => { page[name] ??= await ascribe.load(name); }));
}
