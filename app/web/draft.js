/** An answer as people read it: sections, sentences with what is to be doubted of them, findings, alternatives. */

import { byId, h } from "./dom.js";
import { wordDiff } from "./diff.js";
import { imageOf, lit, percent, placeWords, plain } from "./links.js";

/** Shows an answer. `point` is told of the target that the visitor points at, or null, `pin` of one that stays. */
export function showDraft(answer, card, { point, pin }) {
  const pointing = (target) => ({ mouseenter: () => point(target), mouseleave: () => point(null), focus: () => point(target), blur: () => point(null) });
  const pinning = (target) => ({ role: "button", tabIndex: 0, "aria-pressed": "false", "data-target": target, ...pointing(target),
    click: () => pin(target),
    keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pin(target); } } });
  const concerned = new Set(answer.sentences.flatMap(({ warnings }) => warnings));
  byId("warnings").replaceChildren(...answer.warnings.filter((text) => !concerned.has(text)).map(warning));
  byId("sections").replaceChildren(...Object.keys(answer.report.sections).map((name) =>
    h("section", { "aria-labelledby": `section-${name}` }, h("h3", { id: `section-${name}` }, name), ...sentencesOf(answer, name, pinning))));
  const present = answer.findings.filter((finding) => finding.present).sort((a, b) => b.probability - a.probability);
  const absent = answer.findings.filter((finding) => !finding.present).sort((a, b) => b.probability - a.probability);
  const row = (finding) => findingRow(finding, answer, card, pinning);
  byId("present").replaceChildren(...present.map(row));
  byId("none").hidden = present.length > 0;
  byId("absent").replaceChildren(...absent.map(row));
  byId("absent-count").textContent = `${absent.length} called absent`;
  byId("overall").textContent = overall(answer);
  byId("alternatives").replaceChildren(...(answer.alternatives ?? []).map((one) => alternative(one, answer.report)));
  byId("alternatives-box").hidden = !answer.alternatives?.length;
  byId("provenance").textContent = `${answer.model.name} ${answer.model.version} · ${answer.options.num_beams} beams · `
    + `${answer.options.operating_point} · ${(answer.timing.total_ms / 1000).toFixed(1)} s · ${new Date(answer.created).toLocaleTimeString()}`;
}

/** Marks what a target lights up, and what of it is pinned. */
export function light(answer, target, pinned) {
  const { sentences, findings } = lit(answer, target);
  for (const element of document.querySelectorAll("[data-target]")) {
    const own = element.dataset.target;
    element.classList.toggle("lit", sentences.includes(Number(own)) || findings.includes(own));
    element.setAttribute("aria-pressed", String(pinned !== null && own === String(pinned)));
  }
}

/** The report as text, as the service gives it as text/plain. */
export function textOf({ report, warnings, disclaimer }) {
  const parts = Object.entries(report.sections).map(([name, text]) => `${name.toUpperCase()}\n${text}`);
  return [...parts, ...warnings.map((text) => `Warning: ${text}`), disclaimer].join("\n\n") + "\n";
}

const warning = (text) => h("p", { class: "warning" }, h("b", {}, "Doubt "), text);

function sentencesOf(answer, section, pinning) {
  return answer.sentences.flatMap((sentence, i) => {
    if (sentence.section !== section) return [];
    const places = answer.findings.filter(({ name, locations }) => locations && sentence.findings.includes(name))
      .map(({ name, locations }) => `${plain(name)} ${locations.map((one) => placeWords(one, answer)).join(", ")}`);
    const said = places.length ? h("span", { class: "unseen" }, ` (marked: ${places.join("; ")})`) : null;
    const kind = `sentence${imageOf(answer, i) === null ? "" : " placed"}${sentence.warnings.length ? " doubted" : ""}`;
    return [h("span", { class: kind, ...pinning(i) }, sentence.text, said), ...sentence.warnings.map(warning), " "];
  });
}

function overall({ abnormal, measurements }) {
  const measured = (measurements ?? []).map(({ name, value }) => `${plain(name)} ${value.toFixed(2)}`);
  const whole = abnormal && `Abnormal ${percent(abnormal.probability)}, called ${abnormal.present ? "abnormal" : "normal"}`;
  return [whole, ...measured].filter(Boolean).join(" · ");
}

function findingRow(finding, answer, card, pinning) {
  const { name, probability, present, threshold, locations } = finding;
  const [fill, mark] = [h("span", { class: "fill" }), h("span", { class: "mark" })];
  fill.style.width = `${probability * 100}%`;
  mark.style.left = `${threshold * 100}%`;
  const where = (locations ?? []).map((one) => placeWords(one, answer)).join("; ");
  return h("li", {}, h("div", { class: `finding ${present ? "present" : "absent"}`, "aria-describedby": `means-${name}`, ...pinning(name) },
    h("span", { class: "name" }, plain(name), where && h("small", {}, where)),
    h("span", { class: "bar", "aria-hidden": "true" }, fill, mark),
    h("span", { class: "share" }, percent(probability)),
    h("span", { class: "state" }, present ? "present" : "absent")),
  h("p", { class: "means", id: `means-${name}`, role: "tooltip" }, meaning(finding, answer, card)));
}

function meaning({ name, probability, threshold }, answer, card) {
  const point = answer.options.operating_point;
  const known = card?.operating_points[point]?.[name];
  const rates = known?.sensitivity !== undefined
    ? ` On validation that finds ${percent(known.sensitivity)} of those that have it and passes ${percent(known.specificity)} of those that do not.` : "";
  return `Of 100 studies given this number about ${Math.round(probability * 100)} are expected to have it. `
    + `The mark is where “${point}” calls it present: ${percent(threshold)}.${rates}`;
}

function alternative(one, best) {
  const parts = wordDiff(best.text, one.text).map(([kind, words]) =>
    kind === "same" ? `${words} ` : [h(kind === "gone" ? "del" : "ins", {}, words), " "]);
  return h("li", {}, h("p", {}, ...parts.flat()),
    h("small", {}, `score ${one.score.toFixed(3)}, the draft's ${best.score.toFixed(3)}`));
}
