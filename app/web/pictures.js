/** Files as pictures to look at: grey values at most 2048 pixels a side. The browser decodes what it can. */

import { preview } from "./api.js";

const MAX_SIDE = 2048;
const SIGNATURES = [[0x89, 0x50, 0x4e, 0x47], [0xff, 0xd8, 0xff]]; // PNG, JPEG

/** The picture of a file: {width, height, grey: Uint8Array}. Raises the service's refusal where there is none. */
export async function pictureOf(file, calls) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  if (SIGNATURES.some((signature) => signature.every((byte, i) => start[i] === byte))) {
    const seen = await read(file).catch(() => null);
    if (seen) return seen;
  }
  return read(await preview(file, calls));
}

/** A picture that was kept as text. */
export const restored = (kept) => read(new Blob([Uint8Array.from(atob(kept), (c) => c.charCodeAt(0))]));

/** A picture as text to keep, reduced to `side` pixels. */
export function kept(picture, side) {
  const shrink = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = canvasOf(Math.round(picture.width * shrink), Math.round(picture.height * shrink));
  canvas.getContext("2d").drawImage(toned(picture), 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85).split(",")[1];
}

/** A canvas of a picture in a window around a level, both of 0 to 255, inverted or not. */
export function toned(picture, { level = 127.5, width = 255, inverted = false } = {}, canvas = null) {
  const tones = Uint32Array.from({ length: 256 }, (_, grey) => {
    const bright = Math.min(255, Math.max(0, Math.round(((grey - level) / width + 0.5) * 255)));
    return 0xff000000 | ((inverted ? 255 - bright : bright) * 0x010101);
  });
  const target = canvas ?? canvasOf(picture.width, picture.height);
  const context = target.getContext("2d");
  const data = context.createImageData(picture.width, picture.height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i += 1) pixels[i] = tones[picture.grey[i]];
  context.putImageData(data, 0, 0);
  return target;
}

export function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width: Math.max(1, width), height: Math.max(1, height) });
}

async function read(blob) {
  const bitmap = await createImageBitmap(blob);
  const shrink = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = canvasOf(Math.round(bitmap.width * shrink), Math.round(bitmap.height * shrink));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  const grey = new Uint8Array(width * height); // luma by ITU-R 601, as the service reads colours
  for (let i = 0; i < grey.length; i += 1) {
    grey[i] = Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
  }
  return { width, height, grey };
}
