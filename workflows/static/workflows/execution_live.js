// The page of an execution: htmx renews it while it runs. What the reader has opened, focused or scrolled stays so.
(() => {
  "use strict";

  const ROOTS = "#execution-live, #execution-steps";
  const LIVE_ID = "execution-live";
  let kept = null;

  const summaries = () => [...document.querySelectorAll("#execution-steps details")];
  const scrollers = () => [...document.querySelectorAll("#execution-steps .code, #timeline")];
  // A fold inside a step has no id of its own: its place inside the step names it.
  const nameOf = (node) => {
    const step = node.closest("details.step");
    const inside = step ? [...step.querySelectorAll("details, .code, summary, button")].indexOf(node) : -1;
    return node.id || `${step?.id ?? node.closest("section")?.ariaLabel ?? ""}:${inside}`;
  };

  const remember = () => {
    const active = document.activeElement?.closest(ROOTS) ? document.activeElement : null;
    kept = {
      open: new Map(summaries().map((each) => [nameOf(each), each.open])),
      scroll: new Map(scrollers().map((each) => [nameOf(each), [each.scrollLeft, each.scrollTop]])),
      focus: active && nameOf(active),
      status: document.getElementById(LIVE_ID)?.dataset.status,
    };
  };

  const restore = () => {
    if (!kept) return;
    for (const each of summaries()) {
      const open = kept.open.get(nameOf(each));
      if (open !== undefined) each.open = open;
    }
    for (const each of scrollers()) {
      const [left, top] = kept.scroll.get(nameOf(each)) ?? [0, 0];
      if (left || top) each.scrollTo(left, top);
    }
    if (kept.focus && !document.activeElement?.closest(ROOTS)) {
      const all = document.querySelectorAll(`:is(${ROOTS}) :is(summary, a, button, .code, .timeline)`);
      [...all].find((each) => nameOf(each) === kept.focus)?.focus({ preventScroll: true });
    }
    const status = document.getElementById(LIVE_ID)?.dataset.status;
    if (status !== kept.status) document.getElementById("execution-said").textContent = `The execution is ${status}.`;
    kept = null;
  };

  const reveal = (id) => {
    const step = document.getElementById(id);
    if (step?.matches("details")) step.open = true;
  };

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.id !== LIVE_ID) return;
    // The server is in trouble: the page stays, and the note under it says that it may be out of date.
    if (event.detail.xhr.status >= 500) return;
    if (!event.detail.xhr.responseText.includes(`id="${LIVE_ID}"`)) {
      // Signed out meanwhile: the answer is the log-in page.
      event.detail.shouldSwap = false;
      location.reload();
      return;
    }
    remember();
  });
  document.addEventListener("htmx:afterSwap", restore);
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(name, () => {
      const note = document.getElementById("execution-note");
      if (note) note.textContent = "The server does not answer; this may be out of date. Trying again every 2 seconds.";
    });
  }
  document.addEventListener("click", (event) => {
    const bar = event.target.closest("a.bar[href]");
    if (bar) reveal(bar.hash.slice(1));
  });

  const start = () => {
    if (location.hash) reveal(location.hash.slice(1));
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
