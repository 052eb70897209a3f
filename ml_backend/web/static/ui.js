// What HTML alone cannot do: fresh fragments, the map's pictures, a question before a button.
// Fragments are rendered, and escaped, by the server. Every page works without this file.
"use strict";

async function fragment(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.redirected) {
    location.reload(); // signed out meanwhile
    return null;
  }
  return answer.text();
}

async function refresh(element) {
  if (document.hidden) {
    await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
  }
  let next = element;
  try {
    const text = await fragment(element.dataset.refresh);
    if (text === null) return;
    const holder = document.createElement("template");
    holder.innerHTML = text;
    next = holder.content.firstElementChild ?? element;
    if (next !== element && next.outerHTML !== element.outerHTML) element.replaceWith(next);
    else next = element;
  } catch {
    // The server is away for a moment: what is shown stays, and the next turn asks again.
  }
  setTimeout(refresh, 1000 * Number(next.dataset.every), next);
}

async function load(element) {
  try {
    const text = await fragment(element.dataset.load);
    if (text !== null) element.innerHTML = text;
  } catch {
    element.append("It did not answer.");
  }
}

function map(element) {
  const peek = element.querySelector(".peek");
  const svg = element.querySelector("svg.map");
  const show = (dot) => {
    const task = Number(dot.dataset.t);
    const picture = new Image(160, 120);
    picture.src = `${element.dataset.thumbs}${task}.jpg`;
    picture.alt = "";
    const words = document.createElement("span");
    words.textContent = `Task ${task}`;
    peek.replaceChildren(picture, words);
    const box = svg.getBoundingClientRect();
    const at = dot.getBoundingClientRect();
    peek.classList.toggle("left", at.left > box.left + box.width / 2);
    peek.classList.toggle("low", at.top > box.top + box.height / 2);
    peek.hidden = false;
  };
  svg.addEventListener("pointerover", (event) => {
    if (event.target.matches("circle")) show(event.target);
  });
  svg.addEventListener("pointerleave", () => (peek.hidden = true));
  svg.addEventListener("click", (event) => {
    if (event.target.matches("circle")) {
      window.open(`${element.dataset.map}${Number(event.target.dataset.t)}`, "_blank", "noopener");
    }
  });
}

// The server fetches a few pictures at a time and turns others away for a moment.
document.addEventListener(
  "error",
  (event) => {
    const picture = event.target;
    const tries = Number(picture.dataset?.tries ?? 0);
    if (!(picture instanceof HTMLImageElement) || tries >= 30) return;
    picture.dataset.tries = tries + 1;
    setTimeout(() => (picture.src = picture.src), 600 + 900 * Math.random());
  },
  true,
);
for (const element of document.querySelectorAll("[data-refresh]")) {
  setTimeout(refresh, 1000 * Number(element.dataset.every), element);
}
for (const element of document.querySelectorAll("[data-load]")) load(element);
for (const element of document.querySelectorAll("[data-map]")) map(element);
for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}
for (const box of document.querySelectorAll("[data-all]")) {
  box.closest("label").hidden = false;
  box.addEventListener("change", () => {
    for (const other of box.form.querySelectorAll("input[name=task]")) other.checked = box.checked;
  });
}
