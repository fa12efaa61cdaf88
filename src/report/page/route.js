/* The address after # says everything that is on the page: #/VIEW/PART?filter=value. */
const route = (() => {
  const views = {};
  /* How far down the reader was, by address; and whether a link leads up to where they came from. */
  const places = new Map();
  let upward = false;
  history.scrollRestoration = "manual";

  function parse(hash = location.hash) {
    const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
    const [view, ...parts] = path.split("/").map(decoded);
    return { view: view || "overview", parts, filter: new URLSearchParams(search) };
  }

  /* An address may have been cut in the middle of a letter. */
  function decoded(part) {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  }

  function address({ view, parts = [], filter }) {
    const search = filter ? filter.toString() : "";
    return `#/${[view, ...parts].map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
  }

  /* The same place with one filter changed; null takes it away. Replaces the history entry: a filter is not a step. */
  function refine(changes) {
    const here = parse();
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === "") here.filter.delete(key); else here.filter.set(key, value);
    }
    history.replaceState({ seen: true }, "", address(here));
    return show({ keep: true });
  }

  let turn = 0;
  async function show({ keep = false } = {}) {
    const mine = ++turn;
    const here = parse();
    const main = document.getElementById("main");
    const view = views[here.view];
    let content;
    try {
      content = view ? await view(here) : lost(`There is no view called “${here.view}”.`);
    } catch (error) {
      content = lost(error.message);
    }
    if (mine !== turn) return; // The reader has gone on.
    const focused = keep ? document.activeElement : null;
    /* Of a text field; others have none. */
    const [start, end] = [focused?.selectionStart ?? null, focused?.selectionEnd ?? null];
    const left = main.dataset.shown;
    const back = history.state?.seen || upward;
    const top = keep ? window.scrollY : back ? places.get(location.hash) ?? history.state?.top ?? 0 : 0;
    upward = false;
    places.set(location.hash, top);
    main.replaceChildren(content);
    for (const link of document.querySelectorAll("#views a")) {
      const current = parse(link.getAttribute("href")).view;
      const own = { query: "queries", image: "training" }[here.view] ?? here.view;
      if (current === own) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    const heading = main.querySelector("h1")?.textContent ?? "";
    const title = page.overview?.title ?? "audit";
    document.title = heading ? `${heading} · ${title}` : title;
    /* For paper. */
    main.dataset.title = heading === title ? "" : title;
    main.dataset.shown = location.hash;
    scroll(main, top);
    try {
      if (!history.state?.seen) history.replaceState({ seen: true }, "");
    } catch { /* A browser may refuse many in a short time; Back then begins at the top. */ }
    if (focused?.id) {
      const again = document.getElementById(focused.id);
      again?.focus({ preventScroll: true });
      if (start !== null) again?.setSelectionRange(start, end);
    }
    if (!keep) {
      const from = back ? main.querySelector(`a[href="${CSS.escape(left)}"]:not([rel])`) : null;
      const asked = back ? null : main.querySelector("[data-asked]");
      (from ?? asked ?? main).focus({ preventScroll: true });
      asked?.scrollIntoView({ block: "nearest" });
      say(asked?.textContent ?? heading);
    }
  }

  /* Long lists have their length once they are drawn, and the rows in sight once the reader is there. */
  function scroll(main, top) {
    const lists = main.querySelectorAll(".long");
    for (const list of lists) list.draw();
    window.scrollTo(0, top);
    for (const list of lists) list.draw();
  }

  window.addEventListener("scroll", () => {
    const { shown } = document.getElementById("main").dataset;
    if (shown !== undefined) places.set(shown, window.scrollY);
  }, { passive: true });

  // For the same page opened again by the browser.
  window.addEventListener("pagehide", () => history.replaceState({ seen: true, top: window.scrollY }, ""));

  document.addEventListener("click", (event) => { upward = Boolean(event.target.closest?.("a[rel=up]")); }, true);

  function lost(reason) {
    return h("div.alert", { role: "alert" }, h("h1", {}, "Not found"), h("p", {}, reason),
      h("p", {}, h("a", { href: "#/overview" }, "To the overview")));
  }

  return { views, parse, address, refine, show };
})();
