// The page's own behaviour beside gradio's: the theme is remembered, words and seeds go into their fields, the answer
// comes into view. Gradio draws its HTML anew at each update, so all of this listens on the document.
"use strict";

window.samplesmith = (() => {
  const phone = window.matchMedia("(max-width: 700px)");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  const panelOf = (element) => element.closest("[role=tabpanel]") || document.body;
  const isShown = (element) => element.getClientRects().length > 0;

  // A field of gradio's takes a value as if it were typed.
  function type(field, value) {
    const own = Object.getPrototypeOf(field);
    Object.getOwnPropertyDescriptor(own, "value").set.call(field, value);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function theme(toggle) {
    let dark = document.body.classList.contains("dark");
    try {
      const kept = localStorage.getItem("samplesmith.theme");
      if (toggle) localStorage.setItem("samplesmith.theme", dark ? "light" : "dark");
      dark = toggle ? !dark : kept ? kept === "dark" : dark;
    } catch {
      dark = toggle ? !dark : dark; // a browser that keeps nothing
    }
    document.body.classList.toggle("dark", dark);
  }

  // Into the prompt of the same tab: in the place of a word that is not known, or at the end.
  function word(chip) {
    const field = [...panelOf(chip).querySelectorAll("textarea")].find((one) => isShown(one) && !one.disabled);
    if (!field) return;
    const old = chip.dataset.replaces;
    if (old === "*") return type(field, chip.dataset.word);
    const at = old ? field.value.toLowerCase().indexOf(old.toLowerCase()) : -1;
    const text =
      at < 0
        ? `${field.value.trimEnd()} ${chip.dataset.word}`.trimStart()
        : field.value.slice(0, at) + chip.dataset.word + field.value.slice(at + old.length);
    type(field, text);
    if (at >= 0) panelOf(chip).querySelectorAll(".chip").forEach((one) => (one.dataset.replaces = ""));
  }

  function useSeed(seed) {
    const field = [...document.querySelectorAll(".seed input")].find((one) => isShown(panelOf(one)));
    if (field) type(field, String(seed));
    return Boolean(field);
  }

  // On a phone the answer stands below the controls: the view goes there. Where it is in view already, nothing moves.
  function toAnswer() {
    const answer = [...document.querySelectorAll(".answer")].find(isShown);
    if (!answer) return;
    const { top, bottom } = answer.getBoundingClientRect();
    if (phone.matches || top < 0 || bottom > window.innerHeight) {
      answer.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "start" });
    }
  }

  document.addEventListener("click", (event) => {
    const chip = event.target.closest(".chip");
    if (chip) return word(chip);
    const toggle = event.target.closest("[data-toggle]");
    if (toggle) {
      const on = document.body.classList.toggle(toggle.dataset.toggle);
      document.querySelectorAll(`[data-toggle=${toggle.dataset.toggle}]`).forEach((one) =>
        one.setAttribute("aria-pressed", String(on))
      );
    }
  });
  return { theme, type, toAnswer, useSeed, isShown };
})();
