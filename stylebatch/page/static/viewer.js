// One photograph in one style: before and after, and the sliders.

import { address, ask } from "./api.js";
import { $, CLIENT, element, known, percent, saveBlob, show, spoken, told } from "./page.js";
import { Stage } from "./stage.js";

const STROKES = [undefined, 1.5, 2, 3, 4, 6, 8, 12, 16];
const LARGEST = 3200;
const REST = 180; // ms without a movement until the picture is painted larger

export class Viewer {
  constructor(leave) {
    const picture = (id, alt) => element("img", { id, alt, draggable: "false" });
    this.after = picture("after", "The painting");
    this.stage = new Stage(picture("before", "The photograph"), this.after, { id: "stage", label: "Photograph and painting", larger: () => this.larger() });
    $("back").onclick = leave;
    $("back").after(...this.stage.tools());
    $("strip").before(this.stage.element);
    for (const id of ["strength", "strokes", "colour", "second", "share"]) $(id).oninput = () => this.changed();
    $("save").onclick = told(() => this.save());
    $("use").onclick = () => {
      document.dispatchEvent(new CustomEvent("use-look", { detail: this.look() }));
      location.hash = "jobs";
    };
  }

  open(photo, styles, style, thumbs) {
    this.photo = photo;
    this.styles = styles;
    $("strokes").max = STROKES.length - 1;
    $("strokes").value = 0;
    $("strength").value = 100;
    $("colour").value = 0;
    this.stage.reset();
    this.refined = 0;
    $("before").src = address(`/api/photos/${photo.id}`, { size: Math.min(LARGEST, Math.max(photo.width, photo.height)) });
    $("before").onload = () => {
      // What is shown is upright, whichever way the file lies.
      const { naturalWidth, naturalHeight } = $("before");
      const sides = [photo.width, photo.height].sort((a, b) => a - b);
      this.stage.size = naturalWidth > naturalHeight ? sides.reverse() : sides;
      this.stage.place();
    };
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
    const size = Math.round(Math.min(LARGEST, whole, this.stage.zoom > 1 ? whole : Math.max(640, fits)));
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
  }

  // What is zoomed into is painted as large as it can be.
  larger() {
    const whole = Math.min(LARGEST, Math.max(this.photo.width, this.photo.height));
    if (this.refined < whole && !this.drafting) this.refine();
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
}
