/** The drawer of options: fields for what `/v1/model` says there is, with its ranges and defaults. */
import { byId, h } from "./dom.js";

const OURS = ["include", "object", "num_return_sequences"]; // the page asks for those itself
const FIRST = ["operating_point", "num_beams", "sections"];
let chosen = {};

/** Those that differ from the defaults, as the service takes them. */
export const options = () => chosen;

/** Fills the drawer. `apply` is called when the visitor has changed something. */
export function offer(schemas, apply) {
  const rest = Object.keys(schemas).filter((name) => ![...OURS, ...FIRST].includes(name));
  const [first, others] = [FIRST, rest].map((names) => names.map((name) => field(name, schemas[name])));
  const more = h("details", {}, h("summary", {}, "Decoding"), ...others);
  const form = byId("fields");
  form.replaceChildren(...first, more);
  byId("defaults").onclick = () => form.reset();
  byId("apply").onclick = () => {
    more.open ||= !form.checkValidity();
    if (!form.reportValidity()) return;
    const given = new FormData(form);
    const changed = [...new Set(given.keys())].map((name) => [name, given.getAll(name).join(",")])
      .filter(([name, value]) => value !== String(schemas[name].default));
    const before = JSON.stringify(chosen);
    chosen = Object.fromEntries(changed);
    byId("options").close();
    if (JSON.stringify(chosen) !== before) apply();
  };
}

const words = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

function field(name, { type, description, minimum, maximum, items, anyOf, enum: known, default: usual }) {
  const range = minimum === undefined ? "" : `${minimum} to ${maximum}, `;
  const bounds = h("b", {}, `${range}default ${[usual].flat().join(", ")}`);
  const hint = h("small", { id: `hint-${name}` }, description, " ", bounds);
  const props = { id: `option-${name}`, name, "aria-describedby": hint.id };
  if (items) {
    const boxes = items.enum.map((value) => h("label", { class: "check" },
      h("input", { name, type: "checkbox", value, defaultChecked: usual.includes(value) }), words(value)));
    return h("fieldset", { "aria-describedby": hint.id }, h("legend", {}, words(name)), ...boxes, hint);
  }
  const choices = known ?? anyOf?.flatMap((one) => one.const ?? ["true", "false"]);
  const input = choices
    ? h("select", props, choices.map((value) => h("option", { defaultSelected: value === String(usual) }, value)))
    : h("input", { ...props, type: "number", min: minimum, max: maximum, step: type === "integer" ? 1 : "any",
      required: true, defaultValue: usual });
  return h("div", { class: "field" }, h("label", { htmlFor: props.id }, words(name)), input, hint);
}
