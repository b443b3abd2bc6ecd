// The guide has no address of its own: commands that need one get that of whoever serves this page.
"use strict";
const root = document.documentElement.dataset.content_root ?? "./";
const here = new URL(root, location.href).href.replace(/\/$/, "");
for (const block of document.querySelectorAll("div.highlight pre")) {
  const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    texts.currentNode.data = texts.currentNode.data.replace("<ADDRESS>", here);
  }
}
