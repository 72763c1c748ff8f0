// Uploads the files that are chosen or dropped, a few at a time, each with its progress and its outcome.
(() => {
  "use strict";
  const AT_ONCE = 3;
  const waiting = [];
  let running = 0;
  let taken = 0;
  let refused = 0;

  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  const start = (form) => {
    const rows = form.querySelector("#upload-rows");
    const sum = form.querySelector("#upload-sum");
    const token = form.querySelector("[name=csrfmiddlewaretoken]").value;

    const tell = () => {
      const left = waiting.length + running;
      const parts = [];
      if (left) parts.push(`${left} to go`);
      if (taken) parts.push(`${taken} uploaded`);
      if (refused) parts.push(`${refused} refused`);
      sum.replaceChildren(parts.join(", "));
      if (!left && taken) {
        const link = make("a", { href: window.location.pathname, textContent: "show in the list" });
        link.className = "link";
        sum.append(": ", link);
      }
    };

    const row = (file) => {
      const item = make("li");
      const name = make("span", { textContent: file.name });
      const bar = make("progress", { max: 100, value: 0 });
      bar.setAttribute("aria-label", `Upload of ${file.name}`);
      const state = make("span", { textContent: "waits" });
      item.append(name, bar, state);
      rows.append(item);
      rows.hidden = false;
      return { name, bar, state };
    };

    const refuse = (view, words) => {
      refused += 1;
      view.bar.hidden = true;
      view.state.className = "is-refused";
      view.state.textContent = `Not uploaded: ${words}`;
    };

    const accept = (view, answer) => {
      taken += 1;
      view.bar.value = 100;
      view.name.replaceChildren(make("a", { href: answer.url, textContent: answer.name }));
      view.state.textContent = `uploaded as file ${answer.id}`;
    };

    const answerOf = (request) => {
      try {
        return JSON.parse(request.responseText);
      } catch {
        return null;
      }
    };

    const finish = (request, view) => {
      const answer = answerOf(request);
      if (request.status === 201 && answer) accept(view, answer);
      else if (answer?.detail) refuse(view, answer.code ? `${answer.detail} (${answer.code})` : answer.detail);
      else if (request.status === 403) refuse(view, "you are not allowed to; sign in again");
      else if (request.status === 413) refuse(view, `the file is too large, at most ${form.dataset.largest}`);
      else refuse(view, request.status ? `the server answered ${request.status}` : "the server does not answer");
    };

    const send = ({ file, view }) => {
      running += 1;
      const body = new FormData();
      const owner = form.querySelector("[name=owner]");
      if (owner) body.append("owner", owner.value);
      body.append("file", file, file.name);
      const request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("X-CSRFToken", token);
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        view.bar.value = Math.floor((event.loaded / event.total) * 100);
        view.state.textContent = `${view.bar.value} %`;
      });
      request.addEventListener("loadend", () => {
        running -= 1;
        finish(request, view);
        next();
      });
      view.state.textContent = "0 %";
      request.send(body);
    };

    const next = () => {
      while (running < AT_ONCE && waiting.length) send(waiting.shift());
      tell();
    };

    const add = (files) => {
      for (const file of files) {
        const view = row(file);
        if (file.size > Number(form.dataset.largestBytes)) {
          refuse(view, `the file is too large, at most ${form.dataset.largest}`);
        } else {
          waiting.push({ file, view });
        }
      }
      next();
    };

    const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    // A file that misses the box must not replace the page.
    for (const name of ["dragover", "drop"]) {
      window.addEventListener(name, (event) => isFile(event) && event.preventDefault());
    }
    form.addEventListener("dragover", (event) => isFile(event) && form.classList.add("is-over"));
    form.addEventListener("dragleave", (event) => {
      if (!form.contains(event.relatedTarget)) form.classList.remove("is-over");
    });
    form.addEventListener("drop", (event) => {
      form.classList.remove("is-over");
      if (isFile(event)) add(event.dataTransfer.files);
    });
    form.querySelector("#upload-input").addEventListener("change", (event) => {
      add(event.target.files);
      event.target.value = "";
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("beforeunload", (event) => (waiting.length + running) && event.preventDefault());
  };

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("upload");
    if (form) start(form);
  });
})();
