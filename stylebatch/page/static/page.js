// What all sections of the page use: elements, messages, saving a file.

export const $ = (id) => document.getElementById(id);

// Who asks for previews: this tab. (`crypto.randomUUID` is missing where the address is another machine's.)
export const CLIENT = [...crypto.getRandomValues(new Uint32Array(4))].join("-");

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function toast(message, fine = false) {
  for (const last of [...$("toasts").children]) if (last.firstChild.textContent === message) last.remove();
  const shown = element("div", { class: fine ? "toast fine" : "toast" }, element("span", {}, message));
  shown.append(element("button", { type: "button", "aria-label": "Close", onclick: () => shown.remove() }, "×"));
  $("toasts").append(shown);
  while ($("toasts").children.length > 4) $("toasts").firstChild.remove();
  setTimeout(() => shown.remove(), fine ? 5000 : 20_000);
}

// Runs what a person asked for; what goes wrong is told.
export const told = (action) => async (...given) => {
  try {
    return await action(...given);
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message);
    return undefined;
  }
};

export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Shows a picture without a flicker, and lets go of the last one.
export async function show(image, blob) {
  const url = URL.createObjectURL(blob);
  const ready = new Image();
  ready.src = url;
  await ready.decode().catch(() => {});
  const last = image.src;
  image.src = url;
  if (last.startsWith("blob:")) URL.revokeObjectURL(last);
}

// The number and its sign stay on one line.
export const percent = (share) => `${Math.round(share * 100)}\u00a0%`;

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

// A mix as people read it: "hosi:0.6,wave:0.4" is hosi 60 % + wave 40 %.
export const mixed = (style) =>
  style
    .split(",")
    .map((part) => part.split(":"))
    .map(([name, share]) => (share ? `${spoken(name)} ${percent(Number(share))}` : spoken(name)))
    .join(" + ");

// A name that a person typed or a file has, as it is called on the page: la_muse is la muse.
export const spoken = (name) => name.replaceAll("_", " ");

// Whether a painting's artist or year is one.
export const known = (text) => Boolean(text) && !/\bunknown\b/.test(text);
