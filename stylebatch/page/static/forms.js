// Forms of options, made of their declarations: the commands' own.

import { element } from "./page.js";

const readable = (name) => {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
};

function range(option) {
  const parts = [];
  if (option.least !== null && option.most !== null) parts.push(`${option.least} to ${option.most}`);
  else if (option.least !== null) parts.push(`at least ${option.least}`);
  else if (option.above !== null) parts.push(`above ${option.above}`);
  return parts.join(" ");
}

export function optionField(option, prefix) {
  const id = `${prefix}-${option.name}`;
  const shared = { id, name: option.name, "aria-describedby": `${id}-help` };
  const flag = option.type === "boolean";
  let input;
  if (flag) {
    input = element("input", { ...shared, type: "checkbox", class: "switch", checked: option.default === true });
  } else if (option.choices.length) {
    const unset = option.default === null ? element("option", { value: "" }, option.unset || "default") : null;
    input = element(
      "select",
      shared,
      unset,
      option.choices.map((choice) => element("option", { value: choice, selected: choice === option.default }, choice)),
    );
  } else {
    const placeholder = option.default === null ? option.unset : String(option.default);
    input = element("input", { ...shared, type: "text", inputmode: option.type === "string" ? "text" : "decimal", placeholder, autocomplete: "off" });
  }
  const limits = flag ? "" : range(option);
  const help = [option.help, limits && `(${limits}${option.unit === "px" ? " px" : ""})`].filter(Boolean).join(" ");
  return element(
    "div",
    { class: flag ? "option flag" : "option" },
    element("label", { for: id }, readable(option.name)),
    input,
    element("p", { class: "quiet", id: `${id}-help` }, help),
  );
}

// What was changed from the default.
export function valuesOf(form, options, prefix) {
  const values = {};
  for (const option of options) {
    const input = form.querySelector(`#${prefix}-${option.name}`);
    if (!input) continue;
    const value = input.type === "checkbox" ? input.checked : input.value.trim();
    if (value !== "" && value !== option.default) values[option.name] = value;
  }
  return values;
}

export function setValue(form, prefix, name, value) {
  const input = form.querySelector(`#${prefix}-${name}`);
  if (!input) return;
  if (input.type === "checkbox") input.checked = Boolean(value);
  else input.value = value ?? "";
}
