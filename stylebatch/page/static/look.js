// A photograph in every style: how it comes in, and the gallery.

import { address, ask, get, send, upload } from "./api.js";
import { browse } from "./browser.js";
import { $, CLIENT, element, known, percent, show, spoken, toast, told } from "./page.js";
import { Viewer } from "./viewer.js";

// The long sides at which every card is painted, one after the other.
const ROUNDS = [112, 288, 640];

let styles = [];
let photo = null;
let painting = null; // ends the work for the gallery
const viewer = new Viewer(() => back());

export const currentPhoto = () => photo;

export async function loadStyles() {
  styles = (await get("/api/styles")).styles;
  return styles;
}

export async function startLook() {
  $("choose").onclick = () => $("file").click();
  $("file").onchange = () => {
    if ($("file").files.length) take([...$("file").files]);
    $("file").value = "";
  };
  $("choose-path").onclick = told(async () => {
    const path = await browse({ pick: "photo", title: "Choose a photograph" });
    if (path) await open(() => send(address("/api/photos", { path })));
  });
  $("other").onclick = () => intake();
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && !$("look").hidden) take(files);
  });
  const { samples } = await get("/api/samples");
  for (const name of samples) {
    const picture = element("img", { src: `/api/samples/${name}`, alt: "", loading: "lazy" });
    const choose = told(() => open(() => send(address("/api/photos", { sample: name }))));
    $("samples").append(
      element("li", {}, element("button", { type: "button", "aria-label": `Sample: ${name}`, title: name, onclick: choose }, picture)),
    );
  }
  await loadStyles();
  document.addEventListener("styles-changed", () => {
    $("cards").replaceChildren(...styles.map((style) => (photo ? card(style) : "")));
    if (photo && !$("gallery").hidden) paintCards();
  });
  const last = sessionStorage.getItem("photo");
  if (last) {
    try {
      photo = JSON.parse(last);
      await ask(address(`/api/photos/${photo.id}`, { size: 64 }));
      gallery();
    } catch {
      sessionStorage.removeItem("photo");
    }
  }
}

export const take = told(async (files) => {
  const file = files[0];
  await open(() =>
    upload(address("/api/photos", { name: file.name || "pasted.png" }), file, (share) => {
      $("drop").querySelector("p.quiet").textContent = share < 1 ? `Reading ${file.name}: ${percent(share)}` : `Opening ${file.name}`;
    }),
  );
});

async function open(adding) {
  intake();
  $("drop").classList.add("busy");
  $("drop").setAttribute("aria-busy", "true");
  try {
    photo = await adding();
    sessionStorage.setItem("photo", JSON.stringify(photo));
    gallery();
  } finally {
    $("drop").classList.remove("busy");
    $("drop").removeAttribute("aria-busy");
    $("drop").querySelector("p.quiet").textContent = "Nothing leaves this machine.";
  }
}

function only(name) {
  for (const each of ["intake", "gallery", "viewer"]) $(each).hidden = each !== name;
}

function intake() {
  painting?.abort();
  viewer.close();
  only("intake");
}

function back() {
  viewer.close();
  gallery($("cards").children.length !== styles.length);
}

export function gallery(anew = true) {
  only("gallery");
  $("photo-name").textContent = photo.name;
  $("chosen").src = address(`/api/photos/${photo.id}`, { size: 160 });
  if (anew) {
    $("cards").replaceChildren(...styles.map(card));
    window.scrollTo(0, 0);
  }
  paintCards();
}

function card(style) {
  const shape = photo.width / photo.height;
  const picture = element("img", { alt: "", hidden: true });
  const frame = element("div", { class: "picture waiting" }, picture);
  const about = [style.artist, style.year].filter(known).join(", ");
  const button = element(
    "button",
    { type: "button", class: "card", "data-style": style.name, "aria-label": `${spoken(style.name)}, ${style.artwork}, ${about}` },
    frame,
    element("span", { class: "words" }, element("strong", {}, spoken(style.name)), element("span", {}, style.artwork), element("span", {}, about)),
  );
  frame.style.setProperty("--shape", String(Math.min(2, Math.max(0.75, shape))));
  button.onclick = () => pick(style);
  return element("li", {}, button);
}

async function paintCards() {
  painting?.abort();
  painting = new AbortController();
  const { signal } = painting;
  const cards = [...$("cards").querySelectorAll(".card")];
  const whole = Math.max(photo.width, photo.height);
  for (const [round, wanted] of ROUNDS.entries()) {
    const size = Math.min(wanted, whole);
    let done = 0;
    for (const each of cards) {
      if (Number(each.dataset.painted ?? 0) < size) {
        const picture = each.querySelector("img");
        const frame = picture.parentElement;
        try {
          const query = { photo: photo.id, style: each.dataset.style, size, client: CLIENT, view: `card ${each.dataset.style}` };
          await show(picture, await (await ask(address("/api/preview", query), { signal })).blob());
          picture.hidden = false;
          picture.classList.toggle("rough", round === 0 && size < whole);
          each.dataset.painted = size;
          frame.classList.remove("waiting");
          frame.querySelector(".failed")?.remove();
        } catch (error) {
          if (error.name === "AbortError") return;
          if (!error.status) {
            toast(error.message);
            return;
          }
          frame.classList.remove("waiting");
          frame.querySelector(".failed")?.remove();
          frame.append(element("span", { class: "failed" }, error.message));
          each.dataset.painted = whole;
        }
      }
      done += 1;
      const what = ["First look", "Sharpening", "Finishing"][round];
      $("gallery-status").textContent = `${what}: ${done} of ${cards.length}`;
    }
    if (size === whole) break;
  }
  $("gallery-status").textContent = `${cards.length} styles; choose one to compare, mix and save`;
}

function pick(style) {
  painting?.abort();
  only("viewer");
  window.scrollTo(0, 0);
  const thumbs = Object.fromEntries(
    [...$("cards").querySelectorAll(".card")].map((each) => [each.dataset.style, each.querySelector("img").src]),
  );
  viewer.open(photo, styles, style, thumbs);
}
