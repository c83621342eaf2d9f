/** One image on a canvas: zoom, pan, window and level, inverted or not, with boxes and a heatmap over it. */

import { canvasOf, toned } from "./pictures.js";

const BOX = "#5cc8ff";
const BOX_LIT = "#ffe08a";
const MAX_ZOOM = 16;

export class Viewer {
  #canvas; #context; #picture = null; #film = null; #boxes = []; #heat = null; #lit = [];
  #tone = { level: 127.5, width: 255, inverted: false };
  #zoom = 1; #x = 0; #y = 0; #pointers = new Map(); #moved = false;
  tool = "window"; showBoxes = true; opacity = 0.5;
  /** Told where a pointer is over the image, in its pixels, or null; and the same of clicks. */
  onpoint = () => {}; onclick = () => {}; ontone = () => {};

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#draw()).observe(canvas);
    for (const [name, listen] of Object.entries({
      pointerdown: (event) => this.#press(event), pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#release(event), pointercancel: (event) => this.#release(event),
      pointerleave: () => this.onpoint(null), contextmenu: (event) => event.preventDefault(),
      keydown: (event) => this.#key(event), dblclick: () => this.reset(),
    })) canvas.addEventListener(name, listen);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), ...this.#place(event));
    }, { passive: false });
  }

  /** Another image, as it comes; null is none. */
  show(picture) {
    this.#picture = picture;
    this.#film = picture && canvasOf(picture.width, picture.height);
    this.mark([], null, []);
    this.reset();
  }

  /** Boxes {name, words, left, top, right, bottom}, a heatmap {levels, box}, both in pixels of the picture, and the names
   * of the boxes that are lit. */
  mark(boxes, heat, names) {
    [this.#boxes, this.#heat, this.#lit] = [boxes, heat && { film: heatFilm(heat.levels), ...heat.box }, names];
    this.#draw();
  }

  reset() {
    [this.#zoom, this.#x, this.#y] = [1, 0, 0];
    this.tone({ level: 127.5, width: 255, inverted: false });
  }

  /** Changes level, width or inversion. */
  tone(change) {
    Object.assign(this.#tone, change);
    this.#tone.width = Math.min(510, Math.max(4, this.#tone.width));
    this.#tone.level = Math.min(255, Math.max(0, this.#tone.level));
    if (this.#picture) toned(this.#picture, this.#tone, this.#film);
    this.ontone({ ...this.#tone, zoom: this.#zoom });
    this.#draw();
  }

  invert() { this.tone({ inverted: !this.#tone.inverted }); }

  redraw() { this.#draw(); }

  zoomBy(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.#zoom * factor));
    const share = zoom / this.#zoom;
    const [left, top] = this.#corner();
    this.#zoom = zoom;
    const [newLeft, newTop] = this.#corner();
    this.#pan(x - (x - left) * share - newLeft, y - (y - top) * share - newTop);
    this.ontone({ ...this.#tone, zoom });
  }

  get #scale() { // CSS pixels a pixel of the picture
    const { clientWidth, clientHeight } = this.#canvas;
    return this.#zoom * Math.min(clientWidth / this.#picture.width, clientHeight / this.#picture.height);
  }

  #corner() {
    if (!this.#picture) return [0, 0];
    const { clientWidth, clientHeight } = this.#canvas;
    const [wide, high] = [this.#picture.width * this.#scale, this.#picture.height * this.#scale];
    return [(clientWidth - wide) / 2 + this.#x, (clientHeight - high) / 2 + this.#y];
  }

  #pan(across, down) {
    if (!this.#picture) return;
    const bound = (value, size, room) => Math.min(Math.max(0, (size - room) / 2), Math.max(-Math.max(0, (size - room) / 2), value));
    this.#x = bound(this.#x + across, this.#picture.width * this.#scale, this.#canvas.clientWidth);
    this.#y = bound(this.#y + down, this.#picture.height * this.#scale, this.#canvas.clientHeight);
    this.#draw();
  }

  #place(event) {
    const { left, top } = this.#canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #inPicture(event) {
    const [x, y] = this.#place(event);
    const [left, top] = this.#corner();
    return [(x - left) / this.#scale, (y - top) / this.#scale];
  }

  #press(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
    this.#moved = this.#pointers.size > 1;
  }

  #move(event) {
    if (!this.#picture) return;
    const before = this.#pointers.get(event.pointerId);
    if (!before) return void this.onpoint(this.#inPicture(event));
    const [across, down] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!this.#moved && Math.hypot(across, down) < 4) return;
    this.#moved = true;
    const [other] = [...this.#pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    if (other) {
      this.zoomBy(apart(event) / Math.max(1, apart(before)), ...this.#place(event));
      this.#pan(across / 2, down / 2);
    } else if (this.tool === "pan" || event.shiftKey || event.buttons & 6) this.#pan(across, down);
    else this.tone({ level: this.#tone.level - down / 2, width: this.#tone.width + across });
    this.#pointers.set(event.pointerId, event);
  }

  #release(event) {
    if (this.#pointers.delete(event.pointerId) && !this.#moved && this.#picture && event.type === "pointerup") {
      this.onclick(this.#inPicture(event));
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { level, width } = this.#tone;
    const arrow = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const act = arrow && event.shiftKey
      ? () => this.tone({ width: width - 8 * arrow[0], level: level + 4 * arrow[1] })
      : arrow ? () => this.#pan(40 * arrow[0], 40 * arrow[1])
        : { "+": () => this.zoomBy(1.25), "=": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8),
          i: () => this.invert(), 0: () => this.reset() }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #draw() {
    const { clientWidth, clientHeight } = this.#canvas;
    const dense = window.devicePixelRatio || 1;
    const size = [Math.round(clientWidth * dense), Math.round(clientHeight * dense)];
    if (this.#canvas.width !== size[0] || this.#canvas.height !== size[1]) [this.#canvas.width, this.#canvas.height] = size;
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, ...size);
    if (!this.#picture || !clientWidth) return;
    const { width, height } = this.#picture;
    const scale = this.#scale;
    const [left, top] = this.#corner();
    context.setTransform(scale * dense, 0, 0, scale * dense, left * dense, top * dense);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#film, 0, 0);
    if (this.#heat) {
      context.save();
      context.beginPath();
      context.rect(0, 0, width, height);
      context.clip();
      context.globalAlpha = this.opacity;
      const { film, left: x, top: y, right, bottom } = this.#heat;
      context.drawImage(film, x, y, right - x, bottom - y);
      context.restore();
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    const shown = this.#boxes.filter(({ name }) => this.showBoxes || this.#lit.includes(name));
    const last = ({ name }) => this.#lit.includes(name);
    for (const box of shown.sort((a, b) => last(a) - last(b))) this.#box(box, scale, left, top);
  }

  #box(box, scale, left, top) {
    const context = this.#context;
    const lit = this.#lit.includes(box.name);
    const place = [left + box.left * scale, top + box.top * scale];
    const size = [(box.right - box.left) * scale, (box.bottom - box.top) * scale];
    context.globalAlpha = lit || !this.#lit.length ? 1 : 0.35;
    for (const [width, colour] of [[lit ? 5 : 3.5, "#0009"], [lit ? 2.5 : 1.5, lit ? BOX_LIT : BOX]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: colour });
      context.beginPath();
      context.roundRect(...place, ...size, 3);
      context.stroke();
    }
    const words = lit ? `${box.label}: ${box.words}` : box.label;
    context.font = `${lit ? 600 : 500} 12px system-ui, sans-serif`;
    const wide = context.measureText(words).width + 12;
    const x = Math.max(4, Math.min(place[0], this.#canvas.clientWidth - wide - 4));
    const y = Math.max(4, place[1] - 22);
    context.fillStyle = lit ? BOX_LIT : "#0b1118cc";
    context.beginPath();
    context.roundRect(x, y, wide, 19, 4);
    context.fill();
    context.fillStyle = lit ? "#1a1400" : BOX;
    context.fillText(words, x + 6, y + 13.5);
    context.globalAlpha = 1;
  }
}

/** A small canvas, a pixel a cell: the higher a level above the lowest, the more opaque and the nearer to yellow. */
function heatFilm(levels) {
  const low = Math.min(...levels.flat());
  const canvas = canvasOf(levels[0].length, levels.length);
  const context = canvas.getContext("2d");
  const data = context.createImageData(canvas.width, canvas.height);
  levels.flat().forEach((level, i) => {
    const share = (level - low) / (256 - low);
    data.data.set([230 + 25 * share, 70 + 150 * share, 40, 255 * Math.sqrt(share)], 4 * i);
  });
  context.putImageData(data, 0, 0);
  return canvas;
}
