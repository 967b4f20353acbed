// Starts the page: its sections, and files that are dropped on it.

import { dropFiles, isFilm, startJobs } from "./jobs.js";
import { startLook, take } from "./look.js";
import { $, told } from "./page.js";
import { startTrain, takePainting } from "./train.js";

const SECTIONS = ["look", "jobs", "train"];

function section() {
  const wanted = location.hash.slice(1).split("/")[0];
  const current = SECTIONS.includes(wanted) ? wanted : "look";
  for (const name of SECTIONS) $(name).hidden = name !== current;
  for (const link of document.querySelectorAll("[data-section]")) {
    if (link.dataset.section === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  return current;
}

let within = 0;
addEventListener("dragenter", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  within += 1;
  $("dropping").hidden = false;
});
addEventListener("dragleave", () => {
  within = Math.max(0, within - 1);
  if (!within) $("dropping").hidden = true;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  within = 0;
  $("dropping").hidden = true;
  const files = [...(event.dataTransfer?.files ?? [])];
  if (!files.length) return;
  if (!$("train").hidden) takePainting(files);
  else if (!$("look").hidden && files.length === 1 && !isFilm(files[0])) take(files);
  else {
    location.hash = "jobs";
    dropFiles(files);
  }
});

addEventListener("hashchange", () => {
  section();
  $("toasts").replaceChildren(); // they were about what has been left
  scrollTo(0, 0); // not to the section, which would hide what is above it
});
section();
await told(startLook)();
await told(startJobs)();
startTrain();
document.documentElement.dataset.ready = "true";
