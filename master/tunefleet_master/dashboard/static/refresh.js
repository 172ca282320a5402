// Fetches the page every few seconds and replaces its <main>. The page works without this script.
"use strict";

(() => {
  const live = document.getElementById("live");
  let busy = false;

  const seconds = () => Number(document.getElementById("main").dataset.refresh || 0);

  function isBeingUsed(main) {
    const selection = window.getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  }

  function stateOf(main) {
    const scrolls = [...main.querySelectorAll("[id]")]
      .filter((element) => element.scrollLeft || element.scrollTop)
      .map((element) => [element.id, element.scrollLeft, element.scrollTop]);
    const open = [...main.querySelectorAll("details[id]")].map((element) => [element.id, element.open]);
    const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    return () => {
      for (const [id, left, top] of scrolls) {
        const element = document.getElementById(id);
        if (element) element.scrollTo(left, top);
      }
      for (const [id, isOpen] of open) {
        const element = document.getElementById(id);
        if (element) element.open = isOpen;
      }
      if (focused) {
        const link = [...document.querySelectorAll("main a")].find((a) => a.getAttribute("href") === focused);
        if (link) link.focus({ preventScroll: true });
      }
    };
  }

  function replace(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("main");
    const main = document.getElementById("main");
    if (!fresh || fresh.innerHTML === main.innerHTML) return;
    const restore = stateOf(main);
    main.replaceWith(fresh);
    restore();
  }

  function show(text, state) {
    if (live.textContent !== text) live.textContent = text;
    live.className = `live ${state}`;
  }

  async function refresh() {
    if (busy || document.hidden || isBeingUsed(document.getElementById("main"))) return;
    busy = true;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!response.ok) throw new Error(String(response.status));
      replace(await response.text());
      show("live", "good");
    } catch {
      show("no response from the master", "bad");
    } finally {
      busy = false;
    }
  }

  function loop() {
    const wait = seconds();
    if (!wait) {
      show("", "");
      return;
    }
    setTimeout(() => refresh().then(loop), wait * 1000);
  }

  if (seconds()) show("live", "good");
  document.addEventListener("visibilitychange", () => { if (seconds()) refresh(); });
  loop();
})();
