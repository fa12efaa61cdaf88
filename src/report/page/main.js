/* Begins when everything is read. */
ascribe.start = async () => {
  const theme = document.getElementById("theme");
  const remembered = () => { try { return localStorage.getItem("ascribe:theme"); } catch { return null; } };
  const paint = (name) => { if (name) document.documentElement.dataset.theme = name; };
  paint(remembered());
  theme.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const name = now === "dark" ? "light" : "dark";
    paint(name);
    try { localStorage.setItem("ascribe:theme", name); } catch { /* Then it lasts as long as the page. */ }
  });
  document.getElementById("help").addEventListener("click", openKeys);
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  document.addEventListener("keydown", onKey);
  try {
    await load("overview", "training");
    if (!labelled()) document.querySelector('#views [href="#/confusions"]').textContent = "Predictions";
    decisions.restore();
  } catch (error) {
    document.getElementById("main").replaceChildren(h("p.alert", { role: "alert" }, error.message));
    return;
  }
  window.addEventListener("hashchange", () => route.show());
  await route.show();
};
