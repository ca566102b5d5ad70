// What all views share: the server, pictures, elements, the note with "undo".

const KEY = "sktip-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", "/"); // Neither shown nor kept in the list of visited pages.
}
const headers = { "x-sktip-token": sessionStorage.getItem(KEY) ?? "" };

export const $ = (id) => document.getElementById(id);

/** What the server says of everything but single photos, and what this window does. */
export const app = { state: null, view: "", saving: null, window: crypto.randomUUID(), undo: [] };

/** Make an element. Text is never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export function choices(select, pairs, value = select.value) {
  select.replaceChildren(...pairs.map(([key, text]) => h("option", { value: key }, text)));
  select.value = pairs.some(([key]) => key === value) ? value : (pairs[0]?.[0] ?? "");
}

/** Ask the server. What a person can understand and mend is an Error with `said`. */
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  } catch {
    throw Object.assign(new Error("sktip label does not answer. Is it still running?"), { said: true, gone: true });
  }
  if (answer.status === 403) {
    throw Object.assign(new Error(await answer.text()), { said: true, gone: true });
  }
  if (!answer.ok) {
    const kind = answer.headers.get("content-type") ?? "";
    const text = kind.includes("json") ? (await answer.json()).error : `The server failed (${answer.status}); its terminal says why.`;
    throw Object.assign(new Error(text), { said: true });
  }
  return answer;
}

export async function api(action, body = {}) {
  // What is asked when the page closes is sent all the same.
  const keepalive = action === "close";
  const options = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, keepalive };
  return (await ask(`/api/${action}`, options)).json();
}

export const getState = async (version) => (await ask(`/api/state?window=${app.window}&version=${version ?? ""}`)).json();

/** Run what may fail for a reason that a person can understand. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message);
    if (!error.said) console.error(error);
    return null;
  }
}

export const SMALL = 320, SCREEN = 1600, LARGE = 4096;
const pictures = new Map();
const KEPT = { [SMALL]: 400, [SCREEN]: 16, [LARGE]: 2 };

/** Fetch a photo once: its address in this page, and the receipt without which it cannot be labelled. */
export function picture(row, side, priority = "auto") {
  const key = `${row}/${side}`;
  let promise = pictures.get(key);
  if (promise) {
    pictures.delete(key);
  } else {
    promise = ask(`/photo/${key}`, { priority }).then(async (answer) => ({
      url: URL.createObjectURL(await answer.blob()),
      receipt: answer.headers.get("x-sktip-receipt"),
    }));
    promise.then((value) => (promise.value = value), () => pictures.delete(key));
  }
  pictures.set(key, promise); // The latest last.
  const same = [...pictures.keys()].filter((own) => own.endsWith(`/${side}`));
  for (const old of same.slice(0, Math.max(0, same.length - KEPT[side]))) {
    pictures.get(old).then(({ url }) => setTimeout(() => URL.revokeObjectURL(url), 10_000), () => {});
    pictures.delete(old);
  }
  return promise;
}

/** An image element with all its pixels, and its receipt. */
export async function decoded(row, side, alt) {
  const { url, receipt } = await picture(row, side, side === SMALL ? "low" : "high");
  const image = h("img", { src: url, alt, draggable: "false" });
  await image.decode();
  return { image, receipt };
}

const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

/** Put an element into a place; it is on the screen when the promise is kept. */
export async function paint(place, element) {
  place.replaceChildren(element);
  await painted();
}

const lazy = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    lazy.unobserve(target);
    target.load();
  }
});

/** A small photo, loaded when it comes into view; `then` gets its receipt. */
export function small(row, alt, then = () => {}) {
  const image = h("img", { alt });
  const value = pictures.get(`${row}/${SMALL}`)?.value;
  if (value) image.src = value.url; // Without flicker.
  image.load = async () => {
    try {
      const { url, receipt } = await picture(row, SMALL, "low");
      image.src = url;
      await image.decode();
      await painted();
      then(receipt);
    } catch (error) {
      image.alt = `${alt}: ${error.message}`;
    }
  };
  lazy.observe(image);
  return image;
}

let timer;
/** Say something for some seconds, with a way to take it back. */
export function toast(text, undo = null) {
  const place = $("toast");
  clearTimeout(timer);
  place.replaceChildren(h("span", {}, text));
  if (undo) place.append(h("button", { type: "button", onclick: undo, title: "Undo (u)" }, "Undo", h("kbd", { "aria-hidden": "true" }, "u")));
  place.classList.add("open");
  timer = setTimeout(() => place.classList.remove("open"), undo ? 8000 : 6000);
}

/** For screen readers alone. */
export function say(text) {
  $("said").textContent = text;
}

export const many = (n, one = "photo", more = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;
export const percent = (share) => `${Math.round(100 * share)} %`;
export const between = ({ lower, upper }) => `${Math.round(100 * lower)} to ${percent(upper)}`;

/** Certainty in words. */
export function words(probability) {
  if (probability >= 0.95) return "very likely";
  if (probability >= 0.8) return "likely";
  if (probability >= 0.6) return "perhaps";
  return "unsure";
}

/** Open a dialog that is gone when it closes. */
export function dialog(title, content, kind = "") {
  const close = h("button", { type: "button", class: "icon", "aria-label": "Close", title: "Close (Esc)", onclick: () => box.close() }, icon("close"));
  const box = h("dialog", { class: kind, "aria-label": title }, h("header", {}, h("h2", {}, title), close), content);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}
