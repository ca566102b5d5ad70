// One photo at a time: look, answer, walk.

import { $, LARGE, SCREEN, api, app, attempt, choices, decoded, h, icon, many, paint, picture, say, small, toast, words } from "./shared.js";
import { zoomable } from "./zoom.js";

/** Keys of classes; the other letters do something else. */
const KEYS = "123456789abcdfghijkloqrtvwxy";
const FIRST = { n: "none", s: "unsure" };

let target = null; // What the window goes to.
let photo = null; // What is described beside the picture: the one that is there, or comes with the next frame.
let shown = null; // The row and receipt of the picture that is on the screen: answers are about it alone.
let queue = []; // What comes next; the pictures are fetched ahead.
let first = []; // Rows that come before all others.
let walking = false;
let turn = 0; // Each wish to show a photo; a later one wins.
let order = { order: "useful" };
let pile = new Map(); // Photos that show nearly the same as the one on the screen: those that were seen, with receipts.
let chosen = new Set(); // With several tags: those of the photo, until Enter.
const buttons = new Map();

const zoom = zoomable($("frame"), $("picture"), (scale) => {
  $("zoom").setAttribute("aria-pressed", String(scale > 1));
  if (scale > 1 && shown && !shown.large) {
    const { row } = shown;
    shown.large = true;
    decoded(row, LARGE, photo.name).then(({ image }) => shown?.row === row && $("picture").replaceChildren(image)).catch(() => {});
  }
});

/** Show a photo. Until its pixels are on the screen, nothing can be answered. */
async function show(next) {
  const mine = ++turn;
  see(null);
  target = next;
  $("frame").classList.add("waiting");
  try {
    const { image, receipt } = await decoded(next.row, SCREEN, next.name);
    if (mine !== turn) return;
    zoom.reset();
    const there = paint($("picture"), image);
    $("frame").classList.remove("waiting");
    $("empty").hidden = true;
    describe(next);
    await Promise.all([there, app.saving]);
    if (mine !== turn) return;
    see({ row: next.row, receipt });
    say(`${next.name}. ${$("guess").textContent}`);
  } catch (error) {
    if (mine !== turn) return;
    unreadable(next, error);
  }
  const ahead = walking ? next.strip.filter((_, i) => Math.abs(i - place(next)) === 1) : queue.slice(1);
  for (const { row } of ahead) picture(row, SCREEN).catch(() => {});
}

/** What is on the screen, and can be answered. */
function see(what) {
  shown = what;
  $("frame").setAttribute("aria-busy", String(!what));
}

/** The place of a photo in its own strip. */
const place = ({ row, strip }) => strip.findIndex((each) => each.row === row);

function unreadable(next, error) {
  describe(next);
  nothing(h("h2", {}, "This photo cannot be shown"), h("p", {}, `${next.name}: ${error.message}`),
    h("button", { type: "button", class: "quiet", onclick: () => go() }, "Go on"));
}

/** Say in the place of the photo what to do. */
function nothing(...children) {
  $("frame").classList.remove("waiting");
  $("picture").replaceChildren();
  $("empty").replaceChildren(...children);
  $("empty").hidden = false;
}

/** Ask which photos come next: first those that were put there, then those at hand. */
const ask = () => attempt(() => api("next", { window: app.window, loaded: [...first, ...queue.map(({ row }) => row)], ...order }));

/** Go on with the photos that come next; these rows first. */
export async function go(rows = []) {
  walking = false;
  first = [...rows, ...first.filter((row) => !rows.includes(row))];
  await leave(ask, ({ photos }) => take(photos));
}

/** Go where the server says; until then nothing is answered. */
async function leave(question, arrive) {
  const was = shown, mine = ++turn;
  see(null);
  const next = await question();
  if (mine !== turn) return;
  if (next) await arrive(next);
  else see(was);
}

function take(photos) {
  queue = photos;
  if (queue.length) show(queue[0]);
  else if (app.state) {
    turn++;
    see(null);
    target = null;
    describe(null);
    const { labelled, photos: all, damaged } = app.state;
    const rest = all - labelled - damaged;
    if (rest > 0 && order.order !== "useful") {
      nothing(h("h2", {}, "No more photos here"), h("p", {}, `${many(rest)} without a label are elsewhere.`),
        h("button", { type: "button", class: "main", onclick: () => reorder({ order: "useful" }) }, "Most useful first"));
    } else {
      nothing(h("h2", {}, "All photos have a label"), h("p", {}, "Look for wrong labels, and write the results."),
        h("button", { type: "button", class: "main", onclick: () => app.open("results") }, "Results"));
    }
  }
}

/** What is suggested: the likeliest class, or the tags that are likely. */
function guessed() {
  if (!photo || photo.answer.length || app.state.classes.length < 2) return [];
  if (app.state.tags) return photo.guess.filter(([, probability]) => probability >= 0.5);
  return photo.certainty == null ? [] : [[photo.guess[0][0], photo.certainty]];
}

/** Everything beside the picture. */
function describe(next) {
  const { none, unsure } = app.state;
  if (next?.row !== photo?.row) chosen = new Set(next?.answer.filter((name) => name !== none && name !== unsure));
  photo = next;
  const file = $("file");
  const slash = photo ? photo.name.lastIndexOf("/") + 1 : 0;
  file.replaceChildren(...(photo ? [photo.name.slice(0, slash), h("b", {}, photo.name.slice(slash))] : []));
  file.title = photo?.name ?? "";
  if (walking) file.append(" ", h("button", { type: "button", class: "quiet resume", onclick: () => go(), title: "Back to where you were (Esc)" }, "Go on", h("kbd", { "aria-hidden": "true" }, "Esc")));
  $("zoom").disabled = $("like").disabled = !photo;
  const time = photo?.time;
  if (time) file.append(` ${time}`);
  const add = app.state.tags ? "Find or add a tag" : "Find or add a class";
  $("new").placeholder = add;
  $("new").setAttribute("aria-label", add);
  $("words").disabled = !app.state.text;
  $("words").placeholder = app.state.text || app.state.stage === "loading" ? "Find photos by words: a bird on water" : "This model reads no words";
  drawStrip();
  drawGuess();
  drawPile();
  drawClasses();
}

/** Photos that show nearly the same can have one answer; those of them that were seen. */
function drawPile() {
  const others = photo ? photo.pile.filter(({ row }) => row !== photo.row) : [];
  $("pile").hidden = !others.length;
  const text = others.map(({ row }) => row).join();
  if ($("same").dataset.now === text) return;
  $("same").dataset.now = text;
  pile = new Map();
  const mine = pile;
  $("size").textContent = `Label ${others.length + 1} near copies together`;
  $("same").replaceChildren(...others.map(({ row, name }) => small(row, name, (receipt) => mine.set(row, receipt))));
}

function drawGuess() {
  const { classes, tags, labelled, stage, photos, encoded } = app.state, best = guessed();
  const text = h("p", {});
  if (photo?.answer.length) text.append("Labelled ", h("b", {}, photo.answer.join(", ")), ".");
  else if (classes.length < 2) text.append("What is in the photos?");
  else if (best.length) {
    const certainty = words(best[0][1]);
    text.append(h("b", {}, certainty[0].toUpperCase() + certainty.slice(1)), ` ${best.map(([name]) => name).join(", ")}`);
  } else if (stage === "loading" || stage === "encoding") text.append(`Looking at the photos: ${encoded.toLocaleString("en")} of ${photos.toLocaleString("en")}`);
  else if (photo) text.append(labelled < 20 ? "Suggestions come after more answers." : tags ? "No tag is likely." : "Too unsure to suggest a class.");
  const meter = h("div", { class: "meter", "aria-hidden": "true" }, h("i", {}));
  const busy = !best.length && encoded < photos ? encoded / photos : 0;
  meter.firstChild.style.width = `${100 * (best[0]?.[1] ?? busy)}%`;
  $("guess").replaceChildren(text, meter);
}

function drawStrip() {
  const items = [...(photo?.strip ?? [])];
  const at = photo ? place(photo) : 0;
  const cells = Array.from({ length: 9 }, (_, i) => items[at + i - 4]);
  const text = JSON.stringify(cells);
  if ($("strip").dataset.now === text) return;
  $("strip").dataset.now = text;
  $("strip").replaceChildren(...cells.map((each) => {
    if (!each || !photo) return h("li");
    const labels = each.answer.join(", ");
    const tag = labels ? h("span", { class: "tag" }, labels) : null;
    return h("li", {}, h("button", {
      type: "button", class: "thumb", title: each.name, "aria-label": labels ? `${each.name}, ${labels}` : each.name,
      "aria-current": String(each.row === photo.row), onclick: () => walk(each.row),
    }, small(each.row, ""), tag));
  }));
  $("back").disabled = !cells[3];
  $("forth").disabled = !cells[5];
}

/** Classes with their keys; if there are more classes than keys, the nine likeliest come first. */
export function keyed() {
  const names = app.state.classes.map(({ name }) => name);
  if (names.length <= KEYS.length) return names.map((name, i) => [KEYS[i], name]);
  const likely = (photo?.guess ?? []).map(([name]) => name).filter((name) => names.includes(name));
  const first = [...new Set([...likely, ...names])].slice(0, 9);
  return [...first.map((name, i) => [KEYS[i], name]), ...names.filter((name) => !first.includes(name)).map((name) => ["", name])];
}

export function drawClasses() {
  const { state } = app, best = guessed().map(([name]) => name);
  const about = new Map(state.classes.map((each) => [each.name, each]));
  const wanted = $("new").value.trim().toLowerCase();
  const now = keyed().map(([key, name]) => {
    const { photos, examples } = about.get(name);
    const button = option(name, key, () => choose(name));
    button.classList.toggle("likely", best.includes(name));
    button.hidden = Boolean(wanted) && !name.toLowerCase().includes(wanted);
    const [shots, count] = [button.querySelector(".shots"), button.querySelector(".count")];
    const rows = examples.join();
    if (shots.dataset.rows !== rows) {
      shots.dataset.rows = rows;
      shots.replaceChildren(...examples.map((row) => small(row, "")));
    }
    count.textContent = photos ? photos.toLocaleString("en") : "";
    return button;
  });
  const place = $("classes");
  const same = now.length === place.children.length && now.every((button, i) => place.children[i] === button);
  if (!same) place.replaceChildren(...now);
  if (!now.length) place.replaceChildren(h("p", { class: "hint" }, "Type the name of a class below and press Enter, then the next one: deer, Enter, fox, Enter. You can add more at any time."));
  const others = [option(state.none, "n", () => choose(state.none)), option(state.unsure, "s", () => choose(state.unsure))];
  if (!$("aside").children.length) {
    const back = h("button", { type: "button", id: "undo", class: "class", "aria-label": "Undo", "aria-keyshortcuts": "u", title: "Undo (u)", onclick: app.takeBack }, h("kbd", { "aria-hidden": "true" }, "u"), icon("undo"));
    $("aside").replaceChildren(...others, back);
  }
  $("undo").disabled = !app.undo.length;
  $("done").hidden = !state.tags;
}

/** The button of an answer: the same element each time, so that it keeps the focus. */
function option(name, key, act) {
  let button = buttons.get(name);
  if (!button) {
    button = h("button", { type: "button", class: "class", onclick: act },
      h("kbd", { "aria-hidden": "true" }), h("span", { class: "name" }, name), h("span", { class: "shots", "aria-hidden": "true" }), h("span", { class: "count" }));
    buttons.set(name, button);
  }
  const cap = button.querySelector("kbd");
  cap.textContent = key;
  cap.hidden = !key;
  if (key) button.setAttribute("aria-keyshortcuts", key);
  const aside = name === app.state.none || name === app.state.unsure;
  button.setAttribute("aria-pressed", String(app.state.tags && !aside ? chosen.has(name) : Boolean(photo?.answer.includes(name))));
  button.setAttribute("aria-disabled", String(!photo));
  return button;
}

/** A class is the answer; a tag is one of several, until Enter. */
function choose(name) {
  const { tags, none, unsure } = app.state;
  if (!tags || name === none || name === unsure) return answer([name]);
  if (!shown) return;
  if (!chosen.delete(name)) chosen.add(name);
  drawClasses();
}

function enter() {
  if (app.state.tags) answer(chosen.size ? [...chosen] : [app.state.none]);
}

/** Answer about the photo whose pixels are on the screen, and about no other. */
async function answer(labels) {
  if (!shown) return;
  const was = shown, now = photo, { row } = was;
  see(null);
  const photos = { [row]: was.receipt, ...($("together").checked ? Object.fromEntries(pile) : {}) };
  const n = Object.keys(photos).length, what = labels.join(", ");
  app.saving = attempt(() => api("answer", { photos, labels }));
  queue = queue.filter((each) => !(each.row in photos));
  first = first.filter((each) => !(each in photos));
  // The next photo appears at once, but is answered only after this answer is stored.
  if (!walking && queue.length) show(queue[0]);
  const mine = turn, done = await app.saving;
  if (done) app.did(done, n > 1 ? `${many(n)} labelled as ${what}` : `${now.name.split("/").pop()}: ${what}`);
  if (mine !== turn) return; // The person has gone elsewhere meanwhile.
  if (walking) see(was);
  else if (done) refill();
  else {
    queue = [now, ...queue];
    show(now);
  }
}

/** Fetch what comes after the photos at hand. */
async function refill() {
  const now = queue[0], mine = turn, next = await ask();
  if (!next || mine !== turn || walking) return;
  if (!now || next.photos[0]?.row !== now.row) return take(next.photos);
  queue = [now, ...next.photos.slice(1)];
  for (const { row } of queue.slice(1)) picture(row, SCREEN).catch(() => {});
}

/** Fetch anew what is known of a photo that stays on the screen. */
async function again(row) {
  const now = await attempt(() => api("photo", { row }));
  if (!now || photo?.row !== row) return;
  describe(now);
}

/** Look at a photo outside the order. */
export async function walk(row) {
  await leave(() => attempt(() => api("photo", { row })), (next) => {
    walking = true;
    return show(next);
  });
}

function step(by) {
  const next = target?.strip?.[place(target) + by];
  if (next) walk(next.row);
}

function reorder(wanted) {
  order = wanted;
  queue = [];
  drawOrder();
  return go();
}

function drawOrder() {
  const pairs = [["useful", "Most useful first"], ["taken", "In the order taken"]];
  if (order.order === "words") pairs.push(["words", `“${order.words}”`]);
  if (order.order === "like") pairs.push(["like", "Like one photo"]);
  choices($("order"), pairs, order.order);
}

/** The photos of these rows come next. */
export function showNext(rows) {
  first = [...rows, ...first.filter((row) => !rows.includes(row))];
  queue = [];
  target = null;
}

/** The view is opened: what it shows counts as shown from now on. */
export function open() {
  describe(photo);
  if (target) show(target);
  else go();
}

/** Something was learned, answered or renamed. */
export function refresh() {
  describe(photo);
  if (app.view !== "label") return;
  if (shown) again(photo.row);
  else if (!target) go();
}

export function start() {
  $("back").onclick = () => step(-1);
  $("forth").onclick = () => step(1);
  $("zoom").onclick = () => zoom.toggle();
  $("done").onclick = enter;
  $("like").onclick = () => photo && reorder({ order: "like", like: photo.row });
  $("order").onchange = () => reorder({ order: $("order").value });
  $("find").onsubmit = (event) => {
    event.preventDefault();
    const text = $("words").value.trim();
    if (text) reorder({ order: "words", words: text });
    $("words").blur();
  };
  $("new").oninput = drawClasses;
  $("add").onsubmit = async (event) => {
    event.preventDefault();
    const name = $("new").value.trim().replace(/\s+/g, " ");
    if (!name) return;
    const own = app.state.classes.find((each) => each.name.toLowerCase() === name.toLowerCase());
    $("new").value = "";
    if (own) {
      choose(own.name);
      drawClasses();
      return;
    }
    const done = await attempt(() => api("classes", { do: "add", name }));
    if (done) app.did(done, `Added ${name}`);
    else $("new").value = name;
  };
  drawOrder();
}

export function onKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const named = keyed().find(([own]) => own === key);
  if (key === "ArrowLeft") step(-1);
  else if (key === "ArrowRight") step(1);
  else if (event.repeat) return false;
  else if (key in FIRST) choose(app.state[FIRST[key]]);
  else if (named) choose(named[1]);
  else if (key === "Enter" && app.state.tags && !event.target.closest("button:not(.class)")) enter();
  else if (key === "z") zoom.toggle();
  else if (key === "+" || key === "=") zoom.by(1.5);
  else if (key === "-") zoom.by(1 / 1.5);
  else if (key === "m") $("like").click();
  else if (key === "p") $("together").click();
  else if (key === "/") $("words").focus();
  else if (key === ".") $("new").focus();
  else if (key === "e") $("edit").click();
  else if (key === "Escape" && zoom.scale > 1) zoom.reset();
  else if (key === "Escape" && walking) go();
  else return false;
  return true;
}
