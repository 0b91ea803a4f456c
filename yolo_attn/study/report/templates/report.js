"use strict";
// Tables that sort by a click or a key on a heading. The page is complete without this.
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
    if (x === "" || y === "") return (x === "") - (y === "");  // what is unknown stays last
    const difference = numeric ? Number(x) - Number(y) : x.localeCompare(y);
    return rising ? difference : -difference;
  };
  body.append(...Array.from(body.rows).sort(order));
}

// While the study runs the page loads itself again: what was opened stays open, and the reader where they are.
const place = `yolo-attn ${location.pathname}`;
try {
  const before = JSON.parse(sessionStorage.getItem(place));
  sessionStorage.removeItem(place);
  if (before) {
    for (const details of document.querySelectorAll("details[id]")) details.open = before.open.includes(details.id);
    addEventListener("load", () => scrollTo(...before.at));
  }
} catch { /* a browser that keeps nothing */ }
if (document.querySelector("meta[http-equiv=refresh]")) {
  addEventListener("pagehide", () => {
    const open = Array.from(document.querySelectorAll("details[id][open]"), (details) => details.id);
    try { sessionStorage.setItem(place, JSON.stringify({open, at: [scrollX, scrollY]})); } catch { /* the same */ }
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
