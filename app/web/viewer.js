/** One image on a canvas: zoom, pan, window and level, inverted or not, with boxes and a heatmap over it. */
import { canvasOf, toned } from "./pictures.js";

const QUIET = "#7cc4ff", LIT = "#ffe08a", SHADOW = "#000a";
const CORNER = 10, MAX_ZOOM = 16;
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const bounded = (value, low, high) => Math.min(high, Math.max(low, value));

export class Viewer {
  #canvas; #picture = null; #film = null; #boxes = []; #heat = null; #names = [];
  #level = 127.5; #window = 255; #inverted = false;
  #zoom = 1; #x = 0; #y = 0; #pointers = new Map(); #moved = false;
  tool = "window"; showBoxes = true; opacity = 0.5;
  /** Told where over the image the pointer is, in its pixels, or null; where it was clicked; and of every change. */
  onpoint; onpick; onchange;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    const listeners = {
      pointerdown: this.#press, pointermove: this.#move, pointerup: this.#release, pointercancel: this.#release,
      pointerleave: () => this.onpoint(null), keydown: this.#key, wheel: this.#wheel,
    };
    for (const [name, listen] of Object.entries(listeners)) canvas.addEventListener(name, listen.bind(this));
  }

  /** Another image; undefined is none. */
  show(picture) {
    this.#picture = picture;
    this.reset();
  }

  /** Boxes {name, words, left, top, right, bottom}, a heatmap {levels, box}, both in pixels of the picture, and the
   * names of the boxes that are lit. */
  mark(boxes, heat, names) {
    [this.#boxes, this.#heat, this.#names] = [boxes, heat && { film: heatFilm(heat.levels), ...heat.box }, names];
    this.draw();
  }

  reset() {
    [this.#zoom, this.#x, this.#y, this.#inverted] = [1, 0, 0, false];
    this.#tone(255, 127.5);
  }

  invert() {
    this.#inverted = !this.#inverted;
    this.#tone(this.#window, this.#level);
  }

  /** Zooms so that a place of the canvas stays where it is. */
  zoomBy(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const { left, top, scale } = this.#frame;
    this.#zoom = bounded(this.#zoom * factor, 1, MAX_ZOOM);
    const after = this.#frame;
    this.#pan(x - ((x - left) / scale) * after.scale - after.left, y - ((y - top) / scale) * after.scale - after.top);
  }

  #tone(window, level) {
    [this.#window, this.#level] = [bounded(window, 4, 510), bounded(level, 0, 255)];
    const tone = { level: this.#level, window: this.#window, inverted: this.#inverted };
    this.#film = this.#picture && toned(this.#picture, tone);
    this.draw();
  }

  /** Where the picture lies on the canvas, and CSS pixels a pixel of it. */
  get #frame() {
    const { clientWidth, clientHeight } = this.#canvas;
    const { width, height } = this.#picture ?? { width: 1, height: 1 };
    const scale = this.#zoom * Math.min(clientWidth / width, clientHeight / height);
    const [spareX, spareY] = [clientWidth - width * scale, clientHeight - height * scale];
    return { scale, spareX, spareY, left: spareX / 2 + this.#x, top: spareY / 2 + this.#y };
  }

  #pan(across, down) {
    const { spareX, spareY } = this.#frame;
    const [mostX, mostY] = [Math.max(0, -spareX / 2), Math.max(0, -spareY / 2)];
    [this.#x, this.#y] = [bounded(this.#x + across, -mostX, mostX), bounded(this.#y + down, -mostY, mostY)];
    this.draw();
  }

  #inPicture({ offsetX, offsetY }) {
    const { left, top, scale } = this.#frame;
    return [(offsetX - left) / scale, (offsetY - top) / scale];
  }

  #press(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
    this.#moved = this.#pointers.size > 1;
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.onpoint(this.#inPicture(event));
    const [across, down] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!this.#moved && Math.hypot(across, down) < 4) return undefined;
    this.#moved = true;
    this.#pointers.set(event.pointerId, event);
    const other = [...this.#pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    if (other) { // two fingers
      const apart = (one) => Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
      this.zoomBy(apart(event) / apart(before), event.offsetX, event.offsetY);
    } else if (this.tool === "pan" || event.shiftKey) return this.#pan(across, down);
    return other ? this.#pan(across / 2, down / 2) : this.#tone(this.#window + across, this.#level - down / 2);
  }

  #release(event) {
    const pressed = this.#pointers.delete(event.pointerId);
    if (pressed && !this.#moved && event.type === "pointerup") this.onpick(this.#inPicture(event));
  }

  #wheel(event) {
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }

  #key(event) {
    const [across, down] = ARROWS[event.key] ?? [0, 0];
    if (!across && !down) return;
    event.preventDefault();
    if (event.shiftKey) this.#tone(this.#window - 8 * across, this.#level + 4 * down);
    else this.#pan(40 * across, 40 * down);
  }

  draw() {
    const { clientWidth, clientHeight } = this.#canvas;
    const dense = devicePixelRatio;
    Object.assign(this.#canvas, { width: clientWidth * dense, height: clientHeight * dense }); // which empties it
    if (!this.#film || !clientWidth) return;
    this.onchange({ window: this.#window, level: this.#level, zoom: this.#zoom, inverted: this.#inverted });
    const context = this.#canvas.getContext("2d");
    const frame = this.#frame;
    context.setTransform(frame.scale * dense, 0, 0, frame.scale * dense, frame.left * dense, frame.top * dense);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#film, 0, 0);
    if (this.#heat) {
      const { film, left, top, right, bottom } = this.#heat;
      Object.assign(context, { globalAlpha: this.opacity, globalCompositeOperation: "source-atop" }); // on the film
      context.drawImage(film, left, top, right - left, bottom - top);
      context.globalCompositeOperation = "source-over";
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    for (const lit of [false, true]) {
      for (const [i, box] of this.#boxes.filter(({ name }) => this.#names.includes(name) === lit).entries()) {
        if (lit || this.showBoxes) this.#drawBox(context, box, frame, lit && i + 1);
      }
    }
  }

  /** Whole where it is the first, second, … that is lit, with its words above or, in turns, below; else its corners. */
  #drawBox(context, box, { left, top, scale }, lit) {
    const [x, y] = [left + box.left * scale, top + box.top * scale];
    const [wide, high] = [(box.right - box.left) * scale, (box.bottom - box.top) * scale];
    const corners = [wide, high].flatMap((side) => [CORNER, Math.max(0, side - 2 * CORNER), CORNER, 0]);
    context.globalAlpha = lit || !this.#names.length ? 1 : 0.35;
    context.setLineDash(lit ? [] : corners);
    for (const [lineWidth, strokeStyle] of [[4, SHADOW], [lit ? 2.5 : 1.5, lit ? LIT : QUIET]]) {
      Object.assign(context, { lineWidth, strokeStyle }).strokeRect(x, y, wide, high);
    }
    context.globalAlpha = 1;
    if (!lit) return;
    context.font = "600 13px system-ui, sans-serif";
    const length = context.measureText(box.words).width + 14;
    const wordsX = bounded(x, 4, this.#canvas.clientWidth - length - 4);
    const wordsY = bounded(lit % 2 ? y - 25 : y + high + 3, 4, this.#canvas.clientHeight - 26);
    Object.assign(context, { fillStyle: LIT }).fillRect(wordsX, wordsY, length, 22);
    Object.assign(context, { fillStyle: "#1a1400" }).fillText(box.words, wordsX + 7, wordsY + 15.5);
  }
}

/** A small canvas, a pixel a cell: the higher a level above the lowest, the more opaque and the nearer to yellow. */
function heatFilm(levels) {
  const cells = levels.flat();
  const low = Math.min(...cells);
  const data = new ImageData(levels[0].length, levels.length);
  const colour = (share) => [235 + 20 * share, 90 + 140 * share, 40, 255 * share];
  cells.forEach((level, i) => data.data.set(colour((level - low) / (256 - low)), 4 * i));
  const canvas = canvasOf(data.width, data.height);
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}
