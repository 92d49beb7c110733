// Every page of the frame: moves by fetch and history, copies, opens portal paths, fits its height.

import { Statuses } from "./agents.js";
import { Bridge } from "./bridge.js";
import { Calling } from "./retries.js";
import { Api } from "./session.js";
import { addRow, collect, showErrors } from "./settings.js";

const TEXTS = JSON.parse(document.querySelector('meta[name="texts"]').content); // in the reader's language

const bridge = new Bridge(document.querySelector('meta[name="portal-origin"]').content);
const api = new Api(bridge);
const notice = document.getElementById("notice");

function say(text) {
  notice.textContent = text;
  notice.className = "banner attention";
  notice.hidden = !text;
}

/** Good news, with a button for as long as it makes sense. */
function tell(text, button) {
  say(text);
  notice.className = "banner";
  if (!button) return;
  const press = document.createElement("button");
  press.type = "button";
  press.className = "small";
  press.textContent = button.label;
  press.addEventListener("click", button.act, { once: true });
  notice.append(" ", press);
  setTimeout(() => press.remove(), button.until);
}

/** fetch that speaks: `null` when there is nothing to go on with. */
async function ask(address, options) {
  try {
    const answer = await api.fetch(address, options);
    if (answer.status === 401) say(TEXTS.reload);
    return answer.status === 401 ? null : answer;
  } catch (error) {
    say(error instanceof TypeError ? TEXTS.offline : TEXTS.reload);
    return null;
  }
}

async function show(address, { push = true } = {}) {
  const answer = await ask(address, { accept: "text/html" });
  if (!answer) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = fresh.querySelector("main");
  if (!main) return;
  document.querySelector("main").replaceWith(document.adoptNode(main));
  const tabs = fresh.querySelector("nav.tabs");
  if (tabs) document.querySelector("nav.tabs").replaceWith(document.adoptNode(tabs));
  document.title = fresh.title;
  say("");
  if (push) history.pushState({ address }, "", address);
  dress();
  document.querySelector("main").focus({ preventScroll: true });
}

/** Times in the viewer's zone: the portal's word for it, else the browser's. */
function dress() {
  const zone = document.querySelector("main").dataset.zone || undefined;
  const style = { dateStyle: "short", timeStyle: "medium" };
  let format;
  try {
    format = new Intl.DateTimeFormat(document.documentElement.dataset.locale, { ...style, timeZone: zone });
  } catch {
    format = new Intl.DateTimeFormat(undefined, style);
  }
  for (const time of document.querySelectorAll("main time[datetime]")) {
    time.textContent = format.format(new Date(time.dateTime));
    time.title = time.dateTime;
  }
  bridge.setTitle(document.title);
}

async function openPath(link) {
  const answer = bridge.available ? await bridge.openPath(link.dataset.path) : { result: "error" };
  if (answer && answer.result === "error") window.open(link.href, "_blank", "noopener");
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = TEXTS.copied;
  } catch {
    say(TEXTS.select); // a cross-origin frame may be refused
  }
}

async function rotate(button) {
  button.disabled = true;
  const answer = await ask(button.dataset.rotate, { method: "POST" });
  button.disabled = false;
  if (answer) await show("/settings", { push: false });
}

/** A button that asks for something: `data-post` is where, `data-json` what; then the page is read anew. */
async function post(button) {
  button.disabled = true;
  const json = button.dataset.json ? JSON.parse(button.dataset.json) : undefined;
  const method = button.dataset.method || "POST";
  const answer = await ask(button.dataset.post, { method, json });
  button.disabled = false;
  if (!answer) return;
  const words = answer.ok ? TEXTS.asked : (await answer.json()).detail;
  if (answer.ok && button.dataset.after) await show(button.dataset.after, { push: false });
  say(words);
}

async function save(form) {
  const answer = await ask(form.getAttribute("action"), { method: "PUT", json: collect(form) });
  if (!answer) return;
  const document_ = await answer.json();
  showErrors(form, answer.ok ? [] : document_.errors || []);
  const words = answer.ok ? TEXTS.saved : document_.errors ? TEXTS.refused : document_.detail;
  form.querySelector("[data-saved]").textContent = words;
  if (!answer.ok) return;
  form.elements.unitalk_key.value = "";
  const key = document_.unitalk_key; // the field stays empty: say that there is one now
  if (key.set) form.elements.unitalk_key.placeholder = `…${key.last4}`;
}

const calling = new Calling(ask, show, tell, TEXTS);
const statuses = new Statuses(ask, show, tell, TEXTS);

document.addEventListener("click", (event) => {
  const target = event.target.closest("a[data-page], a[data-path], button");
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (target.matches("a[data-page]")) {
    event.preventDefault();
    show(target.getAttribute("href"));
  } else if (target.matches("a[data-path]")) {
    event.preventDefault();
    openPath(target);
  } else if (target.dataset.copy) copy(target);
  else if (target.dataset.rotate) rotate(target);
  else if (target.dataset.post) post(target);
  else if (target.dataset.retry) calling.retry(target);
  else if (target.hasAttribute("data-add-row")) addRow(target.form);
  else if (target.hasAttribute("data-remove-row")) target.closest("tr").remove();
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-settings], [data-call], [data-act], [data-status], [data-filter]")) return;
  event.preventDefault();
  if (form.matches("[data-settings]")) save(form);
  else if (form.matches("[data-call]")) calling.call(form);
  else if (form.matches("[data-act]")) calling.act(form);
  else if (form.matches("[data-status]")) statuses.set(form, event.submitter);
  else calling.filter(form);
});
window.addEventListener("popstate", (event) => {
  show(event.state?.address || "/bitrix/app", { push: false });
});

if (!bridge.available) say(TEXTS.outside);
bridge.fit(document.body);
dress();
