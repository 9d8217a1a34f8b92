// Keeps the live part of a meter's page fresh: fetched again while the page is looked at.
"use strict";
(() => {
  const EVERY_MS = 3000;
  const panel = document.getElementById("panel");
  if (!panel) return;
  let busy = false;

  async function refresh() {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(panel.dataset.url, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) return;
      const open = panel.querySelector("details")?.open;
      panel.innerHTML = await answer.text();
      const details = panel.querySelector("details");
      if (details) details.open = Boolean(open);
    } catch {
      // away for a moment: the next turn tries again
    } finally {
      busy = false;
    }
  }

  setInterval(refresh, EVERY_MS);
})();
