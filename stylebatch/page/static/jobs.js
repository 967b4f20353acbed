// Folders and films: what to paint, the jobs, and what they have made.

import { address, get, send, upload } from "./api.js";
import { browse } from "./browser.js";
import { optionField, setValue, valuesOf } from "./forms.js";
import { loadStyles } from "./look.js";
import { $, duration, element, mixed, percent, spoken, toast, told } from "./page.js";
import { openResults, refreshResults } from "./results.js";

const STATES = { waiting: "waiting", running: "running", paused: "paused", done: "done", failed: "failed", cancelled: "ended" };
const FILM = /\.(3gp|asf|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|mxf|ogv|ts|vob|webm|wmv)$/i;
const OWN = ["style", "strength"]; // which have a place of their own in the form

let options = { folder: [], video: [] };
let dropped = null; // what was dropped: {upload, names, kind}
let look = null; // what was chosen by eye: style, strength and more
const jobs = new Map(); // by their ids
const watchers = new Set();

export const onJobs = (watch) => watchers.add(watch);

export async function startJobs() {
  for (const kind of ["folder", "video"]) {
    options[kind] = (await get(`/api/options/${kind}`)).options.filter((each) => !OWN.includes(each.name));
    $(`options-${kind}`).replaceChildren(...options[kind].map((each) => optionField(each, kind)));
  }
  await fillStyles();
  for (const button of document.querySelectorAll("[data-kind]")) button.onclick = () => showKind(button.dataset.kind);
  $("job-strength").oninput = showStrength;
  showStrength();
  $("browse-source").onclick = told(async () => {
    const path = await browse({ pick: "work", title: "What is to be painted", kind: showKind });
    if (path) setSource(path);
  });
  $("browse-output").onclick = told(async () => {
    const path = await browse({ pick: "folder", title: "Where the results go" });
    if (path) $("output").value = path;
  });
  $("source").oninput = () => setSource($("source").value, false);
  $("choose-files").onclick = () => $("files").click();
  $("files").onchange = () => dropFiles([...$("files").files]);
  $("job-form").onsubmit = told(async (event) => {
    event.preventDefault();
    await start({});
  });
  $("preview").onclick = told(() => start({ preview: "10" }));
  $("job-style").onchange = () => useLook(null);
  document.addEventListener("use-look", (event) => useLook(event.detail));
  $("running").onclick = () => {
    setTimeout(() => document.querySelector(".job[data-state=running]")?.scrollIntoView({ behavior: "smooth", block: "center" }), 50);
  };
  listen();
}

export async function fillStyles() {
  const chosen = $("job-style").value;
  $("job-style").replaceChildren(...(await loadStyles()).map((style) => element("option", { value: style.name }, `${spoken(style.name)} – ${style.artwork}`)));
  $("job-style").value = chosen || "hosi";
}

function showStrength() {
  $("job-strength-shown").textContent = percent(Number($("job-strength").value) / 100);
}

function showKind(kind) {
  for (const each of ["folder", "video"]) $(`options-${each}`).hidden = each !== kind;
  for (const button of document.querySelectorAll("[data-kind]")) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  $("preview").hidden = kind !== "video";
}

export const isFilm = (file) => FILM.test(file.name);
const NUMBERED = /(%\d*d|#+)[^/]*\.\w+$/; // shot/%05d.png
const shownKind = () => document.querySelector("[data-kind][aria-pressed=true]").dataset.kind;

function setSource(path, write = true) {
  if (write) $("source").value = path;
  dropped = null;
  $("dropped").hidden = true;
  if (FILM.test(path) || NUMBERED.test(path)) showKind("video");
}

function useLook(chosen) {
  look = chosen;
  $("job-look").hidden = !look;
  $("job-style").hidden = Boolean(look);
  for (const kind of ["folder", "video"]) {
    setValue($("job-form"), kind, "preserve_color", look?.preserve_color);
    setValue($("job-form"), kind, "strokes", look?.strokes);
  }
  if (!look) return;
  $("job-strength").value = look.strength * 100;
  showStrength();
  $("job-look").replaceChildren(element("span", {}, mixed(look.style)), element("button", { type: "button", class: "link", onclick: () => useLook(null) }, "choose another"));
}

// Photographs, or a film, that were dropped: they are sent, and painted into the root.
export const dropFiles = told(async (files) => {
  if (!files.length) return;
  const films = files.filter(isFilm);
  const taken = films.length ? films : files;
  $("dropped").hidden = false;
  $("source").value = "";
  dropped = null;
  $("start").disabled = true;
  let id;
  const refused = [];
  try {
    for (const [number, file] of taken.entries()) {
      const tell = (share) => {
        $("dropped").textContent = `Taking ${file.name} (${number + 1} of ${taken.length}): ${percent(share)}`;
      };
      tell(0);
      try {
        id = (await upload(address("/api/uploads", { name: file.name, upload: id }), file, tell)).upload;
      } catch (error) {
        if (error.status !== 415) throw error;
        refused.push(error);
      }
    }
    if (!id) throw refused[0];
    const count = taken.length - refused.length;
    if (refused.length) toast(`${refused[0].message}${refused.length > 1 ? `, and ${refused.length - 1} more` : ""}; left out`);
    dropped = { upload: id };
    $("dropped").textContent = taken.length === 1 ? taken[0].name : `${count} dropped ${count === 1 ? "file" : "files"}`;
    if (!$("output").value && !(films.length === 1)) $("output").value = "painted";
    showKind(films.length ? "video" : "folder");
  } catch (error) {
    $("dropped").hidden = true;
    throw error;
  } finally {
    $("start").disabled = false;
  }
});

async function start(further) {
  const source = $("source").value.trim();
  if (!dropped && !source) {
    $("source").focus();
    toast("Choose a folder or a film first.");
    return;
  }
  const kind = shownKind();
  const asked = {
    kind,
    ...(dropped ? { upload: dropped.upload } : { source }),
    output: further.preview ? "" : $("output").value.trim(),
    style: look?.style ?? $("job-style").value,
    strength: Number($("job-strength").value) / 100,
    ...valuesOf($("job-form"), options[kind], kind),
    ...further,
  };
  $("start").disabled = true;
  try {
    const { title, jobs: several } = await send("/api/jobs", asked);
    toast(several ? `${several.length} films are queued.` : `${title} is queued.`, true);
  } finally {
    $("start").disabled = false;
  }
}

// --- the jobs as they change ---

function listen() {
  const events = new EventSource("/api/events");
  events.onmessage = (event) => {
    const news = JSON.parse(event.data);
    const wanted = new Set(news.ids);
    for (const id of jobs.keys()) if (!wanted.has(id)) jobs.delete(id);
    for (const each of news.jobs) jobs.set(each.id, each);
    draw(news.jobs);
    for (const watch of watchers) watch([...jobs.values()], news.jobs);
  };
  events.onerror = () => {
    $("running").hidden = false;
    $("running").textContent = "No connection";
  };
}

function draw(changed) {
  const shown = [...jobs.values()].filter((each) => each.kind !== "train").reverse();
  $("no-jobs").hidden = shown.length > 0;
  const list = $("job-list");
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const [id, item] of known) if (!jobs.has(id)) item.remove();
  const fresh = new Set(changed.map((each) => each.id));
  for (const [place, entry] of shown.entries()) {
    let item = known.get(entry.id);
    if (!item) {
      item = element("li", { class: "job", "data-id": entry.id });
      list.insertBefore(item, list.children[place] ?? null);
      fill(item, entry);
    } else if (fresh.has(entry.id)) fill(item, entry);
  }
  const running = [...jobs.values()].find((each) => each.state === "running");
  $("running").hidden = !running;
  if (running) {
    const { share } = progressOf(running);
    $("running").textContent = `${running.title}: ${share === null ? "starting" : percent(share)}`;
    $("running").href = running.kind === "train" ? "#train" : "#jobs";
  }
  refreshResults(changed);
}

// Small pictures of what a folder's job has just finished.
const shown_at = new Map();
async function latest(item, entry) {
  const { id, kind, told: so_far } = entry;
  const known = shown_at.get(id) ?? { done: 0, at: 0, names: [] };
  shown_at.set(id, known);
  const place = () => {
    if (!known.names.length) return;
    const pictures = known.names.map((name) => element("img", { src: address(`/api/jobs/${id}/result`, { name, size: 160 }), alt: "", loading: "lazy" }));
    item.querySelector(".actions").before(element("div", { class: "latest", "aria-hidden": "true" }, pictures));
  };
  place();
  if (kind !== "folder" || !so_far.done || so_far.done === known.done || (entry.state === "running" && performance.now() < known.at + 3000)) return;
  known.done = so_far.done;
  known.at = performance.now();
  const { results } = await get(address(`/api/jobs/${id}/results`, { limit: 12 })).catch(() => ({ results: [] }));
  known.names = results.map((each) => each.name);
  item.querySelector(".latest")?.remove();
  place();
}

// Its process is held for something more urgent; it goes on by itself.
export const waiting = ({ waits_for }) => `waits while ${waits_for} is painted`;

export function progressOf({ told: so_far, kind, state }) {
  const total = so_far.total ?? 0;
  const painted = (so_far.skipped ?? 0) + (so_far.done ?? 0);
  // What failed is behind it, too, but not done.
  const finished = state === "running" ? painted + (so_far.failures ?? 0) : painted;
  const rate = so_far.done / Math.max(so_far.seconds ?? 0, 1e-9);
  const left = so_far.done ? Math.max(0, total - finished) / rate : NaN;
  return { total, finished, rate, left, share: total ? Math.min(1, finished / total) : null, unit: kind === "video" ? "frames" : "photographs" };
}

function fill(item, entry) {
  const { total, finished, rate, left, share, unit } = progressOf(entry);
  const { told: so_far, state } = entry;
  const focused = item.contains(document.activeElement) ? document.activeElement.textContent : null;
  const open = item.querySelector("details")?.open;
  item.dataset.state = state;
  const act = (label, change, extra = {}) =>
    element("button", { type: "button", ...extra, onclick: told(() => send(`/api/jobs/${entry.id}/${change}`)) }, label);
  const forget = element("button", { type: "button", class: "bare", onclick: told(() => send(`/api/jobs/${entry.id}`, undefined, "DELETE")) }, "Remove from the list");
  const buttons = {
    waiting: [act("Pause", "pause"), act("Cancel", "cancel", { class: "danger" })],
    running: [act("Pause", "pause"), act("Cancel", "cancel", { class: "danger" })],
    paused: [act("Go on", "resume", { class: "primary" }), act("Cancel", "cancel", { class: "danger" })],
    failed: [act("Try again", "resume", { class: "primary" }), forget],
    cancelled: [act("Go on after all", "resume"), forget],
    done: [forget],
  }[state];
  const figures = [];
  if (total) figures.push(`${finished} of ${total} ${unit}`);
  if (so_far.done && so_far.seconds) figures.push(rate >= 1 ? `${rate.toFixed(1)} a second` : `${(1 / rate).toFixed(1)} s each`);
  if (entry.waits_for) figures.push(waiting(entry));
  else if (state === "running" && Number.isFinite(left) && left > 0.5) figures.push(`${duration(left)} left`);
  if (so_far.skipped) figures.push(`${so_far.skipped} were done before`);
  if (so_far.unchanged) figures.push("was done before");
  const failures = so_far.failed ?? [];
  const many = so_far.failures > failures.length ? [element("li", {}, `and ${so_far.failures - failures.length} more`)] : [];
  item.replaceChildren(
    element(
      "header",
      {},
      element("h3", {}, entry.title),
      element("span", { class: "way" }, `${entry.shown.source} → ${entry.shown.output}, ${mixed(entry.shown.style ?? "")}`),
      element("span", { class: "state" }, STATES[state]),
    ),
    ...(["waiting", "cancelled", "failed"].includes(state) && share === null
      ? []
      : [element("progress", { max: 1, value: share ?? (state === "done" ? 1 : undefined), "aria-label": `Progress of ${entry.title}` })]),
    ...(figures.length ? [element("p", { class: "figures" }, figures.map((text) => element("span", {}, text)))] : []),
    ...(entry.error ? [element("p", { class: "wrong" }, entry.error)] : []),
    ...(so_far.warnings ?? []).map((text) => element("p", { class: "quiet" }, text)),
    ...(failures.length
      ? [
          element(
            "details",
            { open },
            element("summary", {}, `${so_far.failures} failed`),
            element("ul", { class: "failures" }, failures.map(({ path, reason }) => element("li", {}, `${path}: ${reason}`)), many),
          ),
        ]
      : []),
    element(
      "p",
      { class: "actions" },
      (so_far.done || so_far.skipped || so_far.unchanged || state === "done") &&
        element("button", { type: "button", onclick: told(() => openResults(entry)) }, state === "running" ? "What is done" : "Results"),
      buttons,
    ),
  );
  latest(item, entry);
  if (focused) [...item.querySelectorAll("button, summary")].find((each) => each.textContent === focused)?.focus();
}
