// Renews the parts of a page that are marked `data-live`, without moving what the reader holds: focus, open details,
// scroll positions, typed text. Everything works without it: the page is then renewed as a whole.

const connection = document.getElementById("connection");
const aloud = document.getElementById("aloud");
let lastHeard = Date.now();

function say(words) {
  aloud.textContent = words;
}

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.valueOf())) {
      time.title ||= moment.toLocaleString();
    }
  }
}

function held(section) {
  // Text that a person types is never replaced under their hands.
  const field = document.activeElement;
  return section.contains(field) && /^(INPUT|TEXTAREA|SELECT)$/.test(field.tagName);
}

function keepState(old, fresh) {
  for (const details of old.querySelectorAll("details[id][open]")) {
    const twin = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (twin) twin.open = true;
  }
}

function replace(old, fresh) {
  if (old.isEqualNode(fresh) || held(old)) return;
  keepState(old, fresh);
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolls = [...old.querySelectorAll(".history, .scroll")].map((part) => [part.scrollLeft, part.scrollTop]);
  const told = old.querySelector("[data-aloud]")?.textContent ?? (old.matches("[data-aloud]") ? old.textContent : "");
  old.replaceWith(fresh);
  [...fresh.querySelectorAll(".history, .scroll")].forEach((part, place) => {
    if (scrolls[place]) [part.scrollLeft, part.scrollTop] = scrolls[place];
  });
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  const tells = fresh.querySelector("[data-aloud]")?.textContent ?? (fresh.matches("[data-aloud]") ? fresh.textContent : "");
  if (tells && tells !== told) say(tells);
}

function merge(region, html) {
  const fresh = new DOMParser().parseFromString(`<div>${html}</div>`, "text/html").body.firstElementChild;
  localTimes(fresh);
  const known = new Map([...region.children].map((child) => [child.id, child]));
  let before = null;
  for (const child of [...fresh.children]) {
    const old = child.id ? known.get(child.id) : undefined;
    known.delete(child.id);
    if (old) {
      replace(old, child);
      before = region.querySelector(`:scope > #${CSS.escape(child.id)}`) ?? old;
    } else {
      before ? before.after(child) : region.prepend(child);
      before = child;
    }
  }
  for (const gone of known.values()) gone.remove();
}

function heard(problem) {
  if (!problem) lastHeard = Date.now();
  const seconds = Math.round((Date.now() - lastHeard) / 1000);
  connection.hidden = !problem;
  const words = problem ? `No answer for ${seconds} s: what you see is old (${problem}).` : "";
  if (connection.textContent !== words) connection.textContent = words;
}

async function renew(region) {
  const answer = await fetch(region.dataset.live, {
    headers: region.tag ? { "if-none-match": region.tag } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(15000),
  });
  if (answer.status === 401) location.reload();
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`the console answers ${answer.status}`);
  region.tag = answer.headers.get("etag");
  merge(region, await answer.text());
}

async function live(region) {
  const pause = 1000 * Number(region.dataset.every);
  for (;;) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) continue;
    try {
      await renew(region);
      heard("");
    } catch (error) {
      heard(error.message || error.name);
    }
  }
}

localTimes(document);
for (const region of document.querySelectorAll("[data-live]")) live(region);
