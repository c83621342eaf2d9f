/** The visit: a study comes in, its draft comes out, and what the visitor does in between. */

import { adviceFor } from "./advice.js";
import { isReady, modelCard, preview, Refusal, report, useKey } from "./api.js";
import { byId, copy, h, save } from "./dom.js";
import { light, showDraft, textOf } from "./draft.js";
import * as visit from "./history.js";
import { boxesOn, heatOf, imageOf, lit, plain, targetAt } from "./links.js";
import { offer, options } from "./options.js";
import { pictureOf, toned } from "./pictures.js";
import { Viewer } from "./viewer.js";

const ADDED = { include: "alternatives,sentences,heatmaps" };
const FORMS = { pdf: "application/pdf", fhir: "application/fhir+json", sr: "application/dicom" };
const viewer = new Viewer(byId("canvas"));
const state = { card: null, study: { files: [], pictures: [] }, answer: null, image: 0, pinned: null, running: new AbortController() };
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// What the service says.

async function lookAtModel() {
  const ready = await isReady();
  byId("model").dataset.ready = String(ready === true);
  const { name, version } = state.card ?? { name: "model", version: "" };
  byId("model").textContent = ready ? `${name} ${version} ready` : ready === null ? "Service away" : "Model not ready yet";
  if (ready && !state.card) await insist(modelCard, new AbortController().signal).then(welcome, showRefusal);
  if (!ready) setTimeout(lookAtModel, 2000);
}

function welcome(card) {
  state.card = card;
  byId("model").textContent = `${card.name} ${card.version} ready`;
  byId("disclaimer").textContent = card.disclaimer;
  offer(card, () => { if (state.study.files.length) draft(); });
}

/** The work's result. What the service asks to try again later is tried then, what needs a key when there is one. */
async function insist(work, signal) {
  for (let requestId; ;) {
    try {
      const result = await work({ signal, requestId });
      byId("notice").hidden = true;
      return result;
    } catch (error) {
      if (!(error instanceof Refusal) || (!error.retryAfter && error.type !== "unauthorized")) throw error;
      requestId = error.requestId;
      showRefusal(error);
      if (error.type === "unauthorized") await givenKey();
      else await countdown(error.retryAfter, signal);
    }
  }
}

function givenKey() {
  byId("key-form").hidden = false;
  byId("key").focus();
  return new Promise((resolve) => {
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      useKey(byId("key").value.trim());
      byId("key-form").hidden = true;
      resolve();
    };
  });
}

async function countdown(seconds, signal) {
  for (let left = seconds; left > 0 && !signal.aborted; left -= 1) {
    byId("retry").textContent = `Trying again in ${left} s`;
    await wait(1000);
  }
  byId("retry").textContent = "";
  signal.throwIfAborted();
}

function showRefusal(error) {
  if (error.name === "AbortError") return;
  const { type, title, message } = error instanceof Refusal ? error : { type: "page", title: "The page failed.", message: String(error) };
  byId("notice").hidden = false;
  byId("notice").dataset.type = type;
  byId("notice-title").textContent = title;
  byId("notice-detail").textContent = message === title ? "" : message;
  byId("notice-advice").textContent = adviceFor(type);
  byId("notice-id").textContent = error.requestId ? `Request ${error.requestId}` : "";
  if (type === "unreachable" || type === "model-not-ready") lookAtModel();
}

// A study.

async function open(files) {
  const most = state.card?.limits.max_images ?? 4;
  if (files.length > most) return showRefusal(new Refusal({ type: "too-many-images", title: "These are too many images.", detail: `A study has at most ${most}.` }));
  if (!files.length) return undefined;
  const signal = restart();
  progress("Reading the images");
  try {
    const pictures = await Promise.all(files.map((file) => insist((calls) => pictureOf(file, calls), signal)));
    show({ files, pictures }, null);
    return await draft();
  } catch (error) {
    progress(null);
    return showRefusal(error);
  }
}

/** Ends what is under way. The signal is that of what comes. */
function restart() {
  state.running.abort();
  state.running = new AbortController();
  byId("notice").hidden = true;
  return state.running.signal;
}

async function draft() {
  const signal = restart();
  const { study } = state;
  byId("main").setAttribute("aria-busy", "true");
  const onsent = (share) => progress(share < 1 ? "Sending" : "Drafting the report", share < 1 ? share : undefined);
  progress("Sending", 0);
  try {
    const work = (calls) => report(study.files, { ...options(), ...ADDED }, "application/json", { ...calls, onsent });
    const answer = JSON.parse(await (await insist(work, signal)).text());
    visit.remember(answer, study);
    show(study, answer);
    progress(null, 0, "The draft is there.");
  } catch (error) {
    if (!signal.aborted) progress(null);
    showRefusal(error);
  }
}

function progress(words, share, said = "") {
  byId("progress").hidden = !words;
  byId("progress-words").textContent = words ?? said;
  if (share === undefined) byId("bar").removeAttribute("value");
  else byId("bar").value = share;
  byId("main").setAttribute("aria-busy", String(Boolean(words)));
}

function show(study, answer) {
  Object.assign(state, { study, answer, pinned: null });
  document.body.dataset.state = answer ? "drafted" : "study";
  byId("views").replaceChildren(...study.pictures.map(thumbnail));
  byId("add").hidden = !study.files.length || study.files.length >= (state.card?.limits.max_images ?? 4);
  if (answer) {
    showDraft(answer, state.card, { point, pin });
    for (const button of byId("downloads").children) button.hidden = !offered(button.dataset.form);
    byId("again").hidden = study.files.length > 0;
  }
  look(0);
}

const offered = (form) => !(form in FORMS) || (state.study.files.length > 0
  && (form !== "sr" || state.answer.images.every(({ format }) => format === "DICOM")));

function thumbnail(picture, i) {
  const read = state.answer?.images[i];
  const small = h("canvas", { width: 96, height: 96 });
  const side = 96 / Math.max(picture.width, picture.height);
  const size = [picture.width * side, picture.height * side];
  small.getContext("2d").drawImage(toned(picture), (96 - size[0]) / 2, (96 - size[1]) / 2, ...size);
  return h("li", {}, h("button", { type: "button", class: "view", click: () => look(i) }, small,
    h("span", {}, read ? `${i + 1} ${read.view}${read.read ? "" : ", not read"}` : `Image ${i + 1}`)));
}

function look(image) {
  state.image = image;
  viewer.show(state.study.pictures[image] ?? null);
  [...byId("views").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-pressed", String(i === image)));
  point(null);
}

// Sentences and regions.

function point(target) {
  const { answer, image, study } = state;
  const shown = target ?? state.pinned;
  if (!answer) return viewer.mark([], null, []);
  const share = study.pictures[image].width / answer.images[image].width;
  const scaled = (box) => Object.fromEntries(["left", "top", "right", "bottom"].map((edge) => [edge, box[edge] * share]));
  const heat = heatOf(answer, shown, image);
  const boxes = boxesOn(answer, image).map((box) => ({ ...box, label: plain(box.name), ...scaled(box) }));
  const { findings } = lit(answer, shown);
  viewer.mark(boxes, heat && { levels: heat.levels, box: scaled(heat.box) }, findings);
  light(answer, shown, state.pinned);
  const words = boxes.filter(({ name }) => findings.includes(name)).map(({ label, words: place }) => `${label}: ${place}`);
  byId("where").textContent = shown === null ? "" : words.join(" · ") || "No region is marked for this; the colours show where the model looked.";
  const all = boxes.map((box) => `${box.label}, ${box.words}`).join("; ");
  return byId("canvas").setAttribute("aria-label", `Image ${image + 1}, ${answer.images[image].view} view. ${all ? `Marked: ${all}.` : "Nothing is marked."}`);
}

function pin(target) {
  state.pinned = state.pinned === target ? null : target;
  const image = state.pinned === null ? null : imageOf(state.answer, target);
  if (image !== null && image !== state.image) look(image);
  point(null);
}

function under(place) {
  if (!place || !state.answer) return null;
  const share = state.answer.images[state.image].width / state.study.pictures[state.image].width;
  return targetAt(state.answer, state.image, place[0] * share, place[1] * share);
}

viewer.onpoint = (place) => point(under(place));
viewer.onclick = (place) => {
  const target = under(place);
  if (target === null ? state.pinned !== null : true) pin(target ?? state.pinned);
  if (target !== null) document.querySelector(".sentence.lit")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
};
viewer.ontone = ({ level, width, zoom, inverted }) => {
  byId("tone").textContent = `W ${Math.round(width)}  L ${Math.round(level)}  ${zoom.toFixed(1)}×`;
  byId("invert").setAttribute("aria-pressed", String(inverted));
};

// What the visitor does.

async function download(form) {
  const { answer, study } = state;
  const name = `draft-${answer.id.slice(0, 8)}`;
  if (form === "text") return save(new Blob([textOf(answer)], { type: "text/plain" }), `${name}.txt`);
  if (form === "json") return save(new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }), `${name}.json`);
  const work = (calls) => report(study.files, options(), FORMS[form], calls);
  const ending = { pdf: "pdf", fhir: "fhir.json", sr: "dcm" }[form];
  return insist(work, state.running.signal).then((blob) => save(blob, `${name}.${ending}`), showRefusal);
}

async function copyText() {
  if (!state.answer) return;
  await copy(textOf(state.answer));
  byId("copy-words").textContent = "Copied";
  await wait(1500);
  byId("copy-words").textContent = "Copy";
}

function showHistory() {
  byId("entries").replaceChildren(...visit.all().map((entry) => h("li", {}, h("button", { type: "button", click: async () => {
    byId("history").close();
    restart();
    progress(null);
    show(await visit.studyOf(entry), entry.answer);
  } }, h("b", {}, entry.names.join(", ")), h("span", {}, entry.answer.report.text.slice(0, 110)),
  h("small", {}, `${new Date(entry.answer.created).toLocaleTimeString()} · ${entry.answer.options.num_beams} beams · ${entry.answer.options.operating_point}`)))));
  byId("no-entries").hidden = visit.all().length > 0;
  byId("history").showModal();
}

const images = ({ files }) => [...(files ?? [])];
const clicks = {
  choose: () => byId("files").click(), "choose-again": () => byId("files").click(), add: () => byId("more").click(),
  sample: async () => open([new File([await (await fetch("web/sample.jpg")).blob()], "sample.jpg")]),
  "zoom-in": () => viewer.zoomBy(1.25), "zoom-out": () => viewer.zoomBy(0.8), invert: () => viewer.invert(), reset: () => viewer.reset(),
  copy: copyText, "open-options": () => byId("options").showModal(), "open-history": showHistory,
  forget: () => { visit.forget(); byId("history").close(); }, stop: () => { restart(); progress(null, 0, "Stopped."); }, again: () => byId("files").click(),
};
for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
for (const button of byId("downloads").children) button.addEventListener("click", () => download(button.dataset.form));
for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => {
  viewer.tool = button.dataset.tool;
  for (const one of document.querySelectorAll("[data-tool]")) one.setAttribute("aria-pressed", String(one === button));
});
byId("boxes").addEventListener("click", ({ currentTarget }) => {
  viewer.showBoxes = !viewer.showBoxes;
  currentTarget.setAttribute("aria-pressed", String(viewer.showBoxes));
  viewer.redraw();
});
byId("opacity").addEventListener("input", ({ target }) => { viewer.opacity = target.value / 100; viewer.redraw(); });
byId("files").addEventListener("change", ({ target }) => { open(images(target)); target.value = ""; });
byId("more").addEventListener("change", ({ target }) => { open([...state.study.files, ...images(target)]); target.value = ""; });
document.addEventListener("paste", ({ clipboardData }) => open(images(clipboardData)));
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", ({ relatedTarget }) => { if (!relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dragging"); open(images(event.dataTransfer)); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  const act = { c: copyText, o: clicks["open-options"], h: showHistory }[event.key];
  if (act) { event.preventDefault(); act(); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) lookAtModel(); });
lookAtModel();
