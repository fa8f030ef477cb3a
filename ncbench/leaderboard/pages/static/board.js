// Theme, filters and sorting. The pages are complete without it; it only rearranges and hides what is there.
"use strict";

const root = document.documentElement;

// The browser may forbid storage to a page opened from a file; the choice then lasts for the page.
function remembered() {
  try { return localStorage.getItem("ncbench-theme"); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem("ncbench-theme", theme); } catch { /* see above */ }
}

// Before the first paint, so that a dark page never flashes white.
if (["dark", "light"].includes(remembered())) root.dataset.theme = remembered();

function announce(text) {
  document.getElementById("announcement").textContent = text;
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    show();
  });
  preferred.addEventListener("change", show);
  show();
  button.hidden = false;
}

function setUpSorting(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("fixed") || heading.querySelector("a")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, heading, column));
  });
}

// A number is what its cell begins with: "59.91 ±8.73" and "50 of 100" sort by 59.91 and 50.
function keyOf(row, column) {
  const cell = row.cells[column];
  if (!cell.classList.contains("number")) return cell.textContent.trim() || null;
  const number = parseFloat(cell.textContent);
  return Number.isNaN(number) ? null : number;
}

// Numbers start with the largest, ranks and words with the smallest; what has no value stays last either way. Rows
// stay within their group, whose heading stays first: ranks compare nothing across groups.
function sort(table, heading, column) {
  const current = heading.getAttribute("aria-sort");
  const upFirst = heading.hasAttribute("data-up") || !heading.classList.contains("number");
  const up = current ? current === "descending" : upFirst;
  const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
  for (const body of table.tBodies) {
    const rows = [...body.querySelectorAll("tr:not(.group)")].map((row) => ({ row, key: keyOf(row, column) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return up ? order(a.key, b.key) : order(b.key, a.key);
    });
    body.append(...rows.map(({ row }) => row));
  }
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  announce(`Sorted by ${heading.textContent.trim()}, ${up ? "ascending" : "descending"}`);
}

// The filters live in the address after '#', as dataset=...&labels=...&method=...; other anchors have no '='.
function setUpFilters(form) {
  const fields = [...form.querySelectorAll("select")];
  const rows = [...document.querySelectorAll("tr[data-dataset]")];
  const blocks = [...document.querySelectorAll("[data-block]")];

  function apply() {
    const chosen = fields.filter((field) => field.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = chosen.some((field) => row.dataset[field.name] !== field.value);
      shown += !row.hidden;
    }
    for (const block of blocks) block.hidden = !block.querySelector("tr[data-dataset]:not([hidden])");
    const text = chosen.length ? `${shown} of ${rows.length} rows` : "";
    form.querySelector("output").textContent = text;
  }

  function toAddress() {
    const state = new URLSearchParams(fields.filter((field) => field.value).map((field) => [field.name, field.value]));
    history.replaceState(null, "", String(state) ? `#${state}` : location.pathname + location.search);
    apply();
  }

  function fromAddress() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return;
    const state = new URLSearchParams(hash);
    for (const field of fields) {
      const wanted = state.get(field.name) ?? "";
      field.value = [...field.options].some((option) => option.value === wanted) ? wanted : "";
    }
    apply();
  }

  form.addEventListener("change", toAddress);
  form.addEventListener("reset", () => setTimeout(toAddress));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", fromAddress);
  form.hidden = false;
  fromAddress();
}

document.addEventListener("DOMContentLoaded", () => {
  setUpTheme();
  document.querySelectorAll("table.sortable").forEach(setUpSorting);
  const form = document.getElementById("filters");
  if (form) setUpFilters(form);
});
