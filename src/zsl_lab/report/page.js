// Sorting, filters, values of curves and a legend that hides them; without this script the page
// shows everything. The page is XML too, so the signs "less than" and "and" do not occur here.
const make = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
};

// --- tables: sorted by the column whose head is clicked
const number = (cell) => {
  const found = /^-?\d[\d.]*/.exec(cell.textContent.trim());
  return found ? parseFloat(found[0]) : NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
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

// --- curves: an entry of the legend hides its curve, the pointer shows the values at a point
const update = (figure) => {
  for (const entry of figure.querySelectorAll(".legend li[data-line]")) {
    const off = entry.hidden || entry.firstChild.getAttribute("aria-pressed") === "false";
    const selector = `.chart .${entry.dataset.line.split(" ").join(".")}`;
    figure.querySelectorAll(selector).forEach((part) => part.classList.toggle("off", off));
  }
};
const figures = [...document.querySelectorAll("figure.tradeoff")];
for (const figure of figures) {
  const entries = [...figure.querySelectorAll(".legend li:not(.signs)")];
  const buttons = entries.map((entry) => {
    entry.dataset.line = [...entry.querySelector("svg").classList]
      .filter((name) => name !== "swatch").join(" ");
    const button = make("button", { type: "button", "aria-pressed": "true" }, ...entry.childNodes);
    button.title = "hide or show this curve";
    entry.append(button);
    return button;
  });
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const isOn = (button) => button.getAttribute("aria-pressed") === "true";
  buttons.forEach((button) => button.addEventListener("click", () => {
    press(button, !isOn(button));
    update(figure);
  }));
  if (buttons.length > 2) {
    const all = make("button", { type: "button", class: "all" }, "hide or show all");
    all.addEventListener("click", () => {
      const on = !buttons.some(isOn);
      buttons.forEach((button) => press(button, on));
      update(figure);
    });
    figure.querySelector(".legend").append(make("li", { class: "signs" }, all));
  }
}
const NEAR = 40; // units of a chart
for (const chart of document.querySelectorAll("svg.chart[data-unseen]")) {
  const [left, right, top, bottom] = chart.dataset.frame.split(" ").map(Number);
  const lines = [...chart.querySelectorAll(".curve")].map((path) => {
    const found = path.getAttribute("d").match(/[\d.]+/g).map(Number);
    const points = found.flatMap((x, i) => (i % 2 ? [] : [[x, found[i + 1]]]));
    return { path, points };
  });
  const dot = document.createElementNS(chart.namespaceURI, "circle");
  dot.setAttribute("r", "4");
  const tip = make("div", { class: "tip", role: "status", hidden: "" });
  chart.after(tip);
  const hide = () => {
    tip.hidden = true;
    dot.remove();
  };
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(
      chart.getScreenCTM().inverse(),
    );
    const near = lines
      .filter(({ path }) => !path.classList.contains("off"))
      .flatMap(({ path, points }) =>
        points.map(([x, y]) => ({ path, x, y, far: Math.hypot(x - at.x, y - at.y) })))
      .reduce((a, b) => (a.far > b.far ? b : a), { far: NEAR });
    if (!near.path) {
      hide();
      return;
    }
    const unseen = (Number(chart.dataset.unseen) * (near.x - left)) / (right - left);
    const seen = (Number(chart.dataset.seen) * (bottom - near.y)) / (bottom - top);
    const mean = unseen + seen > 0 ? (2 * unseen * seen) / (unseen + seen) : 0;
    tip.textContent = `${near.path.dataset.name}: unseen ${unseen.toFixed(1)}, ` +
      `seen ${seen.toFixed(1)}, H ${mean.toFixed(1)}`;
    dot.setAttribute("cx", near.x);
    dot.setAttribute("cy", near.y);
    dot.setAttribute("class", `dot ${near.path.getAttribute("class").replace("curve", "")}`);
    chart.append(dot);
    tip.hidden = false;
    const frame = tip.offsetParent.getBoundingClientRect();
    const room = frame.width - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(event.clientX - frame.left + 12, room))}px`;
    tip.style.top = `${event.clientY - frame.top + 14}px`;
  });
}

// --- filters: one for all rows of methods and their curves, and one for each long list of classes
const matcher = (text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (element) => {
    const found = element.textContent.toLowerCase();
    return words.every((word) => found.includes(word));
  };
};
const filter = (label, rows, then) => {
  const input = make("input", { type: "search" });
  const count = make("span", { class: "count", role: "status" });
  input.addEventListener("input", () => {
    const matches = matcher(input.value);
    rows.forEach((row) => {
      row.hidden = !matches(row);
    });
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = input.value ? `${shown} of ${rows.length} rows` : "";
    then(matches);
  });
  return make("p", { class: "filter" }, make("label", {}, `${label} `, input), " ", count);
};
const LONG = 10;
const tables = [...document.querySelectorAll("main table.sortable")];
const ofMethods = tables.filter((table) => !table.classList.contains("heat"));
const rows = ofMethods.flatMap((table) => [...table.querySelectorAll("tbody > tr")]);
document.querySelector("main").prepend(
  filter("Show rows and curves with", rows, (matches) => {
    for (const figure of figures) {
      figure.querySelectorAll(".legend li[data-line]").forEach((entry) => {
        entry.hidden = !matches(entry);
      });
      update(figure);
    }
  }),
);
for (const table of document.querySelectorAll("table.heat")) {
  const classes = [...table.querySelectorAll("tbody > tr")];
  if (classes.length > LONG) {
    table.closest(".scroll").before(filter("Show classes with", classes, () => {}));
  }
}
