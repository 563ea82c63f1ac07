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

  const showProblem = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  // The code is removed from the address immediately, so that it stays neither in the history nor on the screen.
  const takeCode = () => {
    const found = new URLSearchParams(location.hash.slice(1)).get("code");
    if (!found) return;
    history.replaceState(null, "", location.pathname);
    code.value = found;
    codeField.hidden = true;
    form.hidden = false;
    showProblem("");
  };

  const askForCode = () => {
    code.value = "";
    codeField.hidden = false;
    code.focus();
  };

  const showRefusal = async (response) => {
    const body = await response.json().catch(() => ({}));
    const errors = (body.errors || []).map((error) => error.detail);
    showProblem(errors.join(". ") || body.detail || `The server responded with status ${response.status}. Please try again.`);
    if (body.type === "invalid-code") {
      askForCode();
    } else if (password) {
      password.setAttribute("aria-invalid", "true");
      password.focus();
    }
  };

  const showSuccess = () => {
    form.hidden = true;
    form.reset();
    heading.textContent = form.dataset.done;
    heading.classList.add("good");
    intro.textContent = form.dataset.next;
    heading.focus();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showProblem("");
    button.disabled = true;
    const body = { code: code.value.trim() };
    if (password) body.new_password = password.value;
    try {
      // The path of the page itself: the service does not know the prefix that a gateway may add.
      const response = await fetch(location.pathname, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      await (response.ok ? showSuccess() : showRefusal(response));
    } catch {
      showProblem("The server cannot be reached at the moment. Please try again.");
    } finally {
      button.disabled = false;
    }
  });

  form.addEventListener("input", () => {
    showProblem("");
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

  // The link of another e-mail, opened in the same tab, only changes the fragment.
  window.addEventListener("hashchange", takeCode);
  form.hidden = false;
  takeCode();
})();
