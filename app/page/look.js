// Looking closely: a picture large, with its pixels crisp, its neighbours by the arrow keys, any two side by side or
// under a slider. A <dialog> does the rest: it holds the focus, and Esc closes it.
"use strict";

(() => {
  let dialog, parts, all = [], at = 0, pinned = null, slider = false, opener = null;

  function build() {
    dialog = document.createElement("dialog");
    dialog.className = "closely";
    dialog.setAttribute("aria-label", "Look closely");
    dialog.innerHTML =
      '<div class="bar-of-look">' +
      '<button type="button" data-do="back" aria-label="Previous picture">‹</button>' +
      '<button type="button" data-do="on" aria-label="Next picture">›</button>' +
      '<button type="button" data-do="pin" aria-pressed="false">Pin to compare</button>' +
      '<button type="button" data-do="slide" aria-pressed="false" hidden>Slider</button>' +
      '<button type="button" data-do="seed" hidden>Use this seed</button>' +
      '<button type="button" data-do="boxes" aria-pressed="false" hidden>What the judge sees</button>' +
      '<button type="button" data-do="close">Close</button></div>' +
      '<div class="stage"><div class="side pinned" hidden></div><div class="side current"></div></div>' +
      '<label class="slide" hidden>before and after <input type="range" min="0" max="100" value="50"></label>' +
      '<p class="said-of-look" aria-live="polite"></p>' +
      '<p class="keys">Arrow keys: the next picture. P: pin this one, then go to another. Esc: close.</p>';
    (document.querySelector(".gradio-container") || document.body).append(dialog);
    parts = {
      pinned: dialog.querySelector(".pinned"),
      current: dialog.querySelector(".current"),
      stage: dialog.querySelector(".stage"),
      slide: dialog.querySelector(".slide"),
      range: dialog.querySelector("input"),
      said: dialog.querySelector(".said-of-look"),
    };
    for (const name of ["pin", "slide", "seed", "boxes"]) parts[`do-${name}`] = dialog.querySelector(`[data-do=${name}]`);
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) return dialog.close();
      const button = event.target.closest("[data-do]");
      if (button) actions[button.dataset.do]();
    });
    dialog.addEventListener("keydown", (event) => {
      const key = { ArrowRight: "on", ArrowDown: "on", ArrowLeft: "back", ArrowUp: "back", p: "pin", P: "pin" }[event.key];
      if (!key || (event.target === parts.range && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      actions[key]();
    });
    parts.range.addEventListener("input", () => parts.stage.style.setProperty("--share", `${parts.range.value}%`));
    dialog.addEventListener("close", () => {
      pinned = null;
      slider = false;
      if (opener && opener.isConnected) opener.focus();
    });
  }

  const actions = {
    on: () => go(1),
    back: () => go(-1),
    pin: () => {
      pinned = pinned ? null : copyOf(all[at]);
      slider = false;
      if (pinned && all.length > 1 && at + 1 < all.length) at += 1;
      else if (pinned && at > 0) at -= 1;
      show();
    },
    slide: () => {
      slider = !slider;
      show();
    },
    seed: () => {
      if (window.samplesmith.useSeed(all[at].dataset.seed)) dialog.close();
    },
    boxes: () => {
      const on = document.body.classList.toggle("see");
      document.querySelectorAll("[data-toggle=see]").forEach((one) => one.setAttribute("aria-pressed", String(on)));
      show();
    },
    close: () => dialog.close(),
  };

  function go(step) {
    at = (at + step + all.length) % all.length;
    show();
  }

  // A picture as it is now: gradio may draw the page anew under the open dialog.
  function copyOf(look) {
    const img = look.querySelector("img");
    return { src: img.src, alt: img.alt, boxes: look.querySelector(".boxes")?.outerHTML || "", seed: look.dataset.seed };
  }

  function place(side, one) {
    const img = document.createElement("img");
    img.alt = one.alt;
    img.addEventListener("load", () => fit(img));
    img.src = one.src;
    side.replaceChildren(img);
    side.insertAdjacentHTML("beforeend", one.boxes);
  }

  // Small pictures grow by a whole number, so that each pixel stays a square.
  function fit(img) {
    const columns = pinned && !slider && window.innerWidth > 700 ? 2 : 1;
    const rows = pinned && !slider && columns === 1 ? 2 : 1;
    const width = (window.innerWidth - 48) / columns, height = (window.innerHeight - 220) / rows;
    const share = Math.min(width / img.naturalWidth, height / img.naturalHeight);
    const times = share >= 1 ? Math.floor(share) : share;
    img.style.width = `${Math.max(1, Math.floor(img.naturalWidth * times))}px`;
    img.classList.toggle("crisp", share >= 1);
  }

  function show() {
    const now = copyOf(all[at]);
    place(parts.current, now);
    parts.pinned.hidden = !pinned;
    if (pinned) place(parts.pinned, pinned);
    else parts.pinned.replaceChildren();
    parts.stage.classList.toggle("sliding", Boolean(pinned) && slider);
    parts["do-pin"].setAttribute("aria-pressed", String(Boolean(pinned)));
    parts["do-pin"].textContent = pinned ? "Unpin" : "Pin to compare";
    parts["do-slide"].hidden = !pinned;
    parts["do-slide"].setAttribute("aria-pressed", String(slider));
    parts.slide.hidden = !(pinned && slider);
    parts["do-seed"].hidden = now.seed === undefined;
    parts["do-boxes"].hidden = !now.boxes && !(pinned && pinned.boxes);
    parts["do-boxes"].setAttribute("aria-pressed", String(document.body.classList.contains("see")));
    parts.said.textContent = pinned ? `${pinned.alt}; beside it: ${now.alt}` : `${at + 1} of ${all.length}: ${now.alt}`;
  }

  document.addEventListener("click", (event) => {
    const look = event.target.closest(".look");
    if (!look || look.closest("dialog")) return;
    if (!dialog) build();
    const panel = look.closest("[role=tabpanel]") || document.body;
    all = [...panel.querySelectorAll(".look")].filter(window.samplesmith.isShown);
    at = all.indexOf(look);
    opener = look;
    show();
    dialog.showModal();
  });
  window.addEventListener("resize", () => dialog?.open && show());
})();
