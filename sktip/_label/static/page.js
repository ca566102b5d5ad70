// Views, keys, progress, and what the server says.

import { $, api, app, attempt, dialog, getState, h, many, toast } from "./shared.js";
import * as label from "./label.js";
import * as sort from "./sort.js";
import * as results from "./results.js";
import { editClasses } from "./classes.js";

const views = { label, sort, results };
const TITLES = { label: "Label", sort: "Sort", results: "Results" };

app.open = (name, row = null) => {
  app.view = name;
  for (const own of Object.keys(views)) $(own).hidden = own !== name;
  for (const button of document.querySelectorAll("[data-view]")) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} – ${app.state.name} – sktip label`;
  if (row != null) label.walk(row);
  else views[name].open();
};

/** Take what the server says of everything. */
app.update = (state) => {
  app.state = state;
  $("name").textContent = $("name").title = state.name;
  const left = Math.max(0, state.photos - state.labelled - state.suggested - state.damaged);
  const [labelled, suggested] = $("bar").children;
  labelled.style.width = `${(100 * state.labelled) / state.photos}%`;
  suggested.style.width = `${(100 * state.suggested) / state.photos}%`;
  const parts = [[state.labelled, "labelled"], [state.suggested, "suggested"], [left, "left"]];
  $("bar").setAttribute("aria-label", parts.map(([n, text]) => `${n} ${text}`).join(", "));
  $("counts").replaceChildren(...parts.map(([n, text]) => h("span", {}, h("b", {}, n.toLocaleString("en")), ` ${text}`)));
  const note = [state.problem, state.note].filter(Boolean).join(" "), place = $("note").querySelector("p");
  if (place.textContent !== note) {
    place.textContent = note;
    $("note").hidden = !note;
  }
  if (app.view) views[app.view].refresh();
};

/** Look at one photo, large. */
app.look = (row) => {
  app.open("label", row);
};

/** An answer is stored: say so, with a way back. */
app.did = (done, text) => {
  app.undo.push(done.undo);
  toast(text, app.takeBack);
  app.update(done.state);
};

app.takeBack = async () => {
  await app.saving; // What was answered last is taken back, not what was before it.
  const key = app.undo.pop();
  if (!key) return;
  const done = await attempt(() => api("undo", { key }));
  if (!done) return;
  toast(`Taken back: ${many(done.rows.length)}.`);
  if (app.view === "label" && done.rows.length === 1) await label.go(done.rows);
  app.update(done.state);
};

function help() {
  const keys = [
    [["1", "2", "…"], "the class of the photo"], [["n"], "none of these"], [["s"], "not sure"], [["u"], "undo"],
    [["←", "→"], "the photo taken before or after"], [["Esc"], "back to the photos to label"],
    [["z", "+", "−"], "zoom; also by click and wheel"], [["m"], "more photos like this one"], [["p"], "label near copies together"], [["/"], "find photos by words"],
    [["."], "find or add a class"], [["e"], "edit classes"],
    [["a"], "in Sort: tick all photos that you see"], [["?"], "this list"],
  ];
  dialog("Keys", h("div", {}, h("dl", { class: "keys" }, ...keys.flatMap(([own, text]) => [
    h("dt", {}, ...own.map((key) => h("kbd", {}, key))), h("dd", {}, text),
  ])), h("p", { class: "hint" }, `Each answer is on your disk at once, in ${app.state.output}. No photo is moved or changed.`)));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !app.state) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing) {
    if (event.key === "Escape" && typing.tagName === "INPUT") {
      typing.value = "";
      typing.blur();
      views[app.view].refresh();
    }
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  let used = true;
  if (event.key === "?") help();
  else if (key === "u" && !event.repeat) app.takeBack();
  else used = views[app.view].onKey(event);
  if (used) event.preventDefault();
});

let gone = false;

async function follow() {
  let wait = 700;
  try {
    const state = await getState(app.state.version);
    if (state.version) app.update(state);
    if (gone) toast("sktip label answers again.");
    gone = false;
  } catch (error) {
    if (!gone) toast(error.message);
    gone = true;
    wait = 3000;
  }
  setTimeout(follow, wait);
}

async function start() {
  for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => app.open(button.dataset.view);
  $("help").onclick = help;
  $("note").querySelector("button").onclick = () => ($("note").hidden = true);
  $("edit").onclick = editClasses;
  addEventListener("pagehide", () => api("close", { window: app.window }).catch(() => {}));
  try {
    app.state = await getState();
  } catch (error) {
    document.querySelector("main").replaceChildren(h("div", { class: "empty" }, h("h2", {}, "Not open"), h("p", {}, error.message)));
    return;
  }
  sort.start();
  label.start();
  app.update(app.state);
  app.open("label");
  if (!app.state.classes.length) $("new").focus();
  setTimeout(follow, 700);
}

start();
