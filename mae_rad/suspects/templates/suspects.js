"use strict";
const films = [...document.querySelectorAll("figure.film")];
let saved = true;
const answerOf = film => {
  if (film.querySelector(".keep-button").getAttribute("aria-pressed") === "true") return "keep";
  if (film.querySelector(".change-button").getAttribute("aria-pressed") === "true") return film.dataset.predicted;
  return film.querySelector("input").value.trim();
};
function show(film) {
  const answer = answerOf(film);
  film.classList.toggle("keep", answer === "keep");
  film.classList.toggle("change", answer !== "" && answer !== "keep");
  const answers = films.map(answerOf).filter(value => value);
  const kept = answers.filter(value => value === "keep").length;
  document.getElementById("tally").textContent =
    `${answers.length} of ${films.length} answered: ${kept} kept, ${answers.length - kept} to correct`;
  saved = false;
}
for (const film of films) {
  const input = film.querySelector("input"), buttons = [...film.querySelectorAll("button")];
  for (const button of buttons) button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && pressed));
    if (pressed) input.value = "";
    show(film);
  });
  input.addEventListener("input", () => {
    for (const button of buttons) button.setAttribute("aria-pressed", "false");
    show(film);
  });
}
window.addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
const cell = text => /[",\n;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
document.getElementById("save").addEventListener("click", () => {
  const rows = [["key", "field", "value"]];
  for (const film of films) {
    const answer = answerOf(film);
    if (answer) rows.push([film.dataset.key, film.dataset.field, answer]);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + rows.map(row => row.map(cell).join(",")).join("\n") + "\n"], {type: "text/csv"}));
  link.download = "suspects_answers.csv";
  link.click();
  saved = true;
});
