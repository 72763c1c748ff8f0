// The error pages wear the theme that was chosen in the admin, and lead back where the reader came from.
(() => {
  "use strict";

  const chosen = (localStorage.getItem("adminTheme") ?? localStorage.getItem("_x_adminTheme") ?? "").replaceAll('"', "");
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", dark);

  document.addEventListener("DOMContentLoaded", () => {
    const back = document.querySelector("[data-back]");
    if (history.length < 2) return;
    back.hidden = false;
    back.addEventListener("click", (event) => {
      event.preventDefault();
      history.back();
    });
  });
})();
