/** The service: what it is asked, and what it refuses. Every address is relative, so that none leaves the origin. */

let key = "";
export const useKey = (given) => { key = given; };

/** A problem document (RFC 9457). `retryAfter` are the seconds after which the same request is welcome. */
export class Refusal extends Error {
  constructor(problem, retryAfter = 0) {
    super(problem.detail ?? problem.title);
    Object.assign(this, { type: problem.type, title: problem.title, requestId: problem.request_id, retryAfter });
  }
}

/** Whether the model is ready; null where nobody answers. */
export const isReady = () => fetch("readyz").then(({ ok }) => ok, () => null);

/** The model's card: its options with their ranges, its thresholds and limits. */
export const modelCard = (calls) => ask("v1/model", {}, {}, calls).then((response) => response.json());

/** The report of a study, as a Blob of the media type asked for. */
export function report(files, options, accept, calls) {
  const body = new FormData();
  for (const file of files) body.append("image", file);
  const address = `v1/report?${new URLSearchParams(options)}`;
  return ask(address, { method: "POST", body }, { Accept: accept }, calls).then((response) => response.blob());
}

/** A picture of a file that the browser cannot show, as a Blob of PNG. */
export const preview = (body, calls) =>
  ask("v1/preview", { method: "POST", body }, {}, calls).then((response) => response.blob());

/** `calls` has the signal that ends it, and the id of an earlier try, by which the service knows whose turn it is. */
async function ask(address, request, headers, { signal, requestId }) {
  if (key) headers.Authorization = `Bearer ${key}`;
  if (requestId) headers["X-Request-ID"] = requestId;
  const response = await fetch(address, { ...request, headers, signal }).catch((error) => {
    if (signal.aborted) throw error;
    throw new Refusal({ type: "unreachable", title: "The service cannot be reached." });
  });
  if (response.ok) return response;
  const unread = { type: "unreachable", title: "Something between here and the service refused." };
  throw new Refusal(await response.json().catch(() => unread), Number(response.headers.get("Retry-After")));
}
