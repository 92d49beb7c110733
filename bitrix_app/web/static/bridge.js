// Speaks Bitrix24's frame wire (pages-and-traps.md §4): `command:json:callbackId:appSid` to the portal's
// exact origin, answers `callbackId:json`. Messages carry tokens and are never logged.

const SILENT = 900; // many commands never answer; then they count as done
const AUTH = 10_000;

export class Bridge {
  #origin;
  #sid = "";
  #waiting = new Map();
  #count = 0;

  /** `origin` is the verified portal's, from our server; a frame of anybody else is not spoken to. */
  constructor(origin, frame = window) {
    this.frame = frame;
    const [domain, secure, sid] = String(frame.name || "").split("|");
    const named = domain && sid ? originOf(`${secure === "0" ? "http" : "https"}://${domain}`) : "";
    this.available = frame.parent !== frame && named !== "" && named === originOf(origin);
    this.#origin = named;
    this.#sid = sid || "";
    if (this.available) frame.addEventListener("message", (event) => this.#hear(event));
  }

  send(command, params = null, { timeout = SILENT, must = false } = {}) {
    if (!this.available) return must ? Promise.reject(new Error("outside Bitrix24")) : Promise.resolve(null);
    const id = `u${Date.now().toString(36)}${(this.#count += 1)}`;
    const json = params === null ? "" : JSON.stringify(params);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        if (must) reject(new Error(`${command} was not answered`));
        else resolve(null);
      }, timeout);
      this.#waiting.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.frame.parent.postMessage([command, json, id, this.#sid].filter(Boolean).join(":"), this.#origin);
    });
  }

  /** A fresh access token of the user who looks at the page. */
  async refreshAuth() {
    const answer = await this.send("refreshAuth", null, { timeout: AUTH, must: true });
    const id = answer && answer.AUTH_ID;
    if (typeof id !== "string" || !id) throw new Error("Bitrix24 gave no token");
    return id;
  }

  setTitle(title) {
    return this.send("setTitle", { title: String(title) });
  }

  openPath(path) {
    return this.send("openPath", { path }, { timeout: 86_400_000 });
  }

  openApplication(params) {
    return this.send("openApplication", params, { timeout: 86_400_000 });
  }

  /** Keeps the frame as tall as its content; small changes are ignored, else it would feed itself. */
  fit(element) {
    if (!this.available) return;
    let told = 0;
    let planned = 0;
    const tell = () => {
      planned = 0;
      const height = Math.ceil(element.getBoundingClientRect().height) + 1;
      if (Math.abs(height - told) <= 4) return;
      told = height;
      this.send("resizeWindow", { width: "100%", height });
    };
    new ResizeObserver(() => {
      if (!planned) planned = setTimeout(tell, 100);
    }).observe(element);
  }

  #hear(event) {
    if (event.origin !== this.#origin || event.source !== this.frame.parent || typeof event.data !== "string") return;
    const colon = event.data.indexOf(":");
    const id = colon < 0 ? event.data : event.data.slice(0, colon);
    const done = this.#waiting.get(id);
    if (!done) return;
    this.#waiting.delete(id);
    let answer = null;
    try {
      answer = colon < 0 ? null : JSON.parse(event.data.slice(colon + 1) || "null");
    } catch {
      answer = null;
    }
    done(answer);
  }
}

function originOf(url) {
  try {
    return new URL(url).origin;
  } catch {
    return "";
  }
}
