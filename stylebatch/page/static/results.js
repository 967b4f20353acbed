// What a job has made: a gallery with before and after, and films with their originals in step.

import { address, get } from "./api.js";
import { $, duration, element, told } from "./page.js";
import { Stage } from "./stage.js";

const PAGE = 60;
const LARGEST = 3200;
const clock = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds));
let shown = null; // {entry, results, total}

const file = (entry, name, further = {}) => address(`/api/jobs/${entry.id}/result`, { name, ...further });

export async function openResults(entry) {
  shown = { entry, results: [], total: 0 };
  $("results").hidden = false;
  await more();
  $("results").scrollIntoView({ behavior: "smooth", block: "start" });
  $("results").querySelector("button, a")?.focus({ preventScroll: true });
}

// A job that goes on has more to show, at most every two seconds.
let due = 0;
export function refreshResults(changed) {
  const entry = shown && changed.find((each) => each.id === shown.entry.id);
  if (!entry || (entry.state === "running" && performance.now() < due)) return;
  due = performance.now() + 2000;
  shown.entry = entry;
  told(() => more([]))();
}

async function more(results = shown.results) {
  const { entry } = shown;
  const answer = await get(address(`/api/jobs/${entry.id}/results`, { offset: results.length, limit: PAGE }));
  if (shown?.entry.id !== entry.id) return;
  shown.results = [...results, ...answer.results];
  shown.total = answer.total;
  draw();
}

function draw() {
  const { entry, results, total } = shown;
  const focused = [...$("results").querySelectorAll("button, a")].indexOf(document.activeElement);
  const close = element("button", { type: "button", "aria-label": "Close the results", onclick: () => { shown = null; $("results").hidden = true; } }, "×");
  const heading = element("h2", { id: "results-title" }, `${entry.title}: ${total} ${total === 1 ? "result" : "results"}`);
  const all = total > 1 && element("a", { class: "button", href: `/api/jobs/${entry.id}/zip` }, "All as a ZIP");
  const tiles = results.map((result) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: result.film ? "tile film" : "tile", title: result.name, onclick: () => open(entry, result) },
        result.film ? element("span", { class: "sign", "aria-hidden": "true" }, "▶") : element("img", { src: file(entry, result.name, { size: 320 }), alt: "", loading: "lazy" }),
        element("span", { class: "name" }, result.name),
      ),
    ),
  );
  $("results").replaceChildren(
    element("header", {}, heading, all, close),
    total ? element("ul", { class: "tiles" }, tiles) : element("p", { class: "quiet" }, "Nothing is finished yet."),
    results.length < total ? element("button", { type: "button", onclick: told(() => more()) }, `${total - results.length} more`) : "",
  );
  if (focused >= 0) $("results").querySelectorAll("button, a")[focused]?.focus({ preventScroll: true });
}

function open(entry, result) {
  const stage = result.film ? film(entry, result) : picture(entry, result);
  const place = shown.results.findIndex((each) => each.name === result.name);
  const turn = (label, other) => element("button", { type: "button", disabled: !other, onclick: () => open(entry, other) }, label);
  const [before, next] = [shown.results[place - 1], shown.results[place + 1]];
  const focused = document.activeElement?.closest("#compare") && document.activeElement.textContent;
  const dialog = $("compare");
  dialog.dispatchEvent(new Event("leave"));
  dialog.replaceChildren(
    element("header", {}, element("h2", { id: "compare-title" }, result.name), element("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
    stage.element,
    element(
      "footer",
      {},
      stage.player,
      element("div", { class: "tools" }, stage.tools()),
      element(
        "span",
        { class: "actions" },
        shown.results.length > 1 && [turn("← Back", before), turn("Next →", next)],
        element("a", { class: "button", href: file(entry, result.name), target: "_blank", rel: "noopener" }, "Open"),
        element("a", { class: "button primary", href: file(entry, result.name, { download: true }) }, "Save"),
      ),
    ),
  );
  dialog.onkeydown = (event) => {
    if (event.target.matches("input")) return;
    if (event.key === "ArrowLeft" && before) open(entry, before);
    if (event.key === "ArrowRight" && next) open(entry, next);
  };
  const leave = () => {
    stage.watch.disconnect();
    stage.leave?.();
  };
  dialog.addEventListener("leave", leave, { once: true });
  dialog.onclose = () => dialog.dispatchEvent(new Event("leave"));
  if (!dialog.open) dialog.showModal();
  const first = result.film ? ".player button" : ".stage";
  ([...dialog.querySelectorAll("button:not(:disabled)")].find((each) => each.textContent === focused) ?? dialog.querySelector(first)).focus();
}

function picture(entry, result) {
  const fits = Math.min(LARGEST, Math.round(Math.max(innerWidth, innerHeight) * devicePixelRatio));
  const source = (further, size) => file(entry, result.name, { size, ...further });
  const image = (label, further) => element("img", { src: source(further, fits), alt: `${label} of ${result.name}`, draggable: "false" });
  const [before, after] = [result.original ? image("Photograph", { original: true }) : null, image("Painting", {})];
  const larger = () => {
    if (before) before.src = source({ original: true }, LARGEST);
    after.src = source({}, LARGEST);
  };
  return new Stage(before, after, { label: result.name, larger: fits < LARGEST ? larger : undefined });
}

// The painted film leads; the original follows.
function film(entry, result) {
  const part = entry.job?.options ?? {};
  const video = (further) => element("video", { src: file(entry, result.name, further), preload: "auto", playsinline: true, tabindex: -1 });
  const [painted, original] = [video({}), result.original ? video({ original: true }) : null];
  if (original) original.muted = true;
  const failed = element("p", { class: "quiet", role: "status" });
  const seek = element("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "Time" });
  const time = element("output", { class: "quiet" }, "0 s");
  const play = element("button", { type: "button", class: "primary" }, "Play");
  // Of a part, the painted film begins at 0; its place in the original is known once both lengths are.
  const offset = () => {
    if (part.preview && original?.duration) return Math.max(0, (original.duration - painted.duration) / 2);
    return part.start ?? 0;
  };
  const follow = () => {
    if (!original?.duration) return;
    const wanted = painted.currentTime + offset();
    if (Math.abs(original.currentTime - wanted) > (painted.paused ? 0.01 : 0.12)) original.currentTime = wanted;
  };
  play.onclick = () => {
    if (painted.paused) {
      follow();
      Promise.all([painted.play(), original?.play().catch(() => {})]).catch((error) => { failed.textContent = error.message; });
    } else {
      painted.pause();
      original?.pause();
    }
  };
  painted.onplay = () => { play.textContent = "Pause"; };
  painted.onpause = () => { play.textContent = "Play"; original?.pause(); };
  painted.ontimeupdate = () => {
    seek.value = painted.currentTime / (painted.duration || 1);
    seek.setAttribute("aria-valuetext", duration(painted.currentTime));
    time.textContent = `${clock(painted.currentTime)} of ${clock(painted.duration)}`;
    follow();
  };
  if (original) original.addEventListener("loadedmetadata", follow);
  seek.oninput = () => {
    if (painted.duration) painted.currentTime = Number(seek.value) * painted.duration;
    follow();
  };
  painted.addEventListener("loadedmetadata", () => {
    seek.oninput(); // it may have been moved before the film's length was known
    painted.ontimeupdate();
  });
  const cannot = () => { failed.textContent = "This browser does not play films of this kind; save it, and play it elsewhere."; };
  painted.onerror = cannot;
  if (original) original.onerror = cannot;
  const stage = new Stage(original, painted, { label: result.name, words: ["film", "painting"] });
  stage.player = element("div", { class: "player" }, play, seek, time, failed);
  stage.leave = () => {
    for (const each of [painted, original]) {
      each?.pause();
      if (each) each.onerror = null;
      each?.removeAttribute("src");
    }
  };
  return stage;
}
