// Sorts a table by the column whose head is clicked. Everything else works without this script.
const number = (cell) => {
  const found = /^-?\d[\d.]*/.exec(cell.textContent.trim());
  return found ? parseFloat(found[0]) : NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const cells = [...table.querySelectorAll("tbody > tr")]
        .map((row) => row.cells[column])
        .filter((cell) => cell.textContent !== "-");
      const text = head.classList.contains("text");
      const numeric = !(text || cells.some((cell) => isNaN(number(cell))));
      const first = numeric ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", (order === 1) === numeric ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].sort((one, other) => {
          const [a, b] = [one.cells[column], other.cells[column]];
          if (!numeric) {
            return order * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
          }
          const [x, y] = [number(a), number(b)];
          return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : order * (y - x);
        });
        body.append(...rows);
      }
    });
  });
}
