// Theme and tables. The pages are complete without it; DataTables only rearranges and hides what is there.
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

function setUpTheme() {
  const button = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
  const show = () => {
    button.textContent = `Switch to ${isDark() ? "light" : "dark"}`;
    root.classList.toggle("dark", isDark()); // what DataTables goes by
    document.dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    show();
  });
  preferred.addEventListener("change", show);
  show();
  button.hidden = false;
}

// DataTables, its buttons and its lists, and Plotly read texts as markup. What a page says is text.
function literal(text) {
  return String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

const wordsOf = (element) => element.textContent.trim().replace(/\s+/g, " ");

// What has no value stays last, whichever way a column is sorted.
function defineNumbers() {
  const order = (sign) => (a, b) => (a === null || b === null ? (a === null) - (b === null) : sign * (a - b));
  DataTable.type("measured", {
    className: "dt-type-numeric",
    detect: () => false,
    order: { pre: (text) => (text === "" ? null : Number(text)), asc: order(1), desc: order(-1) },
  });
}

function choices(table, column) {
  const found = new Set([...table.tBodies[0].rows].map((row) => wordsOf(row.cells[column])));
  return [...found].sort().map((words) => ({ label: literal(words) || "(none)", value: words }));
}

function setUpTable(table) {
  const headings = [...table.tHead.rows[0].cells];
  const full = !table.classList.contains("plain") && table.tBodies[0].rows.length > 1;
  const outer = table.closest(".scroll");
  const focused = outer.contains(document.activeElement) ? document.activeElement : null;
  const name = outer.getAttribute("aria-label");
  const columnDefs = headings.map((heading, column) => {
    const words = literal(wordsOf(heading));
    const has = (kind) => heading.classList.contains(kind);
    const list = { extend: "searchList", options: full && has("choice") ? choices(table, column) : [] };
    return {
      targets: column,
      type: has("number") ? "measured" : "html",
      orderable: !has("fixed"),
      visible: !has("extra"),
      orderSequence: has("number") && !has("up") ? ["desc", "asc"] : ["asc", "desc"],
      columnControl: list.options.length > 1 ? [{ extend: "dropdown", text: `Choose ${words}`, content: [list] }] : [],
    };
  });
  const csv = { extend: "csv", text: "CSV", filename: name };
  const columns = { extend: "colvis", text: "Columns", columnText: (_, column) => literal(wordsOf(headings[column])) };
  const long = table.tBodies[0].rows.length > 200;
  const set = new DataTable(table, {
    autoWidth: false,
    columnDefs,
    order: [],
    paging: long,
    pageLength: 100,
    layout: {
      topStart: full ? { buttons: [columns, csv] } : null,
      topEnd: full ? "search" : null,
      bottomStart: full ? "info" : null,
      bottomEnd: long ? "paging" : null,
    },
  });
  // DataTables scrolls the table in a box of its own, without what stands above and below it.
  const inner = table.closest(".dt-layout-cell");
  for (const { name, value } of [...outer.attributes]) {
    inner.setAttribute(name, name === "class" ? `${inner.className} ${value}` : value);
    outer.removeAttribute(name);
  }
  (focused === outer ? inner : focused)?.focus({ preventScroll: true }); // what is moved loses it
  set.on("order", () => {
    const [first] = set.order();
    const way = first?.[1] === "asc" ? "ascending" : "descending";
    const said = first?.[1] ? `Sorted by ${wordsOf(headings[first[0]])}, ${way}` : "Not sorted";
    document.getElementById("announcement").textContent = said;
  });
}

// Most of a long page is never looked at.
function whenNear(elements, act) {
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      act(target);
    }
  }, { rootMargin: "300px" });
  for (const element of elements) watcher.observe(element);
}

// What is set up or laid out above a target, once it is near, would push it out of view.
function keepTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  const keeper = new ResizeObserver(() => target.scrollIntoView());
  const leave = () => keeper.disconnect();
  keeper.observe(document.body);
  for (const kind of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(kind, leave, { once: true, passive: true });
  setTimeout(leave, 2000);
}

addEventListener("hashchange", keepTarget);
document.addEventListener("DOMContentLoaded", () => {
  setUpTheme();
  keepTarget();
  if (!globalThis.DataTable) return;
  defineNumbers();
  whenNear(document.querySelectorAll("table.board"), setUpTable);
});
