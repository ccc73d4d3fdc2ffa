// What the theme leaves out: what scrolls sideways can be scrolled by keys, the dialog of the search has a name.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  setTimeout(() => document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach(box => { box.tabIndex = 0; }), 0);
});
