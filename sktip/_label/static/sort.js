// Many photos at once: look, tick, label.

import { $, SCREEN, api, app, attempt, choices, decoded, dialog, h, icon, many, paint, small, toast, words } from "./shared.js";
import { showNext } from "./label.js";
import { zoomable } from "./zoom.js";

let page = { photos: [], total: 0, size: 48 };
let start_ = 0;
let turn = 0;
let all = false; // Whether each photo gets its tick when it comes into view.
let lines = ""; // What the grid shows, so that it is drawn anew only if that changes.
const seen = new Map(); // Receipts of the photos that were on the screen.
const ticked = new Set();
const parts = {};

export function start() {
  const tools = h("div", { class: "tools" },
    parts.kind = h("select", { "aria-label": "Which photos" }),
    parts.label = h("select", { "aria-label": "Of which class" }),
    parts.count = h("p", { role: "status" }),
    parts.all = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => tickAll(!all) }, "Tick all"),
    parts.before = h("button", { type: "button", class: "quiet", onclick: () => go(start_ - page.size) }, icon("back"), "Previous"),
    parts.after = h("button", { type: "button", class: "quiet", onclick: () => go(start_ + page.size) }, "Next", icon("next")));
  parts.grid = h("div", { class: "grid", tabindex: "-1" });
  const act = h("div", { class: "act" },
    parts.ticks = h("p", {}),
    parts.target = h("select", { "aria-label": "Label the ticked photos as" }),
    parts.go = h("button", { type: "button", class: "main", onclick: label }, "Label"));
  $("sort").replaceChildren(tools, parts.grid, act);
  choices(parts.kind, [["suggested", "Suggested"], ["labelled", "Labelled"], ["damaged", "Damaged"]]);
  parts.kind.onchange = () => go(0);
  parts.label.onchange = () => {
    if (parts.label.value) parts.target.value = parts.label.value;
    go(0);
  };
  parts.target.onchange = foot;
}

async function go(from) {
  start_ = Math.max(0, from);
  seen.clear();
  ticked.clear();
  tickAll(false);
  lines = "";
  parts.grid.scrollTop = 0;
  await refresh();
}

export async function refresh() {
  const { classes, none } = app.state;
  const names = [...classes.map(({ name }) => name), none];
  choices(parts.label, [["", "All classes"], ...names.map((name) => [name, name])]);
  choices(parts.target, names.map((name) => [name, name]));
  if (ticked.size) return foot(); // What a person is ticking stays where it is.
  const mine = ++turn;
  const asked = { kind: parts.kind.value, label: parts.label.value || null, start: start_ };
  const next = await attempt(() => api("grid", asked));
  if (!next || mine !== turn) return;
  const text = JSON.stringify(next);
  if (text === lines) return;
  lines = text;
  page = next;
  draw();
}

function draw() {
  const { photos, total, size } = page, damaged = parts.kind.value === "damaged";
  const last = start_ + photos.length;
  parts.count.textContent = total > size ? `${start_ + 1}–${last} of ${many(total)}` : many(total);
  parts.before.hidden = parts.after.hidden = total <= size;
  parts.before.disabled = start_ === 0;
  parts.after.disabled = last >= total;
  parts.all.hidden = damaged || !total;
  seen.clear();
  parts.grid.replaceChildren(...(photos.length ? photos.map(damaged ? damage : tile) : [empty()]));
  foot();
}

function empty() {
  const text = {
    suggested: app.state.stage === "loading" || app.state.stage === "encoding" ? "The photos are being looked at. What is learned from them is listed here."
      : app.state.classes.length < 2 ? "Add classes and label some photos in Label. What is learned from them is listed here."
      : "No photos are suggested here. Choose another class, or label more photos in Label.",
    labelled: "No photos are labelled here yet.",
    damaged: "All photos can be read.",
  }[parts.kind.value];
  return h("p", { class: "hint" }, text);
}

function damage({ name, error }) {
  return h("div", { class: "tile" }, h("div", { class: "foot broken" }, h("b", {}, name), h("p", {}, error)));
}

function tile(photo, i) {
  const { row, name, label, certainty, answer } = photo;
  const box = h("input", { type: "checkbox", "aria-label": `Tick ${name}`, disabled: true, onchange: () => {
    tick(row, box.checked);
    if (!box.checked) tickAll(false, true);
  } });
  photo.box = box;
  const image = small(row, name, (receipt) => {
    seen.set(row, receipt);
    box.disabled = false;
    if (all) tick(row, true);
  });
  const text = answer.join(", ") || (label ?? "");
  const sure = answer.length || certainty == null ? "" : words(certainty);
  const meter = sure && h("div", { class: "meter", "aria-hidden": "true" }, h("i", {}));
  if (meter) meter.firstChild.style.width = `${100 * certainty}%`;
  return h("div", { class: "tile" },
    h("button", { type: "button", class: "thumb", "aria-label": `Enlarge ${name}`, onclick: () => enlarge(i) }, image), meter || null,
    h("label", { class: "foot" }, box, h("span", {}, text), h("small", {}, sure)));
}

function tick(row, on) {
  const photo = page.photos.find((each) => each.row === row);
  if (!photo || (on && !seen.has(row))) return;
  photo.box.checked = on;
  if (on) ticked.add(row);
  else ticked.delete(row);
  foot();
}

/** Tick what is on the screen, and what comes there by scrolling: nothing is labelled unseen. */
function tickAll(on, keep = false) {
  all = on;
  parts.all.setAttribute("aria-pressed", String(on));
  if (!keep) for (const { row, box } of page.photos) if (box && box.checked !== on) tick(row, on);
}

function foot() {
  const n = ticked.size;
  parts.ticks.textContent = n ? `${many(n)} ticked` : page.total && parts.kind.value !== "damaged" ? "Tick photos to label them at once." : "";
  parts.go.textContent = n ? `Label ${n} as ${parts.target.value}` : "Label";
  parts.go.disabled = !n || !parts.target.value;
}

async function label() {
  const rows = [...ticked], target = parts.target.value;
  const photos = Object.fromEntries(rows.map((row) => [row, seen.get(row)]));
  // Those of the class that a person has left out are wrong: they come next.
  const left = target === parts.label.value && parts.kind.value === "suggested" ? [...seen.keys()].filter((row) => !ticked.has(row)) : [];
  parts.go.disabled = true;
  const done = await attempt(() => api("answer", { photos, labels: [target] }));
  if (!done) return foot();
  showNext(left);
  ticked.clear();
  tickAll(false, true);
  lines = "";
  app.did(done, `${many(rows.length)} labelled as ${target}`);
  parts.grid.scrollTop = 0;
}

/** One photo of the grid, large. */
function enlarge(i) {
  let at = i, mine = 0;
  const place = h("div", { class: "picture" });
  const frame = h("div", { class: "frame" }, place);
  const box = h("input", { type: "checkbox", onchange: () => tick(page.photos[at].row, box.checked) });
  const back = h("button", { type: "button", class: "icon", "aria-label": "Photo before", onclick: () => show(at - 1) }, icon("back"));
  const forth = h("button", { type: "button", class: "icon", "aria-label": "Photo after", onclick: () => show(at + 1) }, icon("next"));
  const title = h("p", { class: "file" });
  const opened = dialog("Photo", frame, "large");
  opened.querySelector("header").prepend(back, forth, h("label", { class: "foot" }, box, "Ticked"), title);
  opened.querySelector("h2").classList.add("unseen");
  const zoom = zoomable(frame, place);

  async function show(next) {
    if (next < 0 || next >= page.photos.length) return;
    at = next;
    const my = ++mine, { row, name } = page.photos[at];
    title.textContent = name;
    box.checked = ticked.has(row);
    box.disabled = true;
    back.disabled = at === 0;
    forth.disabled = at === page.photos.length - 1;
    frame.classList.add("waiting");
    try {
      const { image, receipt } = await decoded(row, SCREEN, name);
      if (my !== mine) return;
      zoom.reset();
      await paint(place, image);
      if (my !== mine) return;
      frame.classList.remove("waiting");
      seen.set(row, receipt);
      page.photos[at].box.disabled = box.disabled = false;
    } catch (error) {
      toast(error.message);
    }
  }
  opened.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1), z: () => zoom.toggle(), x: () => box.click() };
    keys[event.key]?.();
  });
  opened.addEventListener("close", () => document.querySelectorAll("#sort .tile .thumb")[at]?.focus());
  show(i);
}

export const open = refresh;

export function onKey(event) {
  if (event.key === "a" && !event.repeat) tickAll(!all);
  else return false;
  return true;
}
