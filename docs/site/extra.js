// What scrolls sideways can be scrolled by keys.
document.addEventListener("DOMContentLoaded", () => {
  setTimeout(() => document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach(box => { box.tabIndex = 0; }), 0);
});
