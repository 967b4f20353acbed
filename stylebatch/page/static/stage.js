// Two pictures or films of the same: with a divider between them, beside each other, or one alone; zoomed and moved together.

import { element } from "./page.js";

const MODES = { divider: "Divider", beside: "Side by side", painting: "Painting" };

export class Stage {
  // before: null where there is nothing to compare with. larger: called when zooming shows more than fits.
  constructor(before, after, { id, label, words = ["photograph", "painting"], larger = () => {} }) {
    this.before = before;
    this.after = after;
    this.larger = larger;
    this.size = null; // width and height in full, if they are not those of what is shown
    this.zoom = 1;
    this.x = this.y = 0;
    this.cut = 0.5;
    this.pointers = new Map();
    this.panes = [before, after].map((media, place) => element("div", { class: `pane ${place ? "after" : "before"}` }, media));
    this.divider = element("div", { class: "divider", role: "slider", tabindex: 0, "aria-label": `Divider between ${words[0]} and ${words[1]}`, "aria-valuemin": 0, "aria-valuemax": 100 });
    const corner = (side, word) => element("span", { class: `corner ${side}`, "aria-hidden": "true" }, word);
    this.element = element(
      "div",
      { id, class: "stage", tabindex: 0, role: "group", "aria-label": `${label}; plus and minus zoom, arrows move` },
      before && [this.panes[0]],
      this.panes[1],
      before && [corner("left", words[0]), corner("right", words[1]), this.divider],
    );
    this.word = words[0];
    this.buttons = Object.entries(MODES).map(([mode, name]) => element("button", { type: "button", "data-mode": mode, onclick: () => this.mode(mode) }, name));
    this.mode(before ? "divider" : "painting");
    this.listen();
    this.watch = new ResizeObserver(() => this.place());
    this.watch.observe(this.element);
    for (const media of [before, after]) for (const kind of ["load", "loadedmetadata"]) media?.addEventListener(kind, () => this.place());
  }

  // The buttons for it.
  tools() {
    const button = (name, label, action) => element("button", { type: "button", "aria-label": label, onclick: action }, name);
    return [
      this.before && element("div", { class: "segments", role: "group", "aria-label": "View" }, this.buttons),
      element(
        "div",
        { class: "segments zoom", role: "group", "aria-label": "Zoom" },
        button("−", "Zoom out", () => this.zoomTo(this.zoom / 1.5)),
        button("Fit", "Fit the window", () => this.zoomTo(1)),
        button("100 %", "Full size", () => this.zoomTo(this.full())),
        button("+", "Zoom in", () => this.zoomTo(this.zoom * 1.5)),
      ),
    ];
  }

  reset() {
    this.zoom = 1;
    this.x = this.y = 0;
  }

  mode(mode) {
    this.element.dataset.mode = mode;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    this.place();
  }

  pane() {
    return this.panes[1].getBoundingClientRect();
  }

  // Width and height in pixels of what is shown; zero until something is.
  natural() {
    for (const media of [this.before, this.after]) {
      const [width, height] = [media?.naturalWidth ?? media?.videoWidth, media?.naturalHeight ?? media?.videoHeight];
      if (width) return [width, height];
    }
    return this.size ?? [0, 0];
  }

  // Width and height where it fits the pane.
  fitted() {
    const { width, height } = this.pane();
    const [w, h] = this.natural();
    const shape = w && h ? w / h : 1;
    return width / height > shape ? [height * shape, height] : [width, width / shape];
  }

  // The zoom at which a pixel of the file is one of the screen.
  full() {
    return Math.max(1, Math.max(...(this.size ?? this.natural())) / Math.max(1, ...this.fitted()) / devicePixelRatio);
  }

  place() {
    const { width, height } = this.pane();
    if (!width) return;
    const [w, h] = this.fitted();
    const slackX = Math.max(0, (w * this.zoom - width) / 2);
    const slackY = Math.max(0, (h * this.zoom - height) / 2);
    this.x = Math.min(slackX, Math.max(-slackX, this.x));
    this.y = Math.min(slackY, Math.max(-slackY, this.y));
    const left = (width - w * this.zoom) / 2 + this.x;
    const top = (height - h * this.zoom) / 2 + this.y;
    for (const media of [this.before, this.after]) {
      if (!media) continue;
      media.style.width = `${w}px`;
      media.style.height = `${h}px`;
      media.style.transform = `translate(${left}px, ${top}px) scale(${this.zoom})`;
    }
    this.element.classList.toggle("zoomed", this.zoom > 1);
    this.element.classList.toggle("pixels", this.zoom > this.full() * 2);
    this.panes[1].style.clipPath = `inset(0 0 0 ${this.cut * 100}%)`;
    this.divider.style.left = `${this.cut * 100}%`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.cut * 100)));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.cut * 100)} % ${this.word}`);
  }

  zoomTo(zoom, at) {
    const pane = this.pane();
    const wanted = Math.min(Math.max(1, zoom), Math.max(8, this.full() * 4));
    const from = at ?? { x: pane.width / 2, y: pane.height / 2 };
    const scale = wanted / this.zoom;
    this.x = (from.x - pane.width / 2) * (1 - scale) + this.x * scale;
    this.y = (from.y - pane.height / 2) * (1 - scale) + this.y * scale;
    const larger = this.zoom === 1 && wanted > 1;
    this.zoom = wanted;
    this.place();
    if (larger) this.larger();
  }

  moveDivider(clientX) {
    const { left, width } = this.element.getBoundingClientRect();
    this.cut = Math.min(1, Math.max(0, (clientX - left) / width));
    this.place();
  }

  listen() {
    const stage = this.element;
    const at = (event) => {
      const pane = this.pane();
      return { x: event.clientX - pane.left, y: event.clientY - pane.top };
    };
    stage.onpointerdown = (event) => {
      if (event.button) return;
      stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const free = this.zoom === 1 && stage.dataset.mode === "divider";
      this.dividing = this.pointers.size === 1 && (event.target === this.divider || free);
      if (this.dividing) this.moveDivider(event.clientX);
    };
    stage.onpointermove = (event) => {
      const last = this.pointers.get(event.pointerId);
      if (!last) return;
      const now = { x: event.clientX, y: event.clientY };
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.pointers.set(event.pointerId, now);
      if (other) {
        this.dividing = false;
        const spread = (point) => Math.hypot(point.x - other.x, point.y - other.y);
        this.zoomTo((this.zoom * spread(now)) / Math.max(1, spread(last)), at(event));
      } else if (this.dividing) {
        this.moveDivider(event.clientX);
      } else {
        this.x += now.x - last.x;
        this.y += now.y - last.y;
        this.place();
      }
    };
    stage.onpointerup = stage.onpointercancel = (event) => this.pointers.delete(event.pointerId);
    stage.ondblclick = (event) => this.zoomTo(this.zoom > 1 ? 1 : Math.max(2, this.full()), at(event));
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoomTo(this.zoom * Math.exp(-event.deltaY / 300), at(event));
      },
      { passive: false },
    );
    stage.onkeydown = (event) => this.key(event);
  }

  key(event) {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const step = event.shiftKey ? 0.1 : 0.02;
    const cuts = { ArrowLeft: this.cut - step, ArrowRight: this.cut + step, Home: 0, End: 1, PageDown: this.cut - 0.2, PageUp: this.cut + 0.2 };
    if (event.target === this.divider && event.key in cuts) {
      this.cut = Math.min(1, Math.max(0, cuts[event.key]));
      this.place();
    } else if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else if (event.key === "0") this.zoomTo(1);
    else if (event.key === "1") this.zoomTo(this.full());
    else if (event.key in moves && this.zoom > 1) {
      this.x += moves[event.key][0];
      this.y += moves[event.key][1];
      this.place();
    } else return;
    event.preventDefault();
    event.stopPropagation(); // arrows turn the pages of what is around it
  }
}
