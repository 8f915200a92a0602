// Memory: the settings of the last run stand in the address, so that a link repeats it; the runs of this visit stay in
// the browser alone (session storage) and can be shown again after a reload. Nothing is kept on the server.
"use strict";

(() => {
  const KEY = "samplesmith.runs", MOST = 24, SIDE = 256, LARGE = 400_000;

  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY)) || [];
    } catch {
      return [];
    }
  }

  // The oldest go where the browser has no room.
  function store(runs) {
    for (let some = runs.slice(-MOST); some.length; some = some.slice(1)) {
      try {
        sessionStorage.setItem(KEY, JSON.stringify(some));
        return;
      } catch {
        continue;
      }
    }
  }

  const asDataURL = (blob) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = reject;
      reader.readAsDataURL(blob);
    });

  async function picture(blob) {
    if (blob.size < 60_000) return asDataURL(blob);
    const bitmap = await createImageBitmap(blob);
    const share = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * share), Math.round(bitmap.height * share));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return asDataURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }));
  }

  // HTML in which the run's own files are part of the text.
  async function whole(html, cache) {
    const addresses = new Set([...html.matchAll(/(src|href)="(runs\/[^"]+)"/g)].map((found) => `${found[1]} ${found[2]}`));
    for (const one of addresses) {
      const [kind, address] = one.split(" ");
      if (!(one in cache)) {
        try {
          const answer = await fetch(address.replaceAll("&amp;", "&"));
          const blob = answer.ok ? await answer.blob() : null;
          cache[one] = !blob ? "" : kind === "src" ? await picture(blob) : blob.size < LARGE ? await asDataURL(blob) : "";
        } catch {
          cache[one] = "";
        }
      }
      html = html.replaceAll(`${kind}="${address}"`, `${kind}="${cache[one]}"`);
    }
    return html;
  }

  const settingsIn = (html) => {
    const place = new DOMParser().parseFromString(html, "text/html").querySelector("[data-settings]");
    return place ? JSON.parse(place.dataset.settings) : null;
  };

  // A run has ended well: its settings go into the address, and what it showed into this visit's memory.
  async function keep(tab, shown) {
    const settings = shown.map((one) => (typeof one === "string" ? settingsIn(one) : null)).find(Boolean);
    window.samplesmith.toAnswer();
    if (!settings) return;
    const query = new URLSearchParams({ tab });
    for (const [name, value] of Object.entries(settings)) {
      if (value !== null && value !== "") query.set(name, String(value));
    }
    history.replaceState(null, "", `?${query}`);
    const cache = {};
    const texts = [];
    for (const one of shown) texts.push(typeof one === "string" ? await whole(one, cache) : one);
    const first = Object.entries(cache).find(([one, data]) => one.startsWith("src") && data);
    const title = String(settings.prompt ?? settings.condition ?? settings.what ?? tab);
    store([...kept(), { id: `${Date.now()}`, tab, title, thumb: first ? first[1] : "", settings, shown: texts, address: `?${query}` }]);
    draw();
  }

  // The fields of an address; what it does not name keeps its value.
  function fields(names, values, from) {
    return names.map((name, k) => {
      if (!from.has(name)) return values[k];
      const text = from.get(name);
      if (typeof values[k] === "number") return Number.isFinite(Number(text)) ? Number(text) : values[k];
      if (typeof values[k] === "boolean") return text === "true";
      return text;
    });
  }

  let chosen = null;

  const open = (tab) => {
    const titles = document.querySelectorAll("button[role=tab], .overflow-dropdown button"); // a phone folds some away
    const title = [...titles].find((one) => one.textContent.trim() === tab);
    if (title && title.getAttribute("aria-selected") !== "true") title.click();
  };

  const press = (id) => document.querySelector(`#${id}`)?.click();

  // Arrival: a run of this address that is remembered is shown, else the link's run begins.
  function arrive() {
    const from = new URLSearchParams(location.search);
    const tab = from.get("tab");
    if (!tab) return;
    open(tab);
    const name = idOf(tab);
    chosen = kept().findLast((run) => run.address === location.search || run.address === `?${from}`) || null;
    wait(`#${chosen ? "restore" : "link"}-${name}`, () => press(`${chosen ? "restore" : "link"}-${name}`));
  }

  const idOf = (tab) => tab.toLowerCase().replaceAll(" ", "-");

  function wait(selector, then, tries = 100) {
    if (document.querySelector(selector)) setTimeout(then, 150);
    else if (tries) setTimeout(() => wait(selector, then, tries - 1), 100);
  }

  const restored = (names, values) => {
    if (!chosen) return values;
    const inputs = names.map((name, k) => (name in chosen.settings ? chosen.settings[name] : values[k]));
    setTimeout(window.samplesmith.toAnswer, 200);
    return [...inputs, ...chosen.shown];
  };

  const linked = (names, values) => fields(names, values, new URLSearchParams(location.search));

  function draw() {
    const runs = kept();
    for (const strip of document.querySelectorAll(".strip")) {
      if (!runs.length) continue;
      strip.replaceChildren();
      const label = document.createElement("b");
      label.textContent = "This visit:";
      strip.append(label);
      for (const run of runs.toReversed()) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "past";
        button.dataset.run = run.id;
        button.title = `Show this run of ${run.tab} again`;
        if (run.thumb) button.append(Object.assign(new Image(), { src: run.thumb, alt: "" }));
        button.append(Object.assign(document.createElement("span"), { textContent: run.title }));
        strip.append(button);
      }
    }
  }

  // A tab comes into being when it is first opened, and its strip with it.
  document.addEventListener("click", (event) => {
    if (event.target.closest("button[role=tab], .overflow-dropdown button")) wait(".strip:empty", draw, 20);
  });

  document.addEventListener("click", (event) => {
    const past = event.target.closest(".past");
    if (!past) return;
    chosen = kept().find((run) => run.id === past.dataset.run) || null;
    if (!chosen) return;
    open(chosen.tab);
    history.replaceState(null, "", chosen.address);
    wait(`#restore-${idOf(chosen.tab)}`, () => press(`restore-${idOf(chosen.tab)}`));
  });

  Object.assign(window.samplesmith, { keep, arrive, restored, linked, draw });
})();
