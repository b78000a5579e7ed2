// Light or dark, before anything is drawn: as Airflow around the page has it, else as the system has it.
"use strict";
(() => {
  const root = document.documentElement;
  const airflow = () => {
    try {
      const frame = window.parent !== window ? window.parent.document.documentElement : null;
      if (frame && (frame.classList.contains("dark") || frame.classList.contains("light"))) {
        return frame.classList.contains("dark") ? "dark" : "light";
      }
    } catch {
      return null; // framed by another origin: it tells us nothing
    }
    return null;
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = airflow() ?? (dark.matches ? "dark" : "light");
    if (root.dataset.theme !== theme) {
      root.dataset.theme = theme;
      document.dispatchEvent(new CustomEvent("theme"));
    }
  };
  apply();
  dark.addEventListener("change", apply);
  try {
    if (window.parent !== window) {
      new MutationObserver(apply).observe(window.parent.document.documentElement, {
        attributes: true,
        attributeFilter: ["class"],
      });
    }
  } catch {
    // as above
  }
})();
