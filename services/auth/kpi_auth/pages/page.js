"use strict";
(() => {
  const form = document.querySelector("form");
  const codeField = document.getElementById("code-field");
  const code = document.getElementById("code");
  const password = document.getElementById("new-password");
  const toggle = document.getElementById("show-password");
  const button = form.querySelector("button[type=submit]");
  const problem = document.getElementById("problem");
  const heading = document.querySelector("h1");
  const intro = document.getElementById("intro");

  const tell = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  // The code is taken out of the address at once, so that it stays in no history and on no screen.
  const takeCode = () => {
    const sent = new URLSearchParams(location.hash.slice(1)).get("code");
    if (!sent) return;
    history.replaceState(null, "", location.pathname);
    code.value = sent;
    codeField.hidden = true;
    form.hidden = false;
    tell("");
  };

  const askForCode = () => {
    code.value = "";
    codeField.hidden = false;
    code.focus();
  };

  const refused = async (answer) => {
    const said = await answer.json().catch(() => ({}));
    const errors = (said.errors || []).map((error) => error.detail);
    tell(errors.join(". ") || said.detail || `The server answered ${answer.status}. Please try again.`);
    if (said.type === "invalid-code") {
      askForCode();
    } else if (password) {
      password.setAttribute("aria-invalid", "true");
      password.focus();
    }
  };

  const done = () => {
    form.hidden = true;
    form.reset();
    heading.textContent = form.dataset.done;
    heading.classList.add("good");
    intro.textContent = form.dataset.next;
    heading.focus();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    tell("");
    button.disabled = true;
    const body = { code: code.value.trim() };
    if (password) body.new_password = password.value;
    try {
      // The page's own address, whatever stands before it: the service knows no prefix that a gateway adds.
      const answer = await fetch(location.pathname, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      await (answer.ok ? done() : refused(answer));
    } catch {
      tell("The server cannot be reached just now. Please try again.");
    } finally {
      button.disabled = false;
    }
  });

  form.addEventListener("input", () => {
    tell("");
    if (password) password.removeAttribute("aria-invalid");
  });

  if (toggle) {
    toggle.addEventListener("click", () => {
      const shown = password.type === "text";
      password.type = shown ? "password" : "text";
      toggle.textContent = shown ? "Show" : "Hide";
      toggle.setAttribute("aria-pressed", String(!shown));
    });
  }

  // A link of another mail, opened in the same tab, only changes the fragment.
  window.addEventListener("hashchange", takeCode);
  form.hidden = false;
  takeCode();
})();
