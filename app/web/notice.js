/** What is under way and what was refused, in words; the page tries again when the service says so. */
import { isReady, useKey } from "./api.js";
import { byId } from "./dom.js";

/** Says what is under way, or with "" that nothing is; `said` is for those who listen. */
export function busy(words, said = "") {
  byId("progress").hidden = !words;
  byId("progress-words").textContent = words || said;
  byId("main").setAttribute("aria-busy", String(Boolean(words)));
}

/** Says why there is nothing, and what to do. */
export function refuse(error) {
  if (error.name === "AbortError") return; // the visitor did that
  const advice = byId("advice").content;
  byId("notice").hidden = false;
  byId("notice").classList.toggle("waiting", error.retryAfter > 0);
  byId("notice-title").textContent = error.title ?? "The page failed.";
  byId("notice-detail").textContent = error.message === error.title ? "" : error.message;
  byId("notice-advice").textContent = (advice.getElementById(error.type) ?? advice.getElementById("other")).textContent;
  byId("notice-id").textContent = error.requestId ? `Request ${error.requestId}` : "";
  requestAnimationFrame(() => byId("notice").scrollIntoView({ block: "nearest" })); // once the rest is laid out
}

/** The work's result. What the service wants to be asked later is asked then, what needs a key when there is one. */
export async function insist(work, signal) {
  for (let requestId; ;) {
    try {
      const result = await work({ signal, requestId });
      byId("notice").hidden = true;
      return result;
    } catch (error) {
      if (!error.retryAfter && error.type !== "unauthorized") throw error;
      requestId = error.requestId;
      refuse(error);
      if (error.type === "unauthorized") await givenKey();
      else await countdown(error.retryAfter, signal);
    }
  }
}

let watching;
/** Watches for the model until it is ready, then calls `welcome`. */
export async function watchModel(welcome) {
  clearTimeout(watching);
  const ready = await isReady();
  byId("model").dataset.ready = String(ready === true);
  byId("model").textContent = ready === null ? "Service away" : ready ? "Model ready" : "Model not ready yet";
  if (ready) welcome().catch(refuse);
  else watching = setTimeout(watchModel, 2000, welcome);
}

async function givenKey() {
  byId("key-form").hidden = false;
  byId("key").focus();
  const submitted = await new Promise((resolve) => { byId("key-form").onsubmit = resolve; });
  submitted.preventDefault();
  useKey(byId("key").value.trim());
  byId("key-form").hidden = true;
}

async function countdown(seconds, signal) {
  for (let left = seconds; left > 0 && !signal.aborted; left -= 1) {
    byId("retry").textContent = `Trying again in ${left} s`;
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
  byId("retry").textContent = "";
  signal.throwIfAborted();
}
