// Messages as they come: who looks at the end of them stays there. A letter leads from a channel to
// its threads, and back.

const newest = document.querySelector(".talk[data-newest] tbody");
const NEAR_PX = 60;
let isAtEnd = true;

function endOf(page) {
  return page.scrollHeight - page.clientHeight - page.scrollTop;
}

if (newest) {
  const page = document.scrollingElement;
  const toEnd = () => scrollTo({ top: page.scrollHeight, behavior: "instant" });
  addEventListener("scroll", () => (isAtEnd = endOf(page) < NEAR_PX), { passive: true });
  new MutationObserver(() => isAtEnd && !newest.contains(document.activeElement) && toEnd()).observe(newest, {
    childList: true,
  });
  toEnd();
}

for (const link of document.querySelectorAll("a[data-go]")) ACTIONS[link.dataset.go] = () => link.click();
