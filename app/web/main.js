/** The visit: a study comes in, its draft comes out, and what the visitor does in between. */
import { modelCard, report } from "./api.js";
import { byId, copy, h, save } from "./dom.js";
import { light, madeHow, showDraft, textOf } from "./draft.js";
import * as visit from "./history.js";
import { boxesOn, heatOf, imageOf, lit, targetAt } from "./links.js";
import { busy, insist, refuse, watchModel } from "./notice.js";
import { offer, options } from "./options.js";
import { pictureOf, small } from "./pictures.js";
import { Viewer } from "./viewer.js";

const ADDED = { include: "alternatives,sentences,heatmaps" };
const FORMS = { pdf: "application/pdf", fhir: "application/fhir+json", sr: "application/dicom" };
const ENDINGS = { pdf: "pdf", fhir: "fhir.json", sr: "dcm" };
const viewer = new Viewer(byId("canvas"));
let card = null, study = { files: [], pictures: [] }, answer = null, image = 0, pinned = null;
let running = new AbortController();

async function welcome() {
  if (!card) {
    card = await insist(modelCard, new AbortController().signal);
    offer(card.options, () => study.files.length && draft());
  }
  byId("model").textContent = `${card.name} ${card.version} ready`;
}

const open = (files) => files.length && attempt("Reading the images", async (signal) => {
  const pictures = await Promise.all(files.map((file) => insist((calls) => pictureOf(file, calls), signal)));
  show({ files, pictures }, null);
  await draft();
});

const draft = () => attempt("Drafting the report", async (signal) => {
  const asked = study;
  const work = (calls) => report(asked.files, { ...options(), ...ADDED }, "application/json", calls);
  const made = JSON.parse(await (await insist(work, signal)).text());
  visit.remember(made, asked);
  show(asked, made);
  busy("", "The draft is there.");
});

/** Does one thing in place of whatever was under way, and says how it goes. */
async function attempt(words, work) {
  running.abort();
  const { signal } = running = new AbortController();
  byId("notice").hidden = true;
  busy(words);
  watchModel(welcome);
  try {
    await work(signal);
  } catch (error) {
    refuse(error);
  }
  if (!signal.aborted && byId("progress-words").textContent === words) busy("");
}

function show(shownStudy, shownAnswer) {
  [study, answer, pinned] = [shownStudy, shownAnswer, null];
  document.body.dataset.state = answer ? "drafted" : "study";
  byId("views").replaceChildren(...study.pictures.map(view));
  byId("add").hidden = !study.files.length || study.files.length >= (card?.limits.max_images ?? 4);
  if (answer) showDraft(answer, card, point, pin);
  byId("again").hidden = study.files.length > 0;
  for (const button of byId("downloads").children) button.hidden = !offered(button.dataset.form);
  look(0);
}

function view(picture, i) {
  const read = answer?.images[i];
  const words = read ? `${i + 1} ${read.view}${read.read ? "" : ", not read"}` : `Image ${i + 1}`;
  return h("li", {}, h("button", { type: "button", class: "view", click: () => look(i) }, small(picture, 64), words));
}

function look(i) {
  image = i;
  viewer.show(study.pictures[i]);
  byId("views").querySelectorAll("button").forEach((button, j) => { button.ariaPressed = String(i === j); });
  point(null);
}

function point(target) {
  if (!answer) return void viewer.mark([], undefined, []);
  const shown = target ?? pinned;
  const share = study.pictures[image].width / answer.images[image].width;
  const edges = (box) => ["left", "top", "right", "bottom"].map((edge) => [edge, box[edge] * share]);
  const boxes = boxesOn(answer, image), heat = heatOf(answer, shown, image), { findings } = lit(answer, shown);
  viewer.mark(boxes.map((box) => ({ ...box, ...Object.fromEntries(edges(box)) })),
    heat && { ...heat, box: Object.fromEntries(edges(heat.box)) }, findings);
  light(answer, shown, pinned);
  const marked = boxes.map(({ words }) => words).join("; ") || "nothing";
  byId("canvas").ariaLabel = `Image ${image + 1}, ${answer.images[image].view} view. Marked: ${marked}.`;
  byId("where").hidden = shown === null || boxes.some(({ name }) => findings.includes(name));
}

function pin(target) {
  pinned = pinned === target ? null : target;
  const there = pinned === null ? -1 : imageOf(answer, pinned);
  if (there >= 0 && there !== image) look(there);
  point(null);
}

function under([x, y]) {
  const share = answer.images[image].width / study.pictures[image].width;
  return targetAt(answer, image, x * share, y * share);
}

viewer.onpoint = (place) => answer && point(place && under(place));
viewer.onpick = (place) => {
  if (!answer) return;
  const target = under(place);
  if (target !== null || pinned !== null) pin(target ?? pinned);
  document.querySelector(".sentence.lit")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
};
viewer.onchange = ({ window: width, level, zoom, inverted }) => {
  byId("tone").textContent = `W ${Math.round(width)}  L ${Math.round(level)}  ${zoom.toFixed(1)}×`;
  byId("invert").ariaPressed = String(inverted);
};

const offered = (form) => !(form in FORMS)
  || (study.files.length > 0 && (form !== "sr" || answer?.images.every(({ format }) => format === "DICOM")));

async function download({ target: { dataset: { form } } }) {
  const name = `draft-${answer.id.slice(0, 8)}`;
  if (form === "text") return save(new Blob([textOf(answer)]), `${name}.txt`);
  if (form === "json") return save(new Blob([JSON.stringify(answer, null, 2)]), `${name}.json`);
  const { include, ...asked } = answer.options; // the very ones it was made with
  const work = (calls) => report(study.files, asked, FORMS[form], calls);
  return attempt("Writing the file", async (signal) => save(await insist(work, signal), `${name}.${ENDINGS[form]}`));
}

async function copyText() {
  if (!answer) return;
  await copy(textOf(answer));
  byId("copy-words").textContent = "Copied";
  setTimeout(() => { byId("copy-words").textContent = "Copy"; }, 1500);
}

function showHistory() {
  const entry = (one) => h("li", {}, h("button", { type: "button",
    click: () => attempt("", async () => { show(await visit.studyOf(one), one.answer); byId("history").close(); }) },
    h("b", {}, one.names.join(", ")), h("span", {}, one.answer.report.text),
    h("small", {}, [new Date(one.answer.created).toLocaleTimeString(), ...madeHow(one.answer)].join(" · "))));
  byId("entries").replaceChildren(...visit.all().map(entry));
  byId("no-entries").hidden = visit.all().length > 0;
  byId("history").showModal();
}

const clicks = {
  choose: () => byId("files").click(), "choose-again": () => byId("files").click(), add: () => byId("more").click(),
  sample: async () => open([new File([await (await fetch("web/sample.jpg")).blob()], "sample.jpg")]),
  "zoom-in": () => viewer.zoomBy(1.25), "zoom-out": () => viewer.zoomBy(0.8), reset: () => viewer.reset(),
  invert: () => viewer.invert(), copy: copyText, "open-history": showHistory, stop: () => attempt("", () => {}),
  "open-options": () => byId("options").showModal(), forget: () => { sessionStorage.clear(); location.reload(); },
  boxes: () => { byId("boxes").ariaPressed = String(viewer.showBoxes = !viewer.showBoxes); viewer.draw(); },
};
for (const [id, act] of Object.entries(clicks)) byId(id).onclick = act;
for (const button of byId("downloads").children) button.onclick = download;
for (const button of document.querySelectorAll("[data-close]")) button.onclick = () => button.closest("dialog").close();
const tools = document.querySelectorAll("[data-tool]");
const take = ({ currentTarget }) => {
  viewer.tool = currentTarget.dataset.tool;
  for (const one of tools) one.ariaPressed = String(one === currentTarget);
};
for (const tool of tools) tool.onclick = take;
byId("opacity").oninput = ({ target }) => { viewer.opacity = target.value / 100; viewer.draw(); };
byId("files").onchange = ({ target }) => { open([...target.files]); target.value = ""; };
byId("more").onchange = ({ target }) => { open([...study.files, ...target.files]); target.value = ""; };
document.onpaste = ({ clipboardData }) => { open([...clipboardData.files]); };
const dragging = (event, now) => { event.preventDefault(); document.body.classList.toggle("dragging", now); };
document.ondragover = (event) => dragging(event, true);
document.ondragleave = (event) => dragging(event, event.relatedTarget !== null);
document.ondrop = (event) => { dragging(event, false); open([...event.dataTransfer.files]); };
document.onkeydown = (event) => {
  const typing = event.target.matches("input, select, textarea") || document.querySelector("dialog[open]");
  const act = { c: copyText, o: clicks["open-options"], h: showHistory }[event.key];
  if (!act || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
};
watchModel(welcome);
