// Zoom into a picture by click, wheel, key and two fingers; move it by dragging.

export function zoomable(frame, picture, changed = () => {}) {
  let scale = 1, x = 0, y = 0, moved = false, spread = 0;
  const fingers = new Map();

  function draw() {
    const { clientWidth: w, clientHeight: t } = frame;
    x = Math.min(0, Math.max(w * (1 - scale), x));
    y = Math.min(0, Math.max(t * (1 - scale), y));
    picture.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
    frame.classList.toggle("zoomed", scale > 1);
    changed(scale);
  }

  function zoom(to, event) {
    const box = frame.getBoundingClientRect();
    const px = event ? event.clientX - box.left : box.width / 2;
    const py = event ? event.clientY - box.top : box.height / 2;
    const next = Math.min(12, Math.max(1, to));
    x = px - ((px - x) * next) / scale;
    y = py - ((py - y) * next) / scale;
    scale = next;
    draw();
  }

  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(scale * Math.exp(-event.deltaY / 400), event);
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button")) return;
    fingers.set(event.pointerId, event);
    if (fingers.size === 1) moved = false;
    spread = 0;
  });
  frame.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, event);
    const [one, two] = fingers.values();
    if (two) {
      const wide = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
      const middle = { clientX: (one.clientX + two.clientX) / 2, clientY: (one.clientY + two.clientY) / 2 };
      if (spread) zoom((scale * wide) / spread, middle);
      spread = wide;
      moved = true;
    } else if (scale > 1) {
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      if (Math.hypot(event.movementX, event.movementY) > 1) moved = true;
      if (moved) frame.classList.add("dragged");
      draw();
    }
  });
  function up(event) {
    if (!fingers.delete(event.pointerId)) return;
    spread = 0;
    frame.classList.remove("dragged");
    if (event.type === "pointerup" && !moved && event.target.closest("img")) toggle(event);
  }
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) frame.addEventListener(name, up);
  window.addEventListener("resize", () => scale > 1 && draw());

  function toggle(event) {
    zoom(scale > 1 ? 1 : 2.5, event);
  }
  function reset() {
    if (scale !== 1) zoom(1);
  }
  return { toggle, reset, by: (factor) => zoom(scale * factor), get scale() { return scale; } };
}
