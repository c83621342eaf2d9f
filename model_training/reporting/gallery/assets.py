"""Frame, style and script of the gallery page. No build step, nothing external; the policy in the head enforces it."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title: gallery</title>
<style>$style</style>
</head>
<body>
<header class="top">
<div><h1>$title</h1><p>$subtitle. <strong>$disclaimer</strong></p></div>
<div class="tiles">$tiles</div>
</header>
<nav>
<label>Sort <select id="sort">
<option value="worst">worst first</option>
<option value="best">best first</option>
<option value="doubtful">least confident first</option>
<option value="id">by study</option>
</select></label>
<div class="choice" role="group" aria-label="Studies">
<button data-kind="" aria-pressed="true">all</button>
<button data-kind="normal" aria-pressed="false">normal</button>
<button data-kind="abnormal" aria-pressed="false">abnormal</button>
</div>
<input id="find" type="search" placeholder="words, finding, study" aria-label="Find">
<span id="shown" aria-live="polite"></span>
<span class="legend"><mark class="missing">missing in the prediction</mark> <mark>only in the prediction</mark>
<span class="label hit">✓ named</span> <span class="label missed">− missed</span>
<span class="label invented">+ invented</span></span>
</nav>
<p class="hint">Choose a sentence of the prediction or a finding to see where the model looked.
What is spread evenly does not show.</p>
<main>
$cards
</main>
<script>$script</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1b2330; --faint: #667085; --line: #e3e6eb;
  --track: #e9ecf1; --accent: #2563eb; --on-accent: #fff; --good: #127a4b; --good-back: #e2f5ea; --bad: #b42318;
  --bad-back: #fde7e4; --miss: #8a5a00; --miss-back: #fdf0d0; --extra: #1d4ed8; --extra-back: #e3ebfd; }
@media (prefers-color-scheme: dark) { :root { --page: #11151c; --card: #1a202a; --ink: #e6e9ef; --faint: #98a2b3;
  --line: #2b3341; --track: #2a3240; --accent: #6ea0ff; --on-accent: #0c1424; --good: #5fd39b; --good-back: #12372a;
  --bad: #ff8f84; --bad-back: #46201d; --miss: #f0c465; --miss-back: #40321a; --extra: #9dbdff;
  --extra-back: #1f2f52; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; padding: 0 24px 48px; }
.top { display: flex; flex-wrap: wrap; gap: 16px 48px; justify-content: space-between; align-items: end;
  padding: 28px 0 18px; max-width: 1500px; margin: auto; }
h1 { font-size: 24px; line-height: 1.25; letter-spacing: -.01em; }
.top p, .hint { color: var(--faint); }
.tiles { display: flex; gap: 28px; }
.tiles b { display: block; font-size: 22px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--faint); font-size: 13px; }
nav { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: center;
  padding: 10px 0; background: var(--page); border-bottom: 1px solid var(--line); max-width: 1500px; margin: auto; }
nav select, nav input, nav button { font: inherit; color: inherit; background: var(--card); padding: 4px 10px;
  border: 1px solid var(--line); border-radius: 8px; }
nav input { width: 220px; }
.choice { display: flex; }
.choice button { border-radius: 0; margin-left: -1px; cursor: pointer; }
.choice button:first-child { border-radius: 8px 0 0 8px; }
.choice button:last-child { border-radius: 0 8px 8px 0; }
.choice [aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
#shown { color: var(--faint); }
.legend { margin-left: auto; font-size: 13px; }
.hint { max-width: 1500px; margin: 14px auto 0; font-size: 14px; }
main { max-width: 1500px; margin: 10px auto 0; display: grid; gap: 18px; }
article { display: grid; grid-template-columns: minmax(0, 430px) minmax(0, 1fr) 300px; gap: 14px 26px;
  padding: 18px 20px; background: var(--card); border: 1px solid var(--line); border-radius: 14px; }
article[hidden] { display: none; }
article > header { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; }
h2 { font-size: 17px; margin-right: 4px; }
.figures { margin-left: auto; color: var(--faint); font-size: 14px; font-variant-numeric: tabular-nums; }
.figures b { color: var(--ink); }
.badge, .label { font-size: 13px; line-height: 1; padding: 4px 9px; border-radius: 99px; white-space: nowrap; }
.badge { border: 1px solid var(--line); color: var(--faint); }
.hit { background: var(--good-back); color: var(--good); }
.missed { background: var(--miss-back); color: var(--miss); }
.invented { background: var(--bad-back); color: var(--bad); }
.views { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; align-content: start; }
.picture { position: relative; background: #000; border-radius: 10px; overflow: hidden; }
.picture img { display: block; width: 100%; height: 100%; }
.picture canvas { position: absolute; opacity: 0; transition: opacity .15s; }
.picture.seen canvas { opacity: 1; }
figcaption .wrong { color: var(--bad); }
figcaption { color: var(--faint); font-size: 13px; padding-top: 4px; text-align: center; }
.looked { grid-column: 1 / -1; color: var(--faint); font-size: 13px; min-height: 1.5em; }
.text { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 26px; align-content: start; }
h3 { font-size: 14px; padding-bottom: 4px; border-bottom: 2px solid var(--line); }
h4 { font-size: 12px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--faint);
  margin-top: 10px; }
.none { color: var(--faint); font-style: italic; margin-top: 10px; }
mark { background: var(--extra-back); color: var(--extra); border-radius: 4px; padding: 1px 3px; margin: 0 -3px; }
.reference mark, mark.missing { background: var(--miss-back); color: var(--miss); }
.legend mark { margin: 0; padding: 3px 7px; }
.prediction ul { margin-top: 14px; padding: 8px 12px 8px 26px; border-radius: 8px; background: var(--miss-back);
  color: var(--miss); font-size: 13.5px; line-height: 1.4; }
.prediction li + li { margin-top: 5px; }
[data-maps] { cursor: pointer; }
.sentence { border-radius: 4px; text-decoration: underline dotted transparent;
  text-underline-offset: 3px; }
.sentence[data-maps]:hover, .sentence:focus-visible { text-decoration-color: var(--accent); outline: none; }
.sentence.chosen { text-decoration: underline solid var(--accent) 2px; }
.bar:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px; }
.bar[data-maps]:hover > span, .bar.chosen > span { text-decoration: underline var(--accent) 2px;
  text-underline-offset: 3px; }
.bars { display: grid; gap: 7px 28px; align-content: start; font-size: 13.5px; }
.bar { display: grid; grid-template-columns: 10px 142px 1fr 38px; gap: 8px; align-items: center; line-height: 1.2; }
.bar > span { color: var(--faint); }
.bar b { font-weight: 500; text-align: right; font-variant-numeric: tabular-nums; color: var(--faint); }
.bar.present > span, .bar.present b { color: var(--ink); font-weight: 600; }
.bar i { width: 10px; height: 10px; border-radius: 50%; border: 1.5px solid var(--faint); }
.bar i.on { background: var(--ink); border-color: var(--ink); }
.bar i.unknown { border-style: dotted; opacity: .5; }
.bar.wrong i { border-color: var(--bad); }
.bar.wrong i.on { background: var(--bad); }
.track { position: relative; height: 9px; border-radius: 5px; background: var(--track); }
.track div { height: 100%; min-width: 2px; border-radius: 5px; background: #9db4d8; }
.bar.present .track div { background: var(--accent); }
.bar.wrong .track div { background: var(--bad); }
.track s { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px; background: var(--ink);
  opacity: .55; }
@media (max-width: 1250px) { article { grid-template-columns: minmax(0, 340px) minmax(0, 1fr); }
  .bars { grid-column: 1 / -1; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); } }
@media (max-width: 860px) { body { padding: 0 12px 32px; } article, .text { grid-template-columns: minmax(0, 1fr); }
  .legend { margin-left: 0; } .tiles { flex-wrap: wrap; } }
@media print { nav, .hint { display: none; } article { break-inside: avoid; } }
"""

SCRIPT = """
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
  const words = document.getElementById("find").value.toLowerCase().split(/\\s+/).filter(Boolean);
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
"""
