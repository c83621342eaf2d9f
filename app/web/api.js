/** The service: what it is asked, and what it refuses. Every address is relative, so that none leaves the origin. */

let key = "";
export const useKey = (given) => { key = given; };

/** A problem document (RFC 9457). `retryAfter` are the seconds after which the same request is welcome. */
export class Refusal extends Error {
  constructor(problem, retryAfter = 0, requestId = "") {
    super(problem.detail || problem.title);
    Object.assign(this, { type: problem.type, title: problem.title, retryAfter, requestId });
  }
}

const AWAY = { type: "unreachable", title: "The service cannot be reached.", detail: "The connection failed." };

/** The model's card: its options with their ranges, its thresholds and limits. */
export async function modelCard() {
  const response = await fetch("v1/model", { headers: authorization() }).catch(() => { throw new Refusal(AWAY); });
  if (!response.ok) throw new Refusal(await response.json(), seconds(response.headers.get("Retry-After")));
  return response.json();
}

/** Whether the model is ready; null where nobody answers. */
export async function isReady() {
  return fetch("readyz").then((response) => response.ok, () => null);
}

/** The report of a study, as a Blob of the media type asked for. */
export function report(files, options, accept, calls = {}) {
  const form = new FormData();
  for (const file of files) form.append("image", file);
  return post(`v1/report?${new URLSearchParams(options)}`, form, { Accept: accept }, calls);
}

/** A picture of a file that the browser cannot show, as a Blob of PNG. */
export const preview = (file, calls = {}) => post("v1/preview", file, { Accept: "image/png" }, calls);

/** `calls` has the signal that ends it, what is told how much is sent (0 to 1), and the id of an earlier try. */
function post(address, body, headers, { signal, onsent, requestId }) {
  const request = new XMLHttpRequest(); // fetch does not say how much of a body is sent
  request.open("POST", address);
  request.responseType = "blob";
  const id = requestId ? { "X-Request-ID": requestId } : {};
  for (const [name, value] of Object.entries({ ...headers, ...authorization(), ...id })) {
    request.setRequestHeader(name, value);
  }
  if (onsent) request.upload.onprogress = (event) => onsent(event.total ? event.loaded / event.total : 0);
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => request.abort());
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onerror = () => reject(new Refusal(AWAY));
    request.onload = async () => {
      if (request.status === 200) return resolve(request.response);
      const problem = await request.response.text().then(JSON.parse).catch(() => AWAY);
      return reject(new Refusal(problem, seconds(request.getResponseHeader("Retry-After")), problem.request_id));
    };
    if (signal?.aborted) request.onabort();
    else request.send(body);
  });
}

const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});
const seconds = (header) => Math.max(0, Number(header) || 0);
