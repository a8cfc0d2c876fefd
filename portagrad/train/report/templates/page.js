"use strict";
// The values under the pointer, or at the place that the arrow keys chose.
for (const plot of document.querySelectorAll(".plot[data-points]")) {
  const points = JSON.parse(plot.dataset.points);
  const tip = plot.querySelector(".tip"), cursor = plot.querySelector(".cursor");
  let chosen = -1;
  const hide = () => { tip.hidden = cursor.hidden = true; };
  const show = (index) => {
    chosen = Math.max(0, Math.min(points.length - 1, index));
    const point = points[chosen], width = plot.clientWidth;
    tip.replaceChildren(Object.assign(document.createElement("strong"), { textContent: point.title }));
    for (const [tone, label, value] of point.rows) {
      const row = document.createElement("div"), name = document.createElement("span"), key = document.createElement("i");
      key.className = `key tone-${tone}`;
      name.append(key, label);
      row.append(name, Object.assign(document.createElement("span"), { textContent: value }));
      tip.append(row);
    }
    tip.hidden = cursor.hidden = false;
    cursor.style.left = `${point.x * 100}%`;
    const x = point.x * width, room = tip.offsetWidth + 12;
    tip.style.left = `${Math.max(-40, Math.min(width - tip.offsetWidth, x + room > width ? x - room : x + 12))}px`;
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    let best = 0;
    points.forEach((point, i) => { if (Math.abs(point.x - share) < Math.abs(points[best].x - share)) best = i; });
    show(best);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: points.length - 1 };
    if (event.key in moves) { event.preventDefault(); show(moves[event.key]); }
    if (event.key === "Escape") hide();
  });
}
// A graph wider than the page is first seen where it begins, in its middle.
addEventListener("load", () => {
  for (const paper of document.querySelectorAll(".paper")) {
    paper.scrollLeft = (paper.scrollWidth - paper.clientWidth) / 2;
  }
});
