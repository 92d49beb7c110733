// The session lives in the page's meta tag and goes out as a header; one 401 renews it through Bitrix24.

export class Api {
  #renewing = null;

  constructor(bridge) {
    this.bridge = bridge;
    this.meta = document.querySelector('meta[name="frame-session"]');
  }

  async fetch(address, { method = "GET", json, accept = "application/json" } = {}) {
    let answer = await this.#once(address, method, json, accept);
    if (answer.status === 401) {
      await this.renew();
      answer = await this.#once(address, method, json, accept);
    }
    return answer;
  }

  /** One renewal at a time, however many requests wait for it. */
  renew() {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #renew() {
    const auth_id = await this.bridge.refreshAuth();
    const answer = await this.#once("/session", "POST", { auth_id }, "application/json");
    if (!answer.ok) throw new Error("the session could not be renewed");
    this.meta.content = (await answer.json()).session;
  }

  #once(address, method, json, accept) {
    const headers = { Authorization: `Bearer ${this.meta.content}`, Accept: accept };
    if (json !== undefined) headers["Content-Type"] = "application/json";
    const body = json === undefined ? undefined : JSON.stringify(json);
    return fetch(address, { method, headers, body, credentials: "omit", redirect: "error" });
  }
}
