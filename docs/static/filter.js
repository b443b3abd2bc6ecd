// Adds a field above each table of settings that shows only the rows with all its words.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.settings")) {
    const rows = [...table.tBodies[0].rows];
    const label = document.createElement("label");
    const field = document.createElement("input");
    const count = document.createElement("output");
    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      count.value = `${rows.filter((row) => !row.hidden).length} / ${rows.length}`;
    };
    label.className = "settings-filter";
    label.append("Filter ", field, " ", count);
    field.type = "search";
    // A link to settings.html?filter=WORD shows these rows.
    field.value = new URLSearchParams(location.search).get("filter") ?? "";
    field.addEventListener("input", show);
    (table.closest(".table-wrapper") ?? table).before(label);
    show();
  }
});
