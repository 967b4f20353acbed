// Trainings: a painting becomes a style while one looks on.

import { address, get, send, upload } from "./api.js";
import { browse } from "./browser.js";
import { fillStyles, onJobs, waiting } from "./jobs.js";
import { $, element, toast, told } from "./page.js";

let painting = null; // the photograph that is kept of it
const curves = new Map(); // id → rows of step and total loss
const pictured = new Map(); // id → the step of which the picture is shown

export function startTrain() {
  $("choose-painting").onclick = () => $("painting-file").click();
  $("painting-file").onchange = () => {
    if ($("painting-file").files.length) takePainting([...$("painting-file").files]);
    $("painting-file").value = "";
  };
  $("browse-content").onclick = told(async () => {
    const path = await browse({ pick: "folder", title: "Photographs to learn on" });
    if (path) $("train-content").value = path;
  });
  const steps = () => { $("train-steps-shown").textContent = $("train-steps").value; };
  $("train-steps").oninput = steps;
  steps();
  $("train-form").onsubmit = told(async (event) => {
    event.preventDefault();
    await start();
  });
  onJobs((jobs) => draw(jobs.filter((each) => each.kind === "train").reverse()));
}

export const takePainting = told(async ([file]) => {
  $("painting-note").textContent = `Reading ${file.name}`;
  try {
    painting = await upload(address("/api/photos", { name: file.name || "pasted.png" }), file);
  } finally {
    $("painting-note").textContent = "Or drop one on this page. Brushwork that fills the picture is learned best.";
  }
  $("painting").src = address(`/api/photos/${painting.id}`, { size: 640 });
  $("painting").hidden = false;
  $("choose-painting").textContent = "Another painting";
  if (!$("train-name").value) $("train-name").value = painting.name.replace(/\.[^.]*$/, "").replace(/[^\w .+-]+/g, "_").slice(0, 60);
});

async function start() {
  if (!painting) {
    toast("Choose a painting first.");
    $("choose-painting").focus();
    return;
  }
  const entry = await send("/api/trainings", {
    photo: painting.id,
    name: $("train-name").value.trim(),
    content: $("train-content").value.trim() || undefined,
    options: { steps: Number($("train-steps").value) },
  });
  toast(`${entry.title} is queued.`, true);
}

function draw(trainings) {
  $("no-trainings").hidden = trainings.length > 0;
  const list = $("training-list");
  const ids = new Set(trainings.map((each) => each.id));
  for (const item of [...list.children]) if (!ids.has(item.dataset.id)) item.remove();
  for (const [place, entry] of trainings.entries()) {
    let item = [...list.children].find((each) => each.dataset.id === entry.id);
    if (!item) {
      item = made(entry);
      list.insertBefore(item, list.children[place] ?? null);
      recall(entry, item);
    }
    fill(item, entry);
  }
}

function made(entry) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "curve");
  svg.setAttribute("role", "img");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("viewBox", "0 0 1000 200");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  return element(
    "li",
    { class: "job", "data-id": entry.id },
    element("header", {}, element("h3", {}, entry.title), element("span", { class: "way" }), element("span", { class: "state" })),
    element("progress", { max: 1, "aria-label": `Progress of ${entry.title}` }),
    element("p", { class: "figures" }),
    element("p", { class: "wrong" }),
    element(
      "div",
      { class: "train-live" },
      element("img", { alt: `Painting, photograph, and what ${entry.title} makes of it so far`, hidden: true }),
      element("figure", {}, svg, element("figcaption", { class: "quiet" }, "Loss, step by step, on a logarithmic scale")),
    ),
    element("p", { class: "actions" }),
  );
}

async function recall(entry, item) {
  try {
    curves.set(entry.id, (await get(`/api/jobs/${entry.id}`)).history);
    drawCurve(item, curves.get(entry.id));
  } catch {
    // it was taken out of the list meanwhile
  }
}

function drawCurve(item, rows) {
  const figure = item.querySelector("figure");
  figure.hidden = rows.length < 2;
  if (figure.hidden) return;
  const losses = rows.map(([, loss]) => Math.log(Math.max(loss, 1e-12)));
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const x = (step) => ((step - rows[0][0]) / Math.max(1, rows.at(-1)[0] - rows[0][0])) * 980 + 10;
  const y = (loss) => 190 - ((loss - low) / Math.max(1e-9, high - low)) * 180;
  item.querySelector("path").setAttribute("d", rows.map(([step], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(losses[i]).toFixed(1)}`).join(""));
  item.querySelector("svg").setAttribute("aria-label", `Loss from ${rows[0][1].toPrecision(3)} to ${rows.at(-1)[1].toPrecision(3)}`);
}

function fill(item, entry) {
  const { told: so_far, state } = entry;
  item.dataset.state = state;
  item.querySelector(".state").textContent = { running: "learning", cancelled: "ended" }[state] ?? state;
  item.querySelector(".way").textContent = entry.shown.kept ? `kept as ${entry.shown.kept}` : entry.shown.content || "on the package’s photographs";
  const progress = item.querySelector("progress");
  if (so_far.total) progress.value = so_far.done / so_far.total;
  else if (state === "running") progress.removeAttribute("value");
  else progress.value = 0;
  const rows = curves.get(entry.id) ?? [];
  if (so_far.losses?.total && so_far.done > (rows.at(-1)?.[0] ?? 0)) {
    rows.push([so_far.done, so_far.losses.total]);
    curves.set(entry.id, rows);
  }
  drawCurve(item, rows);
  const figures = [];
  if (so_far.stage) figures.push(`${so_far.stage}…`);
  if (so_far.total) figures.push(`step ${so_far.done} of ${so_far.total}`);
  if (entry.waits_for) figures.push(waiting(entry));
  if (so_far.losses) figures.push(...["style", "content"].filter((name) => name in so_far.losses).map((name) => `${name} ${so_far.losses[name].toPrecision(3)}`));
  item.querySelector(".figures").replaceChildren(...figures.map((text) => element("span", {}, text)));
  item.querySelector(".wrong").textContent = entry.error;
  refreshPicture(item, entry);
  if (item.dataset.buttons !== `${state} ${entry.shown.kept ?? ""}`) {
    item.dataset.buttons = `${state} ${entry.shown.kept ?? ""}`;
    item.querySelector(".actions").replaceChildren(...buttons(entry));
  }
}

function refreshPicture(item, entry) {
  const step = entry.told.done ?? 0;
  const due = `${Math.floor(step / 5)} ${entry.state}`;
  if (!step || pictured.get(entry.id) === due) return;
  pictured.set(entry.id, due);
  const image = item.querySelector("img");
  const next = new Image();
  next.onload = () => {
    image.src = next.src;
    image.hidden = false;
  };
  next.src = address(`/api/trainings/${entry.id}/picture`, { step });
}

function buttons(entry) {
  const act = (label, change, further = {}) =>
    element("button", { type: "button", ...further, onclick: told(() => send(`/api/jobs/${entry.id}/${change}`)) }, label);
  const forget = element("button", { type: "button", class: "bare", onclick: told(() => send(`/api/jobs/${entry.id}`, undefined, "DELETE")) }, "Remove");
  if (entry.state === "waiting") return [act("Cancel", "cancel", { class: "danger" })];
  if (entry.state === "running") return [act("Stop here", "pause", { class: "primary" }), act("Cancel", "cancel", { class: "danger" })];
  const name = element("input", { type: "text", value: entry.shown.kept ?? entry.shown.name, "aria-label": "Name of the style", maxlength: 60 });
  const keep = element("button", { type: "button", class: "primary", onclick: told(() => keepAs(entry, name.value.trim())) }, "Keep as a style");
  const on = entry.state === "paused" ? [act("Go on", "resume")] : entry.state === "failed" || entry.state === "cancelled" ? [act("Try again", "resume")] : [];
  const kept = entry.state === "failed" || !entry.told.done || entry.shown.kept ? [] : [name, keep];
  return [...kept, ...on, forget];
}

async function keepAs(entry, name) {
  await send(`/api/trainings/${entry.id}/keep`, { name });
  await fillStyles();
  document.dispatchEvent(new CustomEvent("styles-changed"));
  toast(`${name} is among the styles now.`, true);
}
