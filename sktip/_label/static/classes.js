// The dialog in which classes get other names, another order, are merged or removed.

import { api, app, attempt, choices, dialog, h, icon, many, small } from "./shared.js";

export function editClasses() {
  const list = h("ol", { class: "edit" });
  const box = dialog("Classes", list);

  /** Change something, say it, and draw the list anew with the focus where it was. */
  async function act(body, text, focus) {
    const done = await attempt(() => api("classes", body));
    if (!done) return;
    app.did(done, text);
    draw();
    (list.querySelector(`[data-focus="${CSS.escape(focus)}"]`) ?? box.querySelector("button, input"))?.focus();
  }

  function row({ name, photos, examples }, i, all) {
    const names = all.map((each) => each.name);
    const move = (by) => {
      const order = [...names];
      order.splice(i, 1);
      order.splice(i + by, 0, name);
      const key = `${by < 0 ? "up" : "down"} ${name}`;
      return act({ do: "order", names: order }, `Moved ${name}.`, key);
    };
    const field = h("input", { value: name, "aria-label": `Name of ${name}`, maxlength: 200, "data-focus": `name ${name}` });
    const into = h("select", { "aria-label": `Merge ${name} into` });
    choices(into, [["", "Merge into …"], ...names.filter((own) => own !== name).map((own) => [own, own])], "");
    into.onchange = () => into.value && act({ do: "merge", name, new: into.value }, `${name} is now ${into.value}.`, `name ${into.value}`);
    const rename = (event) => {
      event.preventDefault();
      const wanted = field.value.trim();
      if (wanted && wanted !== name) act({ do: "rename", name, new: wanted }, `${name} is now ${wanted}.`, `name ${wanted}`);
    };
    return h("li", {},
      h("div", { class: "moves" },
        h("button", { type: "button", class: "icon", disabled: i === 0, "aria-label": `Move ${name} up`, "data-focus": `up ${name}`, onclick: () => move(-1) }, icon("up")),
        h("button", { type: "button", class: "icon", disabled: i === all.length - 1, "aria-label": `Move ${name} down`, "data-focus": `down ${name}`, onclick: () => move(1) }, icon("down"))),
      h("form", { class: "own", onsubmit: rename }, field, h("button", { type: "submit", class: "quiet" }, "Rename")),
      h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}`, onclick: () => act({ do: "remove", name }, `Removed ${name}.`, "") }, "Remove"),
      h("div", { class: "more" }, ...examples.map((photo) => small(photo, `A photo of ${name}`)), h("span", {}, photos ? many(photos) : "no photos yet"), all.length > 1 ? into : null));
  }

  function draw() {
    const { classes } = app.state;
    list.replaceChildren(...(classes.length ? classes.map(row) : [h("p", { class: "hint" }, "There are no classes. Close this, and add them beside the photo.")]));
  }
  draw();
}
