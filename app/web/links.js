/** What belongs to what in an answer. A target is a sentence's index, or a finding's name. */

export const plain = (name) => name.replaceAll("_", " ");
export const percent = (share) => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(share * 100)} %`);

/** Where a location lies, in words. */
export function placeWords({ image, side, zone }, { images }) {
  const where = [side === "both" ? "both sides" : side, zone && `${zone} zone`].filter(Boolean).join(" ");
  return [where || "marked in the image", images.length > 1 && `image ${image + 1}`].filter(Boolean).join(", ");
}

/** The sentences and findings that a target lights up. */
export function lit(answer, target) {
  if (target === null) return { sentences: [], findings: [] };
  if (typeof target === "number") return { sentences: [target], findings: answer.sentences[target].findings };
  const sentences = answer.sentences.flatMap((sentence, i) => (sentence.findings.includes(target) ? [i] : []));
  return { sentences, findings: [target] };
}

/** The boxes over one image: {name, words, left, top, right, bottom}. */
export function boxesOn(answer, image) {
  return answer.findings.flatMap(({ name, locations }) => (locations ?? [])
    .filter((location) => location.image === image)
    .map((location) => ({ name, words: `${plain(name)}: ${placeWords(location, answer)}`, ...location.box })));
}

/** Where the model looked for a target in one image: {levels, box}. */
export function heatOf({ heatmaps }, target, image) {
  if (target === null) return undefined;
  const found = heatmaps.sentences[target] ?? heatmaps.findings.find(({ name }) => name === target);
  return found.maps.find((map) => map.image === image);
}

/** The first image in which a target has a box. */
export function imageOf(answer, target) {
  const { findings } = lit(answer, target);
  return answer.images.findIndex((_, image) => boxesOn(answer, image).some(({ name }) => findings.includes(name)));
}

/** The finding of the smallest box around a place. */
export function targetAt(answer, image, x, y) {
  const size = ({ left, top, right, bottom }) => (right - left) * (bottom - top);
  const around = ({ left, top, right, bottom }) => x >= left && x < right && y >= top && y < bottom;
  return boxesOn(answer, image).filter(around).sort((a, b) => size(a) - size(b))[0]?.name ?? null;
}
