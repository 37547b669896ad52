// Equations are plain text until MathJax has set them: a page without it, or without JavaScript, can be read as it is.
window.MathJax = {
  tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]], processEscapes: true },
  options: { ignoreHtmlClass: ".*|", processHtmlClass: "arithmatex|math" },
  svg: { fontCache: "global" },
  startup: {
    pageReady: () => {
      const equations = document.querySelectorAll(".equation");
      equations.forEach((equation) => equation.classList.add("typeset"));
      return MathJax.startup.defaultPageReady().catch((problem) => {
        equations.forEach((equation) => equation.classList.remove("typeset"));
        console.error(problem);
      });
    },
  },
};
