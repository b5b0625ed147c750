"use strict";
// Fetch the page every two seconds and change what differs in place, to keep the scroll position,
// the selection and the focus.
const main = document.querySelector("main"), filter = document.getElementById("filter"), status = document.querySelector("[role=status]");

function morph(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeType === Node.TEXT_NODE) { old.data = now.data; return; }
  for (const a of [...old.attributes]) if (!now.hasAttribute(a.name)) old.removeAttribute(a.name);
  for (const a of now.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
  const known = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let at = old.firstChild;
  for (const n of [...now.childNodes]) {
    const same = n.id ? known.get(n.id) : at && !at.id && at.nodeName === n.nodeName ? at : null;
    if (!same) { old.insertBefore(n, at); continue; }
    if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
    morph(same, n);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function select() {
  if (filter) filter.hidden = !main.querySelector(".list");
  const words = (filter ? filter.value : "").toLowerCase().split(/\s+/);
  for (const body of main.querySelectorAll(".list tbody")) {
    let shown = 0;
    for (const row of body.rows) {
      const text = (body.id + " " + row.textContent).toLowerCase();
      row.hidden = !words.every((w) => text.includes(w));
      if (!row.hidden) shown++;
    }
    body.parentElement.hidden = shown === 0;
  }
}

async function update() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname);
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    morph(document.getElementById("clock"), now.getElementById("clock"));
    morph(main, now.querySelector("main"));
    morph(status, now.querySelector("[role=status]"));
    select();
  } catch {
    status.textContent = "The simulator does not answer.";
  }
}

document.addEventListener("click", async (e) => {
  const button = e.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  getSelection().selectAllChildren(text); // lets the user copy it if the browser forbids this
  await navigator.clipboard.writeText(text.textContent);
  button.textContent = "Copied";
});
if (filter) {
  filter.value = location.hash ? "" : sessionStorage.getItem("filter") ?? "";
  filter.addEventListener("input", () => { sessionStorage.setItem("filter", filter.value); select(); });
  select();
}
setInterval(update, 2000);
document.addEventListener("visibilitychange", update);
