// What a job has made: a gallery with before and after, and films with their originals in step.

import { address, get } from "./api.js";
import { $, duration, element, told } from "./page.js";

const PAGE = 60;
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
  shown.results = [];
  told(more)();
}

async function more() {
  const { entry, results } = shown;
  const answer = await get(address(`/api/jobs/${entry.id}/results`, { offset: results.length, limit: PAGE }));
  if (shown?.entry.id !== entry.id) return;
  shown.results = [...results, ...answer.results];
  shown.total = answer.total;
  draw();
}

function draw() {
  const { entry, results, total } = shown;
  const close = element("button", { type: "button", "aria-label": "Close the results", onclick: () => { shown = null; $("results").hidden = true; } }, "×");
  const heading = element("h2", { id: "results-title" }, `${entry.title}: ${total} ${total === 1 ? "result" : "results"}`);
  const all = total > 0 && element("a", { class: "button", href: `/api/jobs/${entry.id}/zip` }, "All as a ZIP");
  const tiles = results.map((result) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "tile", onclick: () => (result.film ? playFilm(entry, result) : compare(entry, results.indexOf(result))) },
        result.film ? null : element("img", { src: file(entry, result.name, { size: 320 }), alt: "", loading: "lazy" }),
        element("span", {}, result.film ? `▶ ${result.name}` : result.name),
      ),
    ),
  );
  $("results").replaceChildren(
    element("header", {}, heading, all, close),
    total ? element("ul", { class: "tiles" }, tiles) : element("p", { class: "quiet" }, "Nothing is finished yet."),
    results.length < total ? element("button", { type: "button", onclick: told(more) }, `${total - results.length} more`) : "",
  );
}

function dialogOf(title, body, footer) {
  const dialog = $("compare");
  dialog.replaceChildren(
    element("header", {}, element("h2", { id: "compare-title" }, title), element("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
    body,
    footer,
  );
  if (!dialog.open) dialog.showModal();
  return dialog;
}

function compare(entry, index) {
  const { results } = shown;
  const result = results[index];
  const size = Math.min(3200, Math.round(Math.max(innerWidth, innerHeight) * devicePixelRatio));
  const figure = (label, further) =>
    element("figure", {}, element("img", { src: file(entry, result.name, { size, ...further }), alt: `${label} of ${result.name}` }), element("figcaption", {}, label));
  const body = element("div", { class: result.original ? "body" : "body single" }, result.original && figure("photograph", { original: true }), figure("painting", {}));
  const to = (place) => element("button", { type: "button", disabled: !results[place], onclick: () => compare(entry, place) }, place < index ? "← Before" : "Next →");
  const footer = element(
    "footer",
    {},
    element("span", { class: "actions" }, to(index - 1), to(index + 1)),
    element("a", { class: "button primary", href: file(entry, result.name, { download: true }) }, "Save"),
  );
  const dialog = dialogOf(result.name, body, footer);
  dialog.onclose = () => {};
  dialog.onkeydown = (event) => {
    if (event.key === "ArrowLeft" && results[index - 1]) compare(entry, index - 1);
    if (event.key === "ArrowRight" && results[index + 1]) compare(entry, index + 1);
  };
}

// The painted film leads; the original follows.
function playFilm(entry, result) {
  const part = entry.job?.options ?? {};
  const film = (further) => element("video", { src: file(entry, result.name, further), preload: "auto", playsinline: true, tabindex: -1 });
  const [painted, original] = [film({}), result.original ? film({ original: true }) : null];
  if (original) original.muted = true;
  const failed = element("p", { class: "quiet" });
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
    time.textContent = `${duration(painted.currentTime)} of ${duration(painted.duration)}`;
    follow();
  };
  if (original) original.onloadedmetadata = follow;
  seek.oninput = () => {
    if (painted.duration) painted.currentTime = Number(seek.value) * painted.duration;
    follow();
  };
  painted.onloadedmetadata = () => {
    seek.oninput(); // it may have been moved before the film's length was known
    painted.ontimeupdate();
  };
  const cannot = () => { failed.textContent = "This browser does not play films of this kind; save it, and play it elsewhere."; };
  painted.onerror = cannot;
  if (original) original.onerror = cannot;
  const figure = (label, video) => element("figure", {}, video, element("figcaption", {}, label));
  const body = element("div", { class: original ? "body" : "body single" }, original && figure("film", original), figure("painting", painted));
  const footer = element(
    "footer",
    {},
    element("span", { class: "player" }, play, seek, time),
    failed,
    element("a", { class: "button", href: file(entry, result.name, { download: true }) }, "Save"),
  );
  const dialog = dialogOf(result.name, body, footer);
  dialog.onkeydown = null;
  dialog.onclose = () => {
    painted.pause();
    original?.pause();
    for (const video of [painted, original]) video?.removeAttribute("src");
  };
  play.focus();
}
