// Sets an agent's status; a refusal is said beside the buttons.

import { fault, put } from "./retries.js";

export class Statuses {
  /** `ask` and `show` are the page's, `tell(text)` its notice, `texts` its words. */
  constructor(ask, show, tell, texts) {
    this.ask = ask;
    this.show = show;
    this.tell = tell;
    this.texts = texts;
  }

  /** One of a form's buttons: its value is the status, the form may have a reason. */
  async set(form, button) {
    const json = { status: button.value, ...Object.fromEntries(new FormData(form)) };
    const place = form.querySelector("[data-fault]");
    put(place, "");
    button.disabled = true;
    const answer = await this.ask(form.dataset.status, { method: "PUT", json });
    button.disabled = false;
    if (!answer) return;
    if (!answer.ok) {
      put(place, fault(await answer.json()));
      return;
    }
    await this.show(location.pathname + location.search, { push: false });
    this.tell(this.texts.changed);
  }
}
