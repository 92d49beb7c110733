// Opens the app as the portal does: a form POST into an iframe named `host|secure|APP_SID`,
// and answers the commands that the page inside posts to its parent.
import { el, post } from './dom.js';
import { parseCommand } from './wire.js';

const open = new Map(); // window of the iframe -> AppFrame

window.addEventListener('message', (event) => {
  const frame = open.get(event.source);
  if (!frame || event.origin !== frame.origin || typeof event.data !== 'string') return;
  const message = parseCommand(event.data);
  if (message && message.appSid === frame.sid) frame.obey(message);
});

export class AppFrame {
  // host: element to fill; request: {user, placement, options, handler, uri}; portal: what the page can do for us
  constructor(host, request, portal) {
    Object.assign(this, { host, request, portal, handlers: {} });
  }

  async show() {
    this.close();
    const data = await post('/sandbox/frame', this.request);
    if (data.missing) {
      this.host.replaceChildren(el('p', { class: 'empty' }, 'The application is not fully installed yet. Ask an administrator to open it.'));
      return;
    }
    this.init = data.init;
    this.sid = data.sid;
    this.origin = new URL(data.action, location.href).origin;
    this.iframe = el('iframe', { name: data.name, title: data.title, allow: 'microphone; camera; autoplay; geolocation; clipboard-write' });
    const fields = Object.entries(data.fields).map(([name, value]) => el('input', { type: 'hidden', name, value }));
    const form = el('form', { method: 'POST', action: data.action, target: data.name, hidden: true }, ...fields);
    this.host.replaceChildren(this.iframe, form);
    open.set(this.iframe.contentWindow, this);
    form.submit();
  }

  close() {
    for (const [source, frame] of open) if (frame === this) open.delete(source);
    this.host.replaceChildren();
  }

  answer(callbackId, value) {
    if (callbackId && this.iframe?.contentWindow) {
      this.iframe.contentWindow.postMessage(`${callbackId}:${JSON.stringify(value ?? null)}`, this.origin);
    }
  }

  async obey({ command, params, callbackId }) {
    const act = COMMANDS[command];
    if (!act) return; // unknown commands are ignored silently
    const value = await act(this, params ?? {}, callbackId);
    if (value !== undefined) this.answer(callbackId, value);
  }
}

const strings = (map) => Object.fromEntries(Object.entries(map).map(([key, value]) => [key, String(value)]));

const COMMANDS = {
  getInitData: (frame) => frame.init,
  setInstall: () => true,
  async setInstallFinish(frame) {
    await post('/sandbox/install-finish', { user: frame.request.user });
    frame.portal.installed();
    await frame.show(); // the page is reloaded into the app's own address
  },
  async refreshAuth(frame) {
    return post('/sandbox/refresh-auth', { user: frame.request.user });
  },
  resizeWindow(frame, { width, height }) {
    if (Number(height) > 0) frame.iframe.style.height = `${Math.ceil(Number(height))}px`;
    if (width !== undefined) frame.iframe.style.width = typeof width === 'number' ? `${width}px` : String(width);
    return { width: frame.iframe.offsetWidth, height: frame.iframe.offsetHeight };
  },
  setTitle(frame, { title }) {
    frame.portal.title(String(title ?? ''));
    return true;
  },
  setScroll: () => true,
  async reloadWindow(frame) {
    await frame.show();
  },
  openApplication(frame, params, callbackId) {
    frame.portal.openApp({ ...strings(params), opened: 'true' }, () => frame.answer(callbackId, true));
  },
  closeApplication(frame) {
    frame.portal.closeSlider();
    return true;
  },
  openPath(frame, { path }, callbackId) {
    const done = (result) => frame.answer(callbackId, result);
    const known = frame.portal.openPath(String(path ?? ''), () => done({ result: 'close' }));
    if (!known) done({ result: 'error', errorCode: 'PATH_NOT_AVAILABLE' });
  },
  async imPhoneTo(frame, { phone }) {
    await post('/sandbox/call', { user: frame.request.user, number: String(phone ?? '') });
    return true;
  },
  async setAppOption(frame, { name, value }) {
    return post('/sandbox/options', { user: frame.request.user, kind: 'app', name, value });
  },
  async setUserOption(frame, { name, value }) {
    return post('/sandbox/options', { user: frame.request.user, kind: 'user', name, value });
  },
  getInterface: () => ({ command: ['reloadData'], event: [] }),
  reloadData: () => true,
  placementBindEvent(frame, { event }, callbackId) {
    frame.handlers[event] = callbackId; // answered when the event happens
  },
};
