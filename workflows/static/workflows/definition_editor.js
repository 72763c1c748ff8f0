// The editor of a workflow's definition: line numbers, problems at their lines while one types, step snippets.
// The text area stays what the form sends; without this script the form works and the server lists the problems.
(() => {
  "use strict";

  const LINE_PX = 18; // the line height that workflows.css sets
  const TYPING_PAUSE_MS = 350;
  const SIGNS = { error: "✕", warning: "!" };
  // Strings may be cut short while one types; whatever else stands between brackets counts as one token.
  const TOKENS = /"(?:[^"\\\n]|\\.)*"?|[{}[\],:]|[^\s{}[\],:"]+/g;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const lineAt = (text, offset) => text.slice(0, offset).split("\n").length;
  const startOfLine = (lines, line) => lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);

  // Typing through the browser keeps its undo.
  const type = (area, text) => {
    if (document.execCommand("insertText", false, text)) return;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // Returns the place of the top-level list of steps and of its items, or null while there is none.
  const findSteps = (text) => {
    const stack = [];
    let found = null;
    for (const match of text.matchAll(TOKENS)) {
      const [token] = match;
      const top = stack.at(-1);
      if (token === "{" || token === "[") {
        const isSteps = token === "[" && stack.length === 1 && top.key === "steps";
        if (isSteps) found = { open: match.index, close: -1, items: [] };
        if (found && found.close < 0 && stack.length === 2) found.items.push({ start: match.index, end: -1 });
        stack.push({ isObject: token === "{", key: null, awaitsKey: token === "{" });
      } else if (token === "}" || token === "]") {
        stack.pop();
        if (found && found.close < 0 && stack.length === 2) found.items.at(-1).end = match.index + 1;
        if (found && found.close < 0 && stack.length === 1) found.close = match.index;
      } else if (token === ",") {
        if (top) top.awaitsKey = top.isObject;
      } else if (token !== ":" && top?.awaitsKey) {
        top.key = token.slice(1, -1);
        top.awaitsKey = false;
      }
    }
    return found && found.close >= 0 ? found : null;
  };

  // Lays the tokens out anew and changes none of them: large numbers and key order stay.
  const laidOut = (text) => {
    const tokens = text.match(TOKENS) ?? [];
    let depth = 0;
    const newLine = () => `\n${"  ".repeat(depth)}`;
    let out = "";
    for (let i = 0; i < tokens.length; i += 1) {
      const token = tokens[i];
      if (token === "{" || token === "[") {
        const closing = tokens[i + 1];
        if (closing === "}" || closing === "]") {
          out += token + closing;
          i += 1;
        } else {
          depth += 1;
          out += token + newLine();
        }
      } else if (token === "}" || token === "]") {
        depth -= 1;
        out += newLine() + token;
      } else if (token === ",") out += token + newLine();
      else out += token === ":" ? ": " : token;
    }
    return out;
  };

  const freeName = (text, wanted) => {
    const taken = new Set([...text.matchAll(/"(?:name|id)"\s*:\s*"([^"]*)"/g)].map((match) => match[1]));
    let name = wanted;
    for (let number = 2; taken.has(name); number += 1) name = `${wanted}_${number}`;
    return name;
  };

  class Editor {
    constructor(root) {
      this.url = root.dataset.checkUrl;
      this.area = root.querySelector("textarea");
      this.problems = [];
      this.current = -1;
      this.build(root);
      this.listen(root);
      this.number();
      this.check();
    }

    build(root) {
      const id = this.area.id || "definition";
      this.numbers = element("pre", { class: "numbers" });
      this.signs = element("div", { class: "signs" });
      this.notes = element("div", { class: "notes", "aria-hidden": "true" });
      this.verdict = element("p", { class: "verdict", role: "status", id: `${id}_verdict` }, "Checking…");
      this.list = element("ol", { class: "problems", "aria-label": "Problems of the definition" });
      this.format = element("button", { type: "button", class: "small-button" }, "Format");
      const gutter = element("div", { class: "gutter", "aria-hidden": "true" }, this.numbers, this.signs);
      const paper = element("div", { class: "paper" }, this.notes);
      const frame = element("div", { class: "code-editor" }, gutter, paper);
      const hint = element("span", { class: "hint" }, "F8: next problem");
      this.area.replaceWith(frame);
      paper.append(this.area);
      this.area.wrap = "off";
      this.area.setAttribute("aria-describedby", `${this.area.getAttribute("aria-describedby") ?? ""} ${id}_verdict`.trim());
      frame.after(element("div", { class: "editor-bar" }, this.verdict, hint, this.format));
      root.querySelector(".definition-side").prepend(this.list);
    }

    listen(root) {
      this.area.addEventListener("input", () => {
        this.number();
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.check(), TYPING_PAUSE_MS);
      });
      this.area.addEventListener("scroll", () => this.follow());
      this.area.addEventListener("keydown", (event) => this.onKey(event));
      this.format.addEventListener("click", () => this.layOut());
      for (const button of root.querySelectorAll("[data-insert]")) {
        button.hidden = false;
        button.addEventListener("click", () => this.insert(button.dataset.insert));
      }
    }

    onKey(event) {
      if (event.key === "F8") {
        event.preventDefault();
        this.next(event.shiftKey ? -1 : 1);
      } else if (event.key === "Enter" && !event.isComposing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        this.breakLine();
      }
      // Tab is left to the browser: it leads on to the next field.
    }

    breakLine() {
      const before = this.area.value.slice(0, this.area.selectionStart);
      const [indent] = before.slice(before.lastIndexOf("\n") + 1).match(/^ */);
      type(this.area, `\n${indent}${/[{[]\s*$/.test(before) ? "  " : ""}`);
    }

    number() {
      const count = this.area.value.split("\n").length;
      if (count === this.count) return;
      this.count = count;
      this.numbers.textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
    }

    follow() {
      const { scrollLeft, scrollTop } = this.area;
      this.numbers.style.transform = `translateY(${-scrollTop}px)`;
      this.signs.style.transform = `translateY(${-scrollTop}px)`;
      this.notes.style.transform = `translate(${-scrollLeft}px, ${-scrollTop}px)`;
    }

    async check() {
      this.pending?.abort();
      this.pending = new AbortController();
      const body = new FormData();
      body.set("text", this.area.value);
      body.set("csrfmiddlewaretoken", this.area.form.elements.csrfmiddlewaretoken.value);
      try {
        const answer = await fetch(this.url, { method: "POST", body, signal: this.pending.signal });
        const { problems } = await answer.json();
        this.show(problems);
      } catch (error) {
        if (error.name === "AbortError") return;
        this.verdict.textContent = "The check does not answer. Are you still signed in? Saving checks all the same.";
      }
    }

    show(problems) {
      this.problems = problems;
      this.current = -1;
      const errors = problems.filter((problem) => problem.severity === "error").length;
      const counts = [errors && plural(errors, "error"), problems.length - errors && plural(problems.length - errors, "warning")];
      const said = counts.filter(Boolean).join(", ") || "No problems found";
      // A status is read out when it changes.
      if (this.verdict.textContent !== said) this.verdict.textContent = said;
      this.verdict.dataset.state = errors ? "error" : problems.length ? "warning" : "fine";
      this.area.setAttribute("aria-invalid", String(errors > 0));
      this.mark();
      this.list.hidden = !problems.length;
      this.list.replaceChildren(...problems.map((problem, index) => this.item(problem, index)));
      this.forgetRefusal();
    }

    // What the server said of the last save is said here anew, for the text as it is now.
    forgetRefusal() {
      const field = this.area.closest(".field-workflow_config, .form-row, .group") ?? document;
      for (const old of field.querySelectorAll(".errorlist")) (old.closest("div.text-red-600") ?? old).hidden = true;
    }

    mark() {
      const lines = this.area.value.split("\n");
      const byLine = new Map();
      for (const problem of this.problems) {
        const known = byLine.get(problem.line);
        if (!known || (known.severity === "warning" && problem.severity === "error")) byLine.set(problem.line, problem);
      }
      this.signs.replaceChildren();
      this.notes.replaceChildren();
      for (const [line, { severity, message }] of byLine) {
        const top = `top:${(line - 1) * LINE_PX}px`;
        this.signs.append(element("span", { class: `sign ${severity}`, style: top, title: message }, SIGNS[severity]));
        const length = (lines[line - 1] ?? "").length;
        const note = element("span", { class: "note", style: `padding-left:${length + 3}ch` }, `${SIGNS[severity]} ${message}`);
        this.notes.append(element("div", { class: `noted ${severity}`, style: top }, note));
      }
      this.follow();
    }

    item(problem, index) {
      const button = element("button", { type: "button" }, `Line ${problem.line}`);
      button.addEventListener("click", () => this.goTo(index));
      const column = problem.code === "json_syntax" ? `, column ${problem.column}` : "";
      button.append(column);
      const severity = element("span", { class: `status status-${problem.severity === "error" ? "danger" : "warning"}` }, problem.severity);
      const item = element("li", {}, button, " ", severity, " ", element("span", {}, problem.message), " ");
      if (problem.pointer) item.append(element("code", {}, problem.pointer));
      return item;
    }

    next(step) {
      if (!this.problems.length) return;
      const count = this.problems.length;
      this.goTo(this.current < 0 ? (step > 0 ? 0 : count - 1) : (this.current + step + count) % count);
    }

    goTo(index) {
      this.current = index;
      const { line, column } = this.problems[index];
      const lines = this.area.value.split("\n");
      const start = startOfLine(lines, line) + column - 1;
      this.area.focus();
      this.area.setSelectionRange(start, startOfLine(lines, line) + (lines[line - 1] ?? "").length);
      this.area.scrollTop = (line - 1) * LINE_PX - this.area.clientHeight / 2;
      this.area.scrollIntoView({ block: "nearest" });
    }

    layOut() {
      try {
        JSON.parse(this.area.value);
      } catch {
        this.verdict.textContent = "Only valid JSON can be formatted; mend the first problem.";
        return;
      }
      this.area.focus();
      this.area.select();
      type(this.area, laidOut(this.area.value));
      this.area.setSelectionRange(0, 0);
      this.area.scrollTop = 0;
    }

    // A snippet goes behind the step that the caret stands in or after, otherwise to the end of the list.
    insert(snippet) {
      const text = this.area.value;
      const name = JSON.parse(snippet).name;
      const fresh = snippet.replace(`"name": "${name}"`, `"name": "${freeName(text, name)}"`);
      const steps = findSteps(text);
      const caret = this.area.selectionStart;
      this.area.focus();
      if (!steps) {
        type(this.area, fresh);
        return;
      }
      const inside = caret > steps.open && caret <= steps.close;
      const count = inside ? steps.items.filter((item) => item.start < caret).length : steps.items.length;
      const outer = text.slice(text.lastIndexOf("\n", steps.open) + 1, steps.open).match(/^ */)[0];
      const indented = `\n${fresh}`.replaceAll("\n", `\n${outer}  `);
      const at = count ? steps.items[count - 1].end : steps.open + 1;
      const after = count ? "" : steps.items.length ? "," : `\n${outer}`;
      // Blank space in an empty list is replaced.
      this.area.setSelectionRange(at, steps.items.length ? at : steps.close);
      type(this.area, `${count ? "," : ""}${indented}${after}`);
      const place = this.area.value.indexOf(`"name"`, at) + `"name": "`.length;
      this.area.setSelectionRange(place, this.area.value.indexOf(`"`, place));
      this.area.scrollTop = (lineAt(this.area.value, place) - 1) * LINE_PX - this.area.clientHeight / 2;
    }
  }

  const start = () => document.querySelectorAll(".definition").forEach((root) => root.querySelector("textarea") && new Editor(root));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
