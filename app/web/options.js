/** The drawer of options: fields for what `/v1/model` says there is, with its ranges and defaults. */

import { byId, h } from "./dom.js";

const OURS = ["include", "object", "num_return_sequences"]; // the page asks for those itself
const FIRST = ["operating_point", "num_beams", "sections"];
const KEPT = "options";
let card = null;
let chosen = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");

const words = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

/** Those that differ from the defaults, as the service takes them. */
export const options = () => ({ ...chosen });

/** Fills the drawer. `apply` is called when the visitor is done and something has changed. */
export function offer(model, apply) {
  card = model;
  const names = Object.keys(card.options).filter((name) => !OURS.includes(name));
  const first = FIRST.filter((name) => names.includes(name));
  const rest = names.filter((name) => !first.includes(name));
  chosen = Object.fromEntries(Object.entries(chosen).filter(([name]) => names.includes(name)));
  byId("fields").replaceChildren(...first.map(field), h("details", {}, h("summary", {}, "Decoding"), ...rest.map(field)));
  byId("apply").onclick = () => {
    const wrong = [...byId("fields").querySelectorAll("input")].find((input) => !input.checkValidity());
    if (wrong) {
      wrong.closest("details")?.setAttribute("open", "");
      return void wrong.reportValidity();
    }
    const before = JSON.stringify(chosen);
    chosen = Object.fromEntries(names.map((name) => [name, valueOf(name)]).filter(([name, value]) => value !== textOf(name)));
    sessionStorage.setItem(KEPT, JSON.stringify(chosen));
    byId("options").close();
    if (JSON.stringify(chosen) !== before) apply();
  };
  byId("defaults").onclick = () => names.forEach((name) => set(name, textOf(name)));
}

const textOf = (name) => String(card.options[name].default ?? "");
const inputs = (name) => [...byId("fields").querySelectorAll(`[name="${name}"]`)];

function valueOf(name) {
  const [first, ...others] = inputs(name);
  if (first.type !== "checkbox") return first.value;
  return [first, ...others].filter(({ checked }) => checked).map(({ value }) => value).join(",");
}

function set(name, text) {
  for (const input of inputs(name)) {
    if (input.type === "checkbox") input.checked = text.split(",").includes(input.value);
    else input.value = text;
  }
  check(name);
}

function field(name) {
  const schema = card.options[name];
  const value = chosen[name] ?? textOf(name);
  const hint = h("small", { id: `hint-${name}` }, schema.description, " ", h("b", {}, rangeOf(schema)), `, default ${textOf(name).replaceAll(",", " and ")}`);
  const labelled = { name, "aria-describedby": hint.id };
  if (schema.type === "array") {
    const boxes = schema.items.enum.map((one) => h("label", { class: "check" },
      h("input", { type: "checkbox", ...labelled, value: one, checked: value.split(",").includes(one), change: () => check(name) }), words(one)));
    return h("fieldset", {}, h("legend", {}, words(name)), ...boxes, hint);
  }
  const choices = schema.enum ?? schema.anyOf?.flatMap((one) => one.const ?? ["true", "false"]);
  const input = choices
    ? h("select", { id: `option-${name}`, ...labelled }, ...choices.map((one) => h("option", { value: one, selected: one === value }, one)))
    : h("input", { id: `option-${name}`, ...labelled, type: "number", min: schema.minimum, max: schema.maximum,
      step: schema.type === "integer" ? 1 : "any", required: true, value });
  return h("div", { class: "field" }, h("label", { htmlFor: `option-${name}` }, words(name)), input, hint);
}

/** Of a list at least one must be chosen. */
function check(name) {
  const boxes = inputs(name).filter(({ type }) => type === "checkbox");
  boxes[0]?.setCustomValidity(boxes.some(({ checked }) => checked) ? "" : "Choose at least one.");
}

function rangeOf({ type, minimum, maximum, items, anyOf, enum: known }) {
  if (minimum !== undefined) return `${minimum} to ${maximum}`;
  return (items?.enum ?? known ?? anyOf?.flatMap((one) => one.const ?? ["true", "false"]) ?? [type]).join(", ");
}
