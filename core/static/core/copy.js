// Buttons that copy the text of another element: data-copy holds its id. They are hidden where scripts do not run.
(() => {
  "use strict";

  const offer = () => {
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without HTTPS a browser may refuse; then the text is marked, and the reader copies it.
      getSelection().selectAllChildren(source);
      button.textContent = "Marked: now copy it";
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
  document.addEventListener("htmx:afterSettle", offer);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", offer);
  else offer();
})();
