/** What belongs to what in an answer: sentences, findings, and regions of the images. A target is a sentence's index, or
 * a finding's name. */

export const plain = (name) => name.replaceAll("_", " ");
export const percent = (share) => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(share * 100)} %`);

/** Where a location lies, in words. */
export function placeWords({ image, side, zone }, answer) {
  const where = [side === "both" ? "both sides" : side, zone && `${zone} zone`].filter(Boolean).join(" ") || "marked";
  return answer.images.length > 1 ? `${where}, image ${image + 1}` : where;
}

/** The sentences and findings that a target lights up. */
export function lit(answer, target) {
  if (target === null) return { sentences: [], findings: [] };
  if (typeof target === "number") return { sentences: [target], findings: answer.sentences[target].findings };
  const sentences = answer.sentences.flatMap((sentence, i) => (sentence.findings.includes(target) ? [i] : []));
  return { sentences, findings: [target] };
}

/** The boxes over one image. */
export function boxesOn(answer, image) {
  return answer.findings.flatMap((finding) => (finding.locations ?? [])
    .filter((location) => location.image === image)
    .map((location) => ({ name: finding.name, words: placeWords(location, answer), ...location.box })));
}

/** Where the model looked for a target in one image: {levels, box}. */
export function heatOf(answer, target, image) {
  if (target === null || !answer.heatmaps) return null;
  const { sentences, findings } = answer.heatmaps;
  const found = typeof target === "number" ? sentences[target] : findings.find(({ name }) => name === target);
  return found?.maps.find((map) => map.image === image) ?? null;
}

/** The first image in which a target has a box. */
export function imageOf(answer, target) {
  const { findings } = lit(answer, target);
  const named = answer.findings.filter(({ name, locations }) => findings.includes(name) && locations);
  return named[0]?.locations[0].image ?? null;
}

/** What a place in an image belongs to: the finding of the smallest box around it, else a sentence without any box that
 * the model looked there for. */
export function targetAt(answer, image, x, y) {
  const inside = ({ left, top, right, bottom }) => x >= left && x < right && y >= top && y < bottom;
  const size = ({ left, top, right, bottom }) => (right - left) * (bottom - top);
  const [box] = boxesOn(answer, image).filter(inside).sort((a, b) => size(a) - size(b));
  if (box) return box.name;
  const level = (i) => {
    const heat = imageOf(answer, i) === null && heatOf(answer, i, image);
    if (!heat || !inside(heat.box)) return 0;
    const { left, top, right, bottom } = heat.box;
    const row = heat.levels[Math.floor(((y - top) / (bottom - top)) * heat.levels.length)];
    return row[Math.floor(((x - left) / (right - left)) * row.length)];
  };
  const [best] = answer.sentences.map((_, i) => [level(i), i]).sort((a, b) => b[0] - a[0]);
  return best && best[0] >= 160 ? best[1] : null;
}
