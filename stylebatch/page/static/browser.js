// A dialog that shows what is under the root, and gives the path that a person picks.

import { address, get } from "./api.js";
import { $, element, toast } from "./page.js";

const ends = (path, name) => (path ? `${path}/${name}` : name);

// pick: "photo", "film", "folder" or "work": a folder or a film. Gives the path, or null.
export function browse({ pick, title, start = "" }) {
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
      const files = [...(pick === "photo" ? told.photos : []), ...(["film", "work"].includes(pick) ? told.films : [])];
      const row = (label, kind, action) =>
        element("li", {}, element("button", { type: "button", class: "bare entry", onclick: action }, element("span", { class: `kind ${kind}`, "aria-hidden": "true" }), label));
      const rows = [
        told.parent === null ? null : row("One folder up", "up", () => open(told.parent)),
        ...told.folders.map((name) => row(name, "folder", () => open(ends(told.path, name)))),
        ...files.map((name) => row(name, "file", () => finish(ends(told.path, name)))),
      ];
      const counted = [
        told.photos.length && `${told.photos.length} photographs`,
        told.films.length && `${told.films.length} films`,
        told.left_out && `${told.left_out} entries not shown`,
      ].filter(Boolean);
      const takes = ["folder", "work"].includes(pick);
      dialog.replaceChildren(
        element("header", {}, element("h2", { id: "browser-title" }, title), element("p", { class: "quiet path" }, ends(told.root, told.path))),
        element("ul", { class: "entries" }, rows, !rows.some(Boolean) && element("li", { class: "quiet" }, "Nothing here to choose.")),
        element(
          "footer",
          {},
          element("p", { class: "quiet" }, counted.join(", ") || "no photographs or films in this folder itself"),
          element("span", { class: "actions" },
            element("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
            takes && element("button", { type: "button", class: "primary", onclick: () => finish(told.path || ".") }, "Take this folder")),
        ),
      );
      dialog.querySelector(".entries button")?.focus();
    };
    dialog.replaceChildren(element("p", { class: "quiet" }, "Reading…"));
    dialog.showModal();
    open(start);
  });
}
