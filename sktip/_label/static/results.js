// What is known of all photos, what may be wrong, and what is written.

import { $, api, app, attempt, between, choices, h, many, percent, small } from "./shared.js";

let last = "";

export async function refresh() {
  // What is half learned would come and go.
  if (last && app.state.stage === "learning") return;
  const now = await attempt(() => api("results"));
  if (!now) return;
  const { classes, photos, labelled, damaged, output } = app.state;
  const text = JSON.stringify([now, classes, labelled, damaged]);
  if (text === last) return;
  last = text;
  const focus = document.activeElement?.dataset.focus;
  const left = photos - labelled - damaged;
  $("results").replaceChildren(h("div", {}, headline(now, left), table(now), doubts(now), (files ??= finish(output)), damage(damaged)));
  if (focus) document.querySelector(`#results [data-focus="${CSS.escape(focus)}"]`)?.focus();
}

function headline({ accuracy, curve }, left) {
  const text = accuracy
    ? [h("p", { class: "number" }, percent(accuracy.value), h("small", {}, ` ${between(accuracy)}`)),
      h("p", {}, `of the ${many(left)} without a label are expected to be right. In 8 of 10 cases the share is within this interval.`)]
    : [h("p", {}, left ? "Label some photos of each class. Then it is said here how many of the others are right." : "All photos have a label.")];
  return h("section", { class: "card headline" }, h("div", {}, h("h2", {}, "Expected accuracy"), ...text), curve.length > 1 ? chart(curve) : null);
}

/** The expected accuracy over the number of answers, with its interval. */
function chart(curve) {
  const W = 340, H = 150, left = 40, bottom = 24, top = 8, right = 12;
  const most = curve.at(-1).answers, least = curve[0].answers;
  const x = (n) => left + ((n - least) / Math.max(1, most - least)) * (W - left - right);
  const y = (share) => top + (1 - share) * (H - top - bottom);
  const at = (key) => ({ answers, ...each }) => `${x(answers).toFixed(1)},${y(each[key]).toFixed(1)}`;
  const make = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": `Expected accuracy after ${least} answers ${percent(curve[0].value)}, after ${most} ${percent(curve.at(-1).value)}` });
  for (const share of [0, 0.5, 1]) {
    svg.append(make("line", { x1: left, x2: W - right, y1: y(share), y2: y(share), class: "rule" }),
      make("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share)));
  }
  svg.append(make("polygon", { points: [...curve.map(at("upper")), ...curve.map(at("lower")).reverse()].join(" "), class: "band" }),
    make("polyline", { points: curve.map(at("value")).join(" "), class: "line" }),
    make("circle", { cx: x(most), cy: y(curve.at(-1).value), r: 3.5, class: "dot" }),
    make("text", { x: left, y: H - 6 }, String(least)), make("text", { x: W - right, y: H - 6, "text-anchor": "end" }, many(most, "answer")));
  return svg;
}

function table({ classes }) {
  if (!classes.length) return null;
  const columns = [
    ["Class", ({ name }) => name], ["Labelled", ({ labelled }) => labelled.toLocaleString("en")],
    ["In the folder", ({ share }) => (share ? `${percent(share.value)} (${between(share)})` : "")],
    ["Right when tried", ({ right, tried }) => (tried ? `${right} of ${tried}` : "")],
    ["By its name alone", ({ by_name, tried }) => (by_name != null && tried ? `${by_name} of ${tried}` : "")],
  ].filter(([, cell], i) => i < 2 || classes.some((each) => cell(each)));
  return h("section", { class: "card" }, h("h2", {}, "Classes"),
    h("p", {}, "Tried: each labelled photo is predicted without its own label. Label more photos of a weak class, or give it a plainer name."),
    h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Classes" }, h("table", {},
      h("thead", {}, h("tr", {}, ...columns.map(([title]) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, ...classes.map((each) => h("tr", {}, ...columns.map(([, cell], i) => (i ? h("td", {}, cell(each)) : h("th", { scope: "row" }, cell(each))))))))));
}

/** The labels that are least probable, each with its remedy. */
function doubts({ doubtful }) {
  return h("section", { class: "card" }, h("h2", {}, "Most doubtful labels"),
    h("p", {}, doubtful.length ? "These labels are the least probable by all others. Correct the wrong ones." : "They are listed here once photos of two classes have labels."),
    h("div", { class: "doubts" }, ...doubtful.map(doubt)));
}

function doubt({ row, name, answer, belief }) {
  let receipt;
  const select = h("select", { "aria-label": `Label of ${name}`, disabled: true, "data-focus": `doubt ${row}`, onchange: async () => {
    const label = select.value;
    const done = await attempt(() => api("answer", { photos: { [row]: receipt }, labels: [label] }));
    if (done) app.did(done, `${name}: ${label}`);
    else select.value = answer[0];
  } });
  const names = [...app.state.classes.map((each) => each.name), app.state.none, app.state.unsure];
  choices(select, names.map((own) => [own, own]), answer[0]);
  const image = small(row, name, (given) => {
    receipt = given;
    select.disabled = app.state.tags;
  });
  return h("div", { class: "tile" },
    h("button", { type: "button", class: "thumb", "aria-label": `Open ${name}`, onclick: () => app.look(row) }, image),
    h("div", { class: "foot" }, select, h("small", {}, belief < 0.2 ? "probably wrong" : belief < 0.5 ? "doubtful" : "probably right")));
}

function damage(n) {
  if (!n) return null;
  const list = h("ul", { class: "damage" });
  const all = async () => {
    const found = await attempt(() => api("grid", { kind: "damaged", label: null, start: 0 }));
    if (!found) return;
    list.replaceChildren(...found.photos.map(({ name, error }) => h("li", {}, h("b", {}, name), `: ${error}`)));
    if (n > found.photos.length) list.append(h("li", {}, `All ${n.toLocaleString("en")} are listed in Sort.`));
  };
  all();
  return h("section", { class: "card" }, h("h2", {}, `${many(n)} cannot be read`), list);
}

const KINDS = [
  ["copies", "Folders of copies", "A folder per class. Your photos stay where they are."],
  ["links", "Folders of links", "The same, without using space on the disk."],
  ["report", "Report", "One page to keep or to send: counts, accuracy, examples."],
  ["table", "Table", "A CSV file with the class of each photo."],
  ["model", "Classifier", "It predicts new photos, by one command."],
];
let files = null; // Drawn once, since something may be being written.

function finish(output) {
  const cards = KINDS.map(([what, title, text]) => {
    const where = h("div", { "aria-live": "polite" });
    const button = h("button", { type: "button", class: "quiet", "aria-label": `Write: ${title}`, "data-focus": `write ${what}`, onclick: async () => {
      button.disabled = true;
      where.replaceChildren(h("p", {}, "Writing …"));
      const done = await attempt(() => api("write", { what }));
      where.replaceChildren(...(done ? receipt(done) : []));
      button.disabled = false;
      button.focus();
    } }, "Write");
    return h("div", {}, h("h3", {}, title), h("p", {}, text), where, button);
  });
  return h("section", { class: "card" }, h("h2", {}, "Take it with you"),
    h("p", {}, "Your labels are stored already. All files are written into the folder ", h("code", {}, output), "."), h("div", { class: "finish" }, ...cards));
}

/** Where something was written, what could not be, and what to type next. */
function receipt({ path, problems, command }) {
  const parts = [h("p", {}, "Written:"), h("code", { class: "where" }, path)];
  if (problems.length) {
    parts.push(h("details", {}, h("summary", {}, `${many(problems.length)} left out`), h("ul", {}, ...problems.slice(0, 20).map(([photo, reason]) => h("li", {}, `${photo}: ${reason}`)))));
  }
  if (command) parts.push(h("p", {}, "For new photos, type:"), h("code", { class: "where" }, command));
  return parts;
}

export const open = refresh;
export const onKey = () => false;
