"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);
const [svg, encoder, colouring, glass, facts, legend] = ["map", "encoder", "colouring", "glass", "facts", "legend"].map(element);
const NONE = "#c0c0c0";
let highlighted = null, kept = false, chosen = null;

const circles = data.thumbnails.map((_, film) => {
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  circle.setAttribute("r", 14);
  circle.dataset.film = film;
  svg.append(circle);
  return circle;
});

function colourOf(code, values) {
  const isNamed = code >= 0 && code < data.colours.length && values[code] !== "rare";
  return isNamed ? data.colours[code] : NONE;
}

function place() {
  const {x, y, percent} = data.maps[encoder.value];
  circles.forEach((circle, film) => {
    circle.setAttribute("cx", x[film]);
    circle.setAttribute("cy", y[film]);
  });
  element("variance").textContent = `Across: component 1, ${percent[0]} % of the variance. Up: component 2, ${percent[1]} %.`;
}

function paint() {
  const {values, codes} = data.colourings[colouring.value];
  circles.forEach((circle, film) => {
    circle.setAttribute("fill", colourOf(codes[film], values));
    circle.classList.toggle("faint", highlighted !== null && codes[film] !== highlighted);
  });
  for (const button of legend.querySelectorAll("button")) button.setAttribute("aria-pressed", Number(button.dataset.code) === highlighted);
}

function list() {
  const {values, codes} = data.colourings[colouring.value];
  const counts = values.map((_, code) => codes.filter(other => other === code).length);
  const entries = values.map((value, code) => [value, code, counts[code]]);
  const unknown = codes.filter(code => code < 0).length;
  if (unknown) entries.push(["not stated", -1, unknown]);
  legend.replaceChildren(...entries.map(([value, code, count]) => {
    const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("i");
    dot.style.background = colourOf(code, values);
    button.append(dot, `${value} (${count.toLocaleString("en")})`);
    button.type = "button";
    button.dataset.code = code;
    button.addEventListener("click", () => { highlighted = highlighted === code ? null : code; paint(); });
    item.append(button);
    return item;
  }));
}

function show(circle) {
  if (chosen) chosen.classList.remove("chosen");
  chosen = circle;
  circle.classList.add("chosen");
  const film = Number(circle.dataset.film), thumbnail = data.thumbnails[film];
  const picture = document.createElement("img");
  picture.src = `data:image/jpeg;base64,${thumbnail}`;
  picture.alt = "the film";
  glass.replaceChildren(thumbnail ? picture : "the film cannot be read");
  facts.replaceChildren(...Object.entries(data.colourings).flatMap(([name, {values, codes}]) => {
    const term = document.createElement("dt"), value = document.createElement("dd");
    term.textContent = name;
    value.textContent = codes[film] < 0 ? "not stated" : values[codes[film]];
    return [term, value];
  }));
}

svg.addEventListener("pointerover", event => {
  if (event.target.dataset.film !== undefined && !kept) show(event.target);
});
svg.addEventListener("click", event => {
  const isFilm = event.target.dataset.film !== undefined;
  kept = isFilm && !(kept && event.target === chosen);
  if (isFilm) show(event.target);
});
encoder.addEventListener("change", place);
colouring.addEventListener("change", () => { highlighted = null; list(); paint(); });
place();
list();
paint();
