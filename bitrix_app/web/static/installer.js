// Shows the progress and tells Bitrix24 exactly once that the installation is finished (bitrix24.md §1.2).

const EVERY = 1000;
const SIGNS = { done: "✓", waiting: "…", attention: "!" };
const TEXTS = JSON.parse(document.querySelector('meta[name="texts"]').content); // in the reader's language

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const result = document.querySelector("[data-result]");
let finished = false;

const library = new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = meta("bx24-js");
  script.onload = () => (window.BX24 ? resolve(window.BX24) : reject(new Error("no BX24")));
  script.onerror = () => reject(new Error("BX24 could not be loaded"));
  document.head.append(script);
});
library.catch(() => {}); // said when it is needed

function draw(steps) {
  for (const step of steps) {
    const row = document.querySelector(`[data-step="${step.name}"]`);
    if (!row) continue;
    row.className = step.state;
    row.querySelector(".sign").textContent = SIGNS[step.state];
    row.querySelector(".reason").textContent = `${step.reason} ${step.hint}`.trim();
  }
}

async function finish() {
  if (finished) return;
  finished = true;
  try {
    const BX24 = await library;
    result.textContent = TEXTS.finishing;
    BX24.init(() => BX24.installFinish());
  } catch {
    result.textContent = window.parent === window ? TEXTS.outside : `${TEXTS.library} ${meta("bx24-js")}`;
  }
}

async function look() {
  try {
    const headers = { Authorization: `Bearer ${meta("frame-session")}`, Accept: "application/json" };
    const answer = await fetch("/bitrix/install/status", { headers, credentials: "omit" });
    if (answer.status === 401) {
      result.textContent = TEXTS.over;
      return;
    }
    if (!answer.ok) throw new Error("not now");
    const { steps, ready } = await answer.json();
    draw(steps);
    if (ready) {
      await finish();
      return;
    }
    if (steps.some((step) => step.state === "attention")) result.textContent = TEXTS.attention;
  } catch {
    result.textContent = TEXTS.away;
  }
  setTimeout(look, EVERY);
}

look();
