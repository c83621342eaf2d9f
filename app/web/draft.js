/** An answer as people read it: sections, sentences with what is to be doubted of them, findings, alternatives. */
import { wordDiff } from "./diff.js";
import { byId, h } from "./dom.js";
import { lit, percent, placeWords, plain } from "./links.js";

/** Shows an answer. `point` is told of the target that the visitor points at, or null, `pin` of one that is to stay. */
export function showDraft(answer, card, point, pin) {
  const target = (value) => ({
    role: "button", tabIndex: 0, "data-target": value, click: () => pin(value),
    mouseenter: () => point(value), mouseleave: () => point(null), focus: () => point(value), blur: () => point(null),
    keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pin(value); } },
  });
  const beside = answer.sentences.flatMap(({ warnings }) => warnings);
  byId("warnings").replaceChildren(...answer.warnings.filter((text) => !beside.includes(text)).map(warning));
  byId("sections").replaceChildren(...Object.keys(answer.report.sections).map((name) =>
    h("section", {}, h("h3", {}, name), answer.sentences.map((sentence, i) =>
      sentence.section === name && sentenceParts(sentence, answer, target(i))).flat())));
  const rows = (present) => answer.findings.filter((finding) => finding.present === present)
    .sort((a, b) => b.probability - a.probability).map((finding) => row(finding, answer, card, target(finding.name)));
  byId("present").replaceChildren(...rows(true));
  byId("absent").replaceChildren(...rows(false));
  byId("absent-count").textContent = `${rows(false).length} called absent`;
  byId("none").hidden = rows(true).length > 0;
  byId("overall").textContent = overall(answer);
  byId("alternatives-box").hidden = !answer.alternatives?.length;
  byId("alternatives").replaceChildren(...(answer.alternatives ?? []).map((one) => alternative(one, answer.report)));
  byId("provenance").textContent = [`${answer.model.name} ${answer.model.version}`, ...madeHow(answer),
    `${(answer.timing.total_ms / 1000).toFixed(1)} s`].join(" · ");
}

/** With which options an answer was made, as far as readers care. */
export const madeHow = ({ options }) => [`${options.num_beams} beams`, options.operating_point];

/** Marks what a target lights up, and what is pinned. */
export function light(answer, shown, pinned) {
  const { sentences, findings } = lit(answer, shown);
  for (const element of document.querySelectorAll("[data-target]")) {
    const own = element.dataset.target;
    element.classList.toggle("lit", sentences.includes(Number(own)) || findings.includes(own));
    element.ariaPressed = String(own === String(pinned));
  }
}

/** The report as text, as the service gives it as text/plain. */
export function textOf({ report, warnings, disclaimer }) {
  const parts = Object.entries(report.sections).map(([name, text]) => `${name.toUpperCase()}\n${text}`);
  return [...parts, ...warnings.map((text) => `Warning: ${text}`), disclaimer].join("\n\n") + "\n";
}

const warning = (text) => h("p", { class: "warning" }, h("b", {}, "Doubt "), text);

function sentenceParts({ text, findings, warnings }, answer, target) {
  const places = answer.findings.filter(({ name, locations }) => locations && findings.includes(name))
    .map(({ name, locations }) => `${plain(name)} ${locations.map((one) => placeWords(one, answer)).join(", ")}`);
  const kind = `sentence ${places.length ? "placed" : ""} ${warnings.length ? "doubted" : ""}`;
  const heard = places.length > 0 && h("span", { class: "unseen" }, ` (${places.join("; ")})`);
  return [h("span", { class: kind, ...target }, text, heard), ...warnings.map(warning), " "];
}

function overall({ abnormal, measurements }) {
  const measured = (measurements ?? []).map(({ name, value }) => `${plain(name)} ${value.toFixed(2)}`);
  const decided = abnormal?.present ? "abnormal" : "normal";
  const whole = abnormal && `Abnormal ${percent(abnormal.probability)}: called ${decided}`;
  return [whole, ...measured].filter(Boolean).join(" · ");
}

function row(finding, answer, card, target) {
  const { name, probability, present, threshold, locations } = finding;
  const [fill, mark] = [h("span", { class: "fill" }), h("span", { class: "mark" })];
  fill.style.width = `${probability * 100}%`;
  mark.style.left = `${threshold * 100}%`;
  const places = (locations ?? []).map((one) => placeWords(one, answer)).join("; ");
  return h("li", {},
    h("div", { class: `finding ${present ? "present" : "absent"}`, "aria-describedby": `means-${name}`, ...target },
      h("span", { class: "name" }, plain(name), places && h("small", {}, places)),
      h("span", { class: "bar", "aria-hidden": "true" }, fill, mark),
      h("span", { class: "share" }, percent(probability)),
      h("span", { class: "state" }, present ? "present" : "absent")),
    h("p", { class: "means", id: `means-${name}`, role: "tooltip" }, meaning(finding, answer, card)));
}

function meaning({ name, probability, threshold }, { options }, card) {
  const known = card?.operating_points[options.operating_point]?.[name];
  const rates = known?.sensitivity === undefined ? "" : ` On validation that finds ${percent(known.sensitivity)} of `
    + `those that have it, and passes ${percent(known.specificity)} of those that do not.`;
  return `Of 100 studies given this number about ${Math.round(probability * 100)} are expected to have it. The mark is `
    + `where “${options.operating_point}” calls it present: ${percent(threshold)}.${rates}`;
}

function alternative({ text, score }, best) {
  const tags = { gone: "del", new: "ins" };
  const part = ([kind, words]) => [tags[kind] ? h(tags[kind], {}, words) : words, " "];
  const scores = `Score ${score.toFixed(3)}; the draft's is ${best.score.toFixed(3)}`;
  return h("li", {}, h("p", {}, wordDiff(best.text, text).flatMap(part)), h("small", {}, scores));
}
