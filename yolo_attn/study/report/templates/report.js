"use strict";
// Tables that can be sorted by their headings. The page is complete without this script.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const values = Array.from(body.rows, (row) => valueOf(row.cells[column]));
      const numeric = values.every((value) => value === "" || !Number.isNaN(Number(value)));
      const now = head.getAttribute("aria-sort");
      const rising = now === null ? !numeric : now === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      sort(body, column, numeric, rising);
    });
  });
}

function valueOf(cell) {
  return (cell.dataset.value === undefined ? cell.textContent.replace("–", "") : cell.dataset.value).trim();
}

function sort(body, column, numeric, rising) {
  const order = (a, b) => {
    const [x, y] = [valueOf(a.cells[column]), valueOf(b.cells[column])];
    if (x === "" || y === "") return (x === "") - (y === "");  // unknown values stay last
    const difference = numeric ? Number(x) - Number(y) : x.localeCompare(y);
    return rising ? difference : -difference;
  };
  body.append(...Array.from(body.rows).sort(order));
}

// Buttons that copy a text; if the browser does not allow it, the text is selected.
for (const button of document.querySelectorAll("button.copy")) {
  const text = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.innerText.trim());
      button.textContent = "Copied";
    } catch { button.textContent = "Selected"; }
  });
}

// The page of a running study reloads itself: keep open sections and the scroll position.
const key = `yolo-attn ${location.pathname}`;
try {
  const before = JSON.parse(sessionStorage.getItem(key));
  sessionStorage.removeItem(key);
  if (before) {
    for (const details of document.querySelectorAll("details[id]")) details.open = before.open.includes(details.id);
    addEventListener("load", () => scrollTo(...before.at));
  }
} catch { /* storage is disabled */ }
if (document.querySelector("meta[http-equiv=refresh]")) {
  addEventListener("pagehide", () => {
    const open = Array.from(document.querySelectorAll("details[id][open]"), (details) => details.id);
    try { sessionStorage.setItem(key, JSON.stringify({open, at: [scrollX, scrollY]})); } catch { /* storage is disabled */ }
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
