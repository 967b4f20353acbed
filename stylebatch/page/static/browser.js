// A dialog that shows what is under the root, and gives the path that a person picks.

import { address, get } from "./api.js";
import { $, element, toast } from "./page.js";

const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const ends = (path, name) => (path ? `${path}/${name}` : name);

// pick: "photo", "folder" or "work": a folder or a film. Gives the path, or null. kind: told which of both a
// folder has, if it has one alone.
export function browse({ pick, title, start = "", kind = () => {} }) {
  const dialog = $("browser");
  return new Promise((resolve) => {
    let chosen = null;
    const finish = (path) => {
      chosen = path;
      dialog.close();
    };
    dialog.onclose = () => resolve(chosen);
    const open = async (path) => {
      let told;
      try {
        told = await get(address("/api/browse", { path }));
      } catch (error) {
        toast(error.message);
        if (path) await open("");
        else dialog.close();
        return;
      }
      const files = [...(pick === "photo" ? told.photos : []), ...(pick === "work" ? told.films : [])];
      const row = (label, kind, action) =>
        element("li", {}, element("button", { type: "button", class: "bare entry", onclick: action }, element("span", { class: `kind ${kind}`, "aria-hidden": "true" }), label));
      const rows = [
        told.parent === null ? null : row("One folder up", "up", () => open(told.parent)),
        ...told.folders.map((name) => row(name, "folder", () => open(ends(told.path, name)))),
        ...files.map((name) => row(name, "file", () => finish(ends(told.path, name)))),
      ];
      const held = [
        told.photos.length && counted(told.photos.length, "photograph"),
        told.films.length && counted(told.films.length, "film"),
        told.left_out && `${told.left_out} entries not shown`,
      ].filter(Boolean);
      const takes = ["folder", "work"].includes(pick);
      const take = () => {
        if (Boolean(told.films.length) !== Boolean(told.photos.length)) kind(told.films.length ? "video" : "folder");
        finish(told.path || ".");
      };
      dialog.replaceChildren(
        element("header", {}, element("h2", { id: "browser-title" }, title), element("p", { class: "quiet path" }, ends(told.root, told.path))),
        element("ul", { class: "entries" }, rows, !rows.some(Boolean) && element("li", { class: "quiet" }, "Nothing here to choose.")),
        element(
          "footer",
          {},
          element("p", { class: "quiet" }, held.join(", ") || "no photographs or films in this folder itself"),
          element("span", { class: "actions" },
            element("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
            takes && element("button", { type: "button", class: "primary", onclick: take }, "Take this folder")),
        ),
      );
      dialog.querySelector(".entries button")?.focus();
    };
    dialog.replaceChildren(element("p", { class: "quiet" }, "Reading…"));
    dialog.showModal();
    open(start);
  });
}
