// One photograph in one style: before and after, zoom and pan, the sliders.

import { address, ask } from "./api.js";
import { $, CLIENT, element, percent, saveBlob, show, spoken, told } from "./page.js";

const STROKES = [undefined, 1.5, 2, 3, 4, 6, 8, 12, 16];
const LARGEST = 3200;
const REST = 180; // ms without a movement until the picture is painted larger

export class Viewer {
  constructor(leave) {
    this.zoom = 1;
    this.x = this.y = 0;
    this.cut = 0.5;
    this.pointers = new Map();
    $("back").onclick = leave;
    for (const id of ["strength", "strokes", "colour", "second", "share"]) $(id).oninput = () => this.changed();
    for (const button of document.querySelectorAll("[data-mode]:not(.stage)")) button.onclick = () => this.mode(button.dataset.mode);
    $("zoom-in").onclick = () => this.zoomTo(this.zoom * 1.5);
    $("zoom-out").onclick = () => this.zoomTo(this.zoom / 1.5);
    $("zoom-fit").onclick = () => this.zoomTo(1);
    $("zoom-full").onclick = () => this.zoomTo(this.full());
    $("save").onclick = told(() => this.save());
    $("use").onclick = () => {
      document.dispatchEvent(new CustomEvent("use-look", { detail: this.look() }));
      location.hash = "jobs";
    };
    this.listenOnStage();
    new ResizeObserver(() => this.place()).observe($("stage"));
  }

  open(photo, styles, style, thumbs) {
    this.photo = photo;
    this.styles = styles;
    $("strokes").max = STROKES.length - 1;
    $("strokes").value = 0;
    $("strength").value = 100;
    $("colour").value = 0;
    this.zoom = 1;
    this.x = this.y = 0;
    $("before").src = address(`/api/photos/${photo.id}`, { size: Math.min(LARGEST, Math.max(photo.width, photo.height)) });
    $("before").onload = () => this.place();
    $("strip").replaceChildren(
      ...styles.map((each) =>
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", "data-style": each.name, "aria-pressed": "false", title: each.artwork, onclick: () => this.pick(each) },
            element("img", { src: thumbs[each.name] || undefined, alt: "" }),
            element("span", {}, spoken(each.name)),
          ),
        ),
      ),
    );
    this.pick(style, thumbs[style.name]);
    $("back").focus();
  }

  pick(style, rough) {
    this.style = style;
    const second = $("second").value;
    const others = this.styles.filter((each) => each.name !== style.name && each.family && each.family === style.family);
    $("second").replaceChildren(
      element("option", { value: "" }, others.length ? "nothing" : "no other style fits this one"),
      ...others.map((each) => element("option", { value: each.name }, spoken(each.name))),
    );
    $("second").value = others.some((each) => each.name === second) ? second : "";
    for (const button of $("strip").querySelectorAll("button")) {
      const chosen = button.dataset.style === style.name;
      button.setAttribute("aria-pressed", String(chosen));
      if (chosen) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    $("after").alt = `The photograph in the style ${spoken(style.name)}`;
    if (rough) {
      $("after").src = rough;
      this.borrowed = true;
    }
    this.changed();
  }

  close() {
    clearTimeout(this.resting);
    this.refining?.abort();
    this.wanted = null;
    this.photo = null;
  }

  look() {
    const share = Number($("share").value) / 100;
    const second = $("second").value;
    return {
      style: second ? `${this.style.name}:${(1 - share).toFixed(2)},${second}:${share.toFixed(2)}` : this.style.name,
      strength: Number($("strength").value) / 100,
      preserve_color: Number($("colour").value) / 100 || undefined,
      strokes: STROKES[Number($("strokes").value)],
    };
  }

  query(size) {
    return address("/api/preview", { photo: this.photo.id, ...this.look(), size, client: CLIENT, view: size ? "whole" : "draft" });
  }

  changed() {
    $("strength-shown").textContent = percent(Number($("strength").value) / 100);
    $("colour-shown").textContent = percent(Number($("colour").value) / 100);
    $("strokes-shown").textContent = this.look().strokes ? `${this.look().strokes} × as wide` : "as learned";
    $("share-row").hidden = !$("second").value;
    $("share-shown").textContent = percent(Number($("share").value) / 100);
    const second = this.styles.find((each) => each.name === $("second").value);
    $("style-name").textContent = [this.style, second].filter(Boolean).map((each) => spoken(each.name)).join(" + ");
    const known = (text) => text && text !== "unknown";
    const paintings = [this.style, second].filter(Boolean);
    $("artwork").replaceChildren(
      ...paintings.map((each) => element("span", {}, [each.artwork, each.artist, each.year].filter(known).join(", "))),
    );
    $("rights").textContent = `Rights in the painting${second ? "s" : ""}: ${[...new Set(paintings.map((each) => each.rights))].join("; ")}`;
    clearTimeout(this.resting);
    this.refining?.abort();
    this.wanted = this.query();
    $("stage").setAttribute("aria-busy", "true"); // until it is painted in full
    this.draft();
  }

  // One draft is on its way at a time; of the movements meanwhile the last counts.
  async draft() {
    if (this.drafting) return;
    this.drafting = true;
    try {
      while (this.wanted) {
        const wanted = this.wanted;
        this.wanted = null;
        const start = performance.now();
        const answer = await ask(wanted);
        await this.display(await answer.blob());
        const [width, height] = answer.headers.get("X-Painted").split("x");
        const took = Math.round(performance.now() - start);
        $("view-status").textContent = `Draft, ${width} × ${height}, in ${took} ms`;
        document.dispatchEvent(new CustomEvent("draft-shown", { detail: took }));
      }
      this.resting = setTimeout(() => this.refine(), REST);
    } catch (error) {
      if (error.status !== 409) {
        $("view-status").textContent = error.message;
        $("stage").removeAttribute("aria-busy");
      }
    } finally {
      this.drafting = false;
    }
  }

  async refine() {
    if (!this.photo) return;
    const whole = Math.max(this.photo.width, this.photo.height);
    const stage = $("stage").getBoundingClientRect();
    const fits = Math.max(stage.width, stage.height) * devicePixelRatio;
    const size = Math.round(Math.min(LARGEST, whole, this.zoom > 1 ? whole : Math.max(640, fits)));
    this.refining = new AbortController();
    const { signal } = this.refining;
    $("view-status").textContent += "; sharpening";
    try {
      const answer = await ask(this.query(size), { signal });
      await this.display(await answer.blob());
      const [width, height] = answer.headers.get("X-Painted").split("x");
      const note = size < whole ? "; strokes may be finer in full size" : "";
      $("view-status").textContent = `Painted at ${width} × ${height}${note}`;
      this.refined = size;
      $("stage").removeAttribute("aria-busy");
    } catch (error) {
      if (error.name === "AbortError" || error.status === 409) return;
      $("view-status").textContent = error.message;
      $("stage").removeAttribute("aria-busy");
    }
  }

  async display(blob) {
    if (this.borrowed) $("after").removeAttribute("src"); // the card's picture is still the card's
    this.borrowed = false;
    await show($("after"), blob);
    this.place();
  }

  async save() {
    $("save").disabled = true;
    $("save").textContent = "Painting in full size…";
    try {
      const query = address("/api/image", { photo: this.photo.id, ...this.look() });
      const answer = await ask(query, { method: "POST" });
      const name = /filename\*=UTF-8''(.+)$/.exec(answer.headers.get("Content-Disposition"))?.[1];
      saveBlob(await answer.blob(), decodeURIComponent(name ?? "painting"));
    } finally {
      $("save").disabled = false;
      $("save").textContent = "Save in full size";
    }
  }

  mode(mode) {
    $("stage").dataset.mode = mode;
    for (const button of document.querySelectorAll("[data-mode]:not(.stage)")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    this.place();
  }

  // --- where the pictures lie ---

  pane() {
    return $("pane-after").getBoundingClientRect();
  }

  // Width and height of the picture where it fits the pane.
  fitted() {
    const { width, height } = this.pane();
    const before = $("before");
    const shape = before.naturalWidth ? before.naturalWidth / before.naturalHeight : this.photo.width / this.photo.height;
    return width / height > shape ? [height * shape, height] : [width, width / shape];
  }

  // The zoom at which a pixel of the photograph is one of the screen.
  full() {
    return Math.max(1, Math.max(this.photo.width, this.photo.height) / Math.max(...this.fitted()) / devicePixelRatio);
  }

  place() {
    if (!this.photo) return;
    const { width, height } = this.pane();
    const [w, h] = this.fitted();
    const slackX = Math.max(0, (w * this.zoom - width) / 2);
    const slackY = Math.max(0, (h * this.zoom - height) / 2);
    this.x = Math.min(slackX, Math.max(-slackX, this.x));
    this.y = Math.min(slackY, Math.max(-slackY, this.y));
    const left = (width - w * this.zoom) / 2 + this.x;
    const top = (height - h * this.zoom) / 2 + this.y;
    for (const id of ["before", "after"]) {
      const { style } = $(id);
      style.width = `${w}px`;
      style.height = `${h}px`;
      style.transform = `translate(${left}px, ${top}px) scale(${this.zoom})`;
    }
    $("stage").classList.toggle("zoomed", this.zoom > 1);
    $("stage").classList.toggle("pixels", this.zoom > this.full() * 2);
    $("pane-after").style.clipPath = `inset(0 0 0 ${this.cut * 100}%)`;
    $("divider").style.left = `${this.cut * 100}%`;
    $("divider").setAttribute("aria-valuenow", String(Math.round(this.cut * 100)));
    $("divider").setAttribute("aria-valuetext", `${Math.round(this.cut * 100)} % photograph`);
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
    const whole = Math.min(LARGEST, Math.max(this.photo.width, this.photo.height));
    if (larger && (this.refined ?? 0) < whole && !this.drafting) this.refine();
  }

  moveDivider(clientX) {
    const stage = $("stage").getBoundingClientRect();
    this.cut = Math.min(1, Math.max(0, (clientX - stage.left) / stage.width));
    this.place();
  }

  listenOnStage() {
    const stage = $("stage");
    const at = (event) => {
      const pane = this.pane();
      return { x: event.clientX - pane.left, y: event.clientY - pane.top };
    };
    stage.onpointerdown = (event) => {
      if (event.button) return;
      stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const free = this.zoom === 1 && stage.dataset.mode === "divider";
      this.dividing = this.pointers.size === 1 && (event.target.id === "divider" || free);
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
    stage.onkeydown = (event) => {
      if (event.target.id === "divider") return;
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
      else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
      else if (event.key === "0") this.zoomTo(1);
      else if (event.key === "1") this.zoomTo(this.full());
      else if (moves[event.key]) {
        this.x += moves[event.key][0];
        this.y += moves[event.key][1];
        this.place();
      } else return;
      event.preventDefault();
    };
    $("divider").onkeydown = (event) => {
      const step = event.shiftKey ? 0.1 : 0.02;
      const to = { ArrowLeft: this.cut - step, ArrowRight: this.cut + step, Home: 0, End: 1, PageDown: this.cut - 0.2, PageUp: this.cut + 0.2 };
      if (!(event.key in to)) return;
      event.preventDefault();
      this.cut = Math.min(1, Math.max(0, to[event.key]));
      this.place();
    };
  }
}
