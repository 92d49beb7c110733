// Starts calls and sends the acts of the list of calls to make; every answer is said beside its control.

const FOLLOW = 130; // seconds: until then a start is rung, refused or given up
const UNDO = 10_000;
const GOING = new Set(["asked", "accepted", "doubted"]);

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where the words about a control stand. */
const placeOf = (control) => control.closest("form, td, main").querySelector("[data-start]");

export function put(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

function words(start) {
  const next = start.next ? `${start.next.text} ${start.next.reason}` : "";
  return [start.message, start.hint, next].filter(Boolean).join(" ");
}

export function fault(problem) {
  const errors = problem.errors || [];
  return errors.length ? errors.map((error) => error.message).join(" ") : problem.detail || problem.title;
}

export class Calling {
  /** `ask` and `show` are the page's, `tell(text, button)` its notice, `texts` its words. */
  constructor(ask, show, tell, texts) {
    this.ask = ask;
    this.show = show;
    this.tell = tell;
    this.texts = texts;
  }

  /** The form with a number: `POST /calls`. */
  async call(form) {
    const json = { number: form.elements.number.value };
    await this.#start(form.querySelector("button"), placeOf(form), "/calls", json, (told) => told);
  }

  /** «Call now» of an entry. */
  async retry(button) {
    await this.#start(button, placeOf(button), button.dataset.retry, {}, (told) => told.call);
  }

  /** A form of an entry: cancel, done, another time, another number, another person, undo. */
  async act(form) {
    const json = {};
    for (const [name, value] of new FormData(form)) json[name] = name === "agent" ? Number(value) : value;
    const address = form.dataset.act;
    const answer = await this.ask(address, { method: "POST", json });
    if (!answer) return;
    const told = await answer.json();
    if (!answer.ok) {
      put(form.querySelector("[data-fault]"), fault(told));
      return;
    }
    await this.#again();
    if (told.closed?.undo_until) {
      const undo = () => this.#undo(address.replace(/[^/]+$/, "undo"));
      this.tell(this.texts.closed, { label: this.texts.undo, act: undo, until: UNDO });
    } else this.tell(this.texts.changed);
  }

  /** A form of filters becomes the address of a page. */
  filter(form) {
    const values = [...new FormData(form)].filter(([, value]) => value);
    return this.show(`${form.dataset.filter}?${new URLSearchParams(values)}`);
  }

  async #undo(address) {
    const answer = await this.ask(address, { method: "POST", json: {} });
    if (!answer) return;
    const told = await answer.json();
    await this.#again();
    this.tell(answer.ok ? this.texts.changed : fault(told));
  }

  async #start(button, place, address, json, callOf) {
    button.disabled = true;
    put(place, this.texts.calling);
    const answer = await this.ask(address, { method: "POST", json });
    button.disabled = false;
    if (!answer) {
      put(place, "");
      return;
    }
    const told = await answer.json();
    if (!answer.ok) {
      put(place, fault(told));
      return;
    }
    const call = callOf(told);
    this.#tell(place, call.start);
    await this.#follow(place, call);
  }

  /** Says how the start goes on, until it is settled or the place is gone. */
  async #follow(place, call) {
    let { state } = call.start;
    for (let second = 0; second < FOLLOW && GOING.has(state); second += 1) {
      await wait(1000 * (second < 10 ? 1 : 3));
      if (!place.isConnected) return;
      if (document.hidden) continue;
      const answer = await this.ask(`/calls/${encodeURIComponent(call.id)}`, { accept: "application/json" });
      if (!answer?.ok) return;
      const { start } = await answer.json();
      state = start.state;
      this.#tell(place, start);
    }
  }

  /** The start in words, with the way to its entry on the list. */
  #tell(place, start) {
    put(place, words(start));
    const address = start.entry && `/retries/${encodeURIComponent(start.entry)}`;
    if (!address || address === location.pathname) return;
    const link = document.createElement("a");
    link.href = address;
    link.dataset.page = "";
    link.textContent = this.texts.listed;
    place.append(" ", link);
  }

  #again() {
    return this.show(location.pathname + location.search, { push: false });
  }
}
