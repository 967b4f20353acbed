// Forms of options, made of their declarations: the commands' own.

import { element, percent } from "./page.js";

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
  const share = option.unit === "%" && option.least === 0 && option.most === 1;
  let input;
  let output = null;
  if (share) {
    input = element("input", { ...shared, type: "range", min: 0, max: 100, step: 5, value: option.default * 100 });
    output = element("output", { for: id }, percent(option.default));
    input.oninput = () => { output.textContent = percent(input.value / 100); };
  } else if (flag) {
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
  const limits = flag || share ? "" : range(option);
  const help = [option.help, limits && `(${limits}${option.unit === "px" ? " px" : ""})`].filter(Boolean).join(" ");
  return element(
    "div",
    { class: flag ? "option flag" : share ? "option control" : "option" },
    element("label", { for: id }, readable(option.name)),
    output,
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
    const value = input.type === "checkbox" ? input.checked : input.type === "range" ? input.value / 100 : input.value.trim();
    if (value !== "" && value !== option.default) values[option.name] = value;
  }
  return values;
}

export function setValue(form, prefix, name, value) {
  const input = form.querySelector(`#${prefix}-${name}`);
  if (!input) return;
  if (input.type === "checkbox") input.checked = Boolean(value);
  else if (input.type === "range") {
    input.value = (value ?? 0) * 100;
    input.oninput();
  } else input.value = value ?? "";
}
