// What the pages do beside being read: keys, hints, links out of Airflow's frame, labels and snoozes.
"use strict";
(() => {
  const meta = (name) => document.querySelector(`meta[name="anomaly-${name}"]`)?.content ?? "";
  const root = meta("root");
  const framed = window.parent !== window;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- Airflow's frame. Its sandbox lets no framed page open a window or change the address around it. The page
  // around is of the same origin, so a link of its own does it: with what the reader's own click allows.
  const through = (address, target) => {
    try {
      const around = window.parent.document;
      const link = around.createElement("a");
      link.href = new URL(address, window.location.href).href;
      if (target) link.target = target;
      link.rel = "noopener";
      around.body.append(link);
      link.click();
      link.remove();
      return true;
    } catch {
      return false;
    }
  };
  if (framed) {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a.out, a[data-whole]");
      if (!link || event.defaultPrevented) return;
      if (through(link.href, link.matches("[data-whole]") ? "" : "_blank")) event.preventDefault();
    });
    document.documentElement.classList.add("framed");
  } else if (meta("frame")) {
    const link = one("#in-airflow");
    if (link) {
      const path = window.location.pathname.slice(root.length);
      link.href = meta("frame") + path + window.location.search + window.location.hash;
      link.hidden = false;
    }
  }

  // --- hints
  const tip = one("#tip");
  const show = (element, x, y) => {
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    const left = Math.min(Math.max(x - tip.offsetWidth / 2, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = y - tip.offsetHeight - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : y + 18}px`;
  };
  document.addEventListener("pointermove", (event) => {
    const element = event.target.closest?.("[data-tip]");
    if (element) show(element, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  // A cell leads where its row does, at its time.
  document.addEventListener("click", (event) => {
    const mark = event.target.closest?.(".mark[data-until]");
    const link = mark && one("a", mark.closest("[data-row]"));
    if (!link) return;
    const there = new URL(link.href);
    there.searchParams.set("until", mark.dataset.until);
    window.location.assign(there);
  });
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });

  // --- keys
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]");
  const rows = () => all("[data-row]").filter((row) => row.offsetParent !== null && one("a", row));
  const move = (by) => {
    const steps = one(by > 0 ? 'nav.steps a[rel="next"]' : 'nav.steps a[rel="prev"]');
    if (one("nav.steps")) {
      if (steps) steps.click();
      else told(by > 0 ? "This is the latest incident." : "This is the first incident.");
      return;
    }
    const list = rows();
    if (!list.length) return;
    const at = list.findIndex((row) => row.contains(document.activeElement));
    const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + by, 0), list.length - 1)];
    one("a", next).focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const keys = one("#keys");
  const press = {
    "/": () => {
      const field = one("#q") ?? one("#find");
      field.focus();
      field.select();
    },
    j: () => move(1),
    k: () => move(-1),
    g: () => window.location.assign(`${root}/groups`),
    u: () => {
      const up = all(".crumbs a").filter((link) => !link.hasAttribute("aria-current")).pop();
      if (up) window.location.assign(up.href);
    },
    "?": () => keys.showModal(),
    1: () => one('[data-word="real"]')?.click(),
    2: () => one('[data-word="false_alarm"]')?.click(),
    3: () => one('[data-word="expected"]')?.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = press[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  // --- writes
  const status = one("#told");
  let saying;
  const told = (words, bad = false) => {
    status.textContent = words;
    status.className = bad ? "bad" : "";
    clearTimeout(saying);
    saying = setTimeout(() => (status.textContent = ""), bad ? 12000 : 5000);
  };
  const carried = sessionStorage.getItem("anomaly-told");
  if (carried) {
    sessionStorage.removeItem("anomaly-told");
    told(carried);
  }
  const send = async (address, body) => {
    const response = await fetch(address, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-Anomaly-Token": meta("token") },
      body: JSON.stringify(body),
    });
    const answer = await response.json().catch(() => ({ detail: response.statusText }));
    if (!response.ok) throw new Error(answer.detail);
    return answer;
  };
  const afterwards = (words) => {
    sessionStorage.setItem("anomaly-told", words);
    window.location.reload();
  };
  const attempt = async (button, work) => {
    button.disabled = true;
    try {
      await work();
    } catch (failure) {
      told(failure.message, true);
    } finally {
      button.disabled = false;
    }
  };

  const labelling = one("#labelling");
  if (labelling && one(".effect", labelling)) {
    const form = one(".effect", labelling);
    const said = one(".effect-words", form);
    const choices = all("[data-word]", labelling);
    let word = null;
    const choose = async (button) => {
      word = button.dataset.word;
      for (const other of choices) other.setAttribute("aria-pressed", String(other === button));
      const needed = word === "expected";
      one(".reason-words", form).textContent = needed ? "Reason: what was planned" : "Reason (optional)";
      form.elements.reason.required = needed;
      said.textContent = "Working out what it would change …";
      said.className = "effect-words quiet";
      form.hidden = false;
      form.elements.reason.focus();
      const asked = word;
      try {
        const response = await fetch(`${labelling.dataset.effect}?word=${word}`, { credentials: "same-origin" });
        const answer = await response.json();
        if (asked !== word) return;
        if (!response.ok) throw new Error(answer.detail);
        said.textContent = answer.said;
        said.className = "effect-words";
      } catch (failure) {
        if (asked === word) said.textContent = `What it would change could not be worked out: ${failure.message}`;
      }
    };
    for (const button of choices) button.addEventListener("click", () => choose(button));
    form.addEventListener("reset", () => {
      form.hidden = true;
      for (const other of choices) other.setAttribute("aria-pressed", "false");
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(event.submitter ?? one("button", form), async () => {
        const answer = await send(`${labelling.dataset.at}/label`, { word, reason: form.elements.reason.value });
        afterwards(`Labelled ${answer.word.replace("_", " ")} by ${answer.author}.`);
      });
    });
    one("[data-take-back]", labelling)?.addEventListener("click", (event) =>
      attempt(event.currentTarget, async () => {
        await send(`${labelling.dataset.at}/take-back`, {});
        afterwards("The label is taken back.");
      }),
    );
  }
  for (const form of all("[data-snooze]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(event.submitter ?? one("button", form), async () => {
        const { variable, hours, reason } = form.elements;
        await send(form.dataset.snooze, { variable: variable.value || null, hours: Number(hours.value), reason: reason.value });
        afterwards(`Snoozed for ${hours.selectedOptions[0].textContent}.`);
      });
    });
  }
  for (const button of all("[data-end-snooze]")) {
    button.addEventListener("click", () =>
      attempt(button, async () => {
        await send(button.dataset.at, { id: Number(button.dataset.endSnooze) });
        afterwards("The snooze is over.");
      }),
    );
  }
})();
