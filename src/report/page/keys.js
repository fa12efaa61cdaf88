/* The keyboard: everything can be done without a mouse. */
const KEYS = [
  ["1 … 5", "the views"], ["← →", "previous and next image"], ["/", "find"],
  ["x", "exclude the training image in focus, or shown, or take it back"], ["u", "up to the list"], ["?", "these keys"],
];

function openKeys() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(h("h2", { id: "keys-title" }, "Keys"),
    h("dl.facts", {}, KEYS.flatMap(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)])),
    h("form", { method: "dialog" }, h("button", {}, "Close")));
  dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // In the choice on an image up and down choose; these keys stay what they are elsewhere.
  const free = ["ArrowLeft", "ArrowRight", "x", "u"].includes(event.key) && event.target.closest("select.decide");
  if (free) event.preventDefault();
  if (!free && event.target.closest("input, select, textarea, dialog")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const links = [...document.querySelectorAll("#views a")];
  const follow = (link) => { if (link) { event.preventDefault(); location.hash = link.getAttribute("href"); } };
  if (/^[1-5]$/.test(event.key)) return follow(links[Number(event.key) - 1]);
  if (event.key === "ArrowLeft") return follow(document.querySelector("#main a[rel=prev]"));
  if (event.key === "ArrowRight") return follow(document.querySelector("#main a[rel=next]"));
  if (event.key === "u") return document.querySelector("#main a[rel=up]")?.click();
  if (event.key === "?") return openKeys();
  if (event.key === "/") {
    event.preventDefault();
    const find = document.getElementById("find");
    if (find) find.focus(); else location.hash = "#/queries";
    return undefined;
  }
  const focus = document.activeElement;
  const card = focus?.closest("[data-train]") ?? focus?.closest(".held")?.querySelector("[data-train]");
  const subject = document.querySelector("#main [data-subject]");
  if (event.key === "x" && (card ?? subject)) {
    const id = page.training.id[Number(card ? card.dataset.train : subject.dataset.subject)];
    decisions.decide(id, decisions.of(id)?.decision === "exclude" ? null : { decision: "exclude" });
    const place = [...document.querySelectorAll("[data-train]")].indexOf(card);
    route.show({ keep: true }).then(() => document.querySelectorAll("[data-train]")[place]?.focus({ preventScroll: true }));
  }
  return undefined;
}
