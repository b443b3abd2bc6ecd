// Lists the findings above the page, those of this page first, in a box that assistive programs read.
document.addEventListener("DOMContentLoaded", async () => {
  const root = document.documentElement.dataset.content_root;
  const answer = await fetch(`${root}_static/findings.json`, { cache: "no-store" });
  const findings = answer.ok ? await answer.json() : ["docs-test has not looked at these pages yet"];
  if (findings.length === 0) return;
  const page = location.pathname.replace(/^\//, "").replace(/\.html$/, "") || "index";
  const own = (text) => text.includes(`/${page}.rst:`);
  const box = document.createElement("div");
  box.className = "admonition error findings";
  box.setAttribute("role", "alert");
  const title = document.createElement("p");
  title.className = "admonition-title";
  title.textContent = `docs-test: ${findings.length}, ${findings.filter(own).length} on this page`;
  const list = document.createElement("ul");
  for (const text of [...findings.filter(own), ...findings.filter((text) => !own(text))]) {
    const item = document.createElement("li");
    item.textContent = text;
    list.append(item);
  }
  box.append(title, list);
  document.querySelector("article, body").prepend(box);
});
