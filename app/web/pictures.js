/** Files as pictures to look at: grey values at most 2048 pixels a side. The browser decodes what it can. */
import { preview } from "./api.js";

const MAX_SIDE = 2048;
const PNG = 0x89504e47, JPEG = 0xffd8ff; // how their files begin

/** The picture of a file: {width, height, grey: Uint8Array}. Raises the service's refusal where there is none. */
export async function pictureOf(file, calls) {
  const start = await file.slice(0, 4).arrayBuffer();
  const begins = start.byteLength === 4 ? new DataView(start).getUint32(0) : 0;
  const seen = (begins === PNG || begins >>> 8 === JPEG) && await read(file).catch(() => null);
  return seen || read(await preview(file, calls));
}

/** A picture as text to keep, reduced to `side` pixels, and back. */
export const kept = (picture, side) => small(picture, side).toDataURL("image/jpeg", 0.85).split(",")[1];
export const restored = (text) => read(new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]));

/** A canvas of a picture at most `side` pixels a side. */
export function small(picture, side) {
  const shrink = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = canvasOf(picture.width * shrink, picture.height * shrink);
  canvas.getContext("2d").drawImage(toned(picture), 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A canvas of a picture in a window around a level, both of 0 to 255, inverted or not. */
export function toned({ width, height, grey }, { level = 127.5, window = 255, inverted = false } = {}) {
  const tones = Uint32Array.from({ length: 256 }, (_, value) => {
    const bright = Math.min(255, Math.max(0, Math.round(((value - level) / window + 0.5) * 255)));
    return 0xff000000 | ((inverted ? 255 - bright : bright) * 0x010101);
  });
  const canvas = canvasOf(width, height);
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i += 1) pixels[i] = tones[grey[i]];
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

export function canvasOf(width, height) {
  const size = { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) };
  return Object.assign(document.createElement("canvas"), size);
}

async function read(blob) {
  const bitmap = await createImageBitmap(blob);
  const shrink = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const { width, height } = canvasOf(bitmap.width * shrink, bitmap.height * shrink);
  const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const luma = (i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]; // ITU-R 601, as the service
  return { width, height, grey: Uint8Array.from({ length: width * height }, (_, i) => Math.round(luma(4 * i))) };
}
