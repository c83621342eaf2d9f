
"use strict";
const main = document.querySelector("main"), cards = [...main.children];
const value = (card, key) => Number(card.dataset[key]);
const worse = (a, b) => value(a, "f1") - value(b, "f1") || value(a, "bleu") - value(b, "bleu");
const orders = {
  worst: worse,
  best: (a, b) => worse(b, a),
  doubtful: (a, b) => value(a, "score") - value(b, "score"),
  id: (a, b) => a.dataset.id.localeCompare(b.dataset.id, undefined, { numeric: true }),
};
let kind = "";

function arrange() {
  const words = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  cards.sort(orders[document.getElementById("sort").value]);
  for (const card of cards) {
    const text = card.textContent.toLowerCase();
    card.hidden = (kind && card.dataset.kind !== kind) || !words.every((word) => text.includes(word));
    shown += !card.hidden;
  }
  main.append(...cards);
  document.getElementById("shown").textContent = `${shown} of ${cards.length} shown`;
}

// The colours are those of heat, as strong as a place stands out from the mean of all images; the rim is painted twice.
function paint(canvas, levels, mean) {
  const side = Math.round(Math.sqrt(levels.length)), wide = side + 2, context = canvas.getContext("2d");
  canvas.width = canvas.height = wide;
  const pixels = context.createImageData(wide, wide), contrast = Math.min(1, (255 / mean - 1) / 3);
  const within = (i) => Math.min(side, Math.max(1, i)) - 1;
  for (let i = 0; i < wide * wide; i++) {
    const level = levels[within(Math.floor(i / wide)) * side + within(i % wide)];
    const heat = Math.max(0, level - mean) / Math.max(1, 255 - mean);
    pixels.data.set([255, 200 - 190 * heat, 40 - 30 * heat, 190 * contrast * Math.sqrt(heat)], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
}

function look(element) {
  const card = element.closest("article"), again = element.classList.contains("chosen");
  const pictures = card.querySelectorAll(".picture"), note = card.querySelector(".looked");
  card.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
  pictures.forEach((picture) => picture.classList.remove("seen"));
  note.textContent = "";
  if (again) return;
  element.classList.add("chosen");
  const maps = element.dataset.maps.split(" ").map((hex) => hex.match(/../g).map((byte) => parseInt(byte, 16)));
  const all = maps.flat(), mean = all.reduce((sum, level) => sum + level, 0) / all.length;
  maps.forEach((levels, i) => {
    paint(pictures[i].querySelector("canvas"), levels, mean);
    pictures[i].classList.add("seen");
  });
  note.textContent = element.dataset.note;
}

main.addEventListener("click", (event) => {
  const element = event.target.closest("[data-maps]");
  if (element) look(element);
});
main.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && event.target.dataset.maps) {
    event.preventDefault();
    look(event.target);
  }
});
document.querySelectorAll(".choice button").forEach((button) => button.addEventListener("click", () => {
  kind = button.dataset.kind;
  document.querySelectorAll(".choice button").forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
  arrange();
}));
document.getElementById("sort").addEventListener("change", arrange);
document.getElementById("find").addEventListener("input", arrange);
for (const card of cards) {
  const first = card.querySelector(".telling[data-maps]") ?? card.querySelector("[data-maps]");
  if (first) look(first);
}
arrange();
