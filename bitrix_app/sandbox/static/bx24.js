// A stand-in for the portal's own frame library: our code, the same names, the same wire.
// `window.name` is `host|secure|APP_SID`; commands are `command:json:callbackId:appSid`.
(() => {
  'use strict';
  const [host = '', secure = '1', sid = ''] = window.name.split('|');
  const origin = `${secure === '1' ? 'https' : 'http'}://${host}`;
  const waiting = new Map();
  const ready = [];
  let data = null;
  let auth = null;
  let number = 0;

  const send = (command, params, callback) => {
    const parts = [command];
    if (params) parts.push(JSON.stringify(params));
    if (callback) {
      number += 1;
      const id = `cb${number}`;
      waiting.set(id, callback);
      parts.push(id);
    }
    parts.push(sid);
    window.parent.postMessage(parts.join(':'), origin);
  };

  const keepAuth = (values) => {
    auth = { access_token: values.AUTH_ID, refresh_token: values.REFRESH_ID, expires_in: Date.now() + Number(values.AUTH_EXPIRES) * 1000 };
  };

  window.addEventListener('message', (event) => {
    if (event.origin !== origin || event.source !== window.parent || typeof event.data !== 'string') return;
    const cut = event.data.indexOf(':');
    const callback = waiting.get(event.data.slice(0, cut));
    if (!callback) return;
    waiting.delete(event.data.slice(0, cut));
    callback(JSON.parse(event.data.slice(cut + 1)));
  });

  const whole = () => Math.max(document.documentElement.offsetHeight, document.body?.scrollHeight ?? 0);
  const options = (raw) => (typeof raw === 'string' ? JSON.parse(raw || '{}') : (raw ?? {}));

  window.BX24 = {
    init(callback) {
      if (data) callback();
      else ready.push(callback);
    },
    install(callback) {
      this.init(() => { if (data.INSTALL) callback(); });
    },
    installFinish: () => send('setInstallFinish'),
    getAuth: () => (data && auth && auth.expires_in > Date.now() ? { ...auth, domain: data.DOMAIN, member_id: data.MEMBER_ID } : false),
    refreshAuth(callback) {
      send('refreshAuth', null, (values) => { keepAuth(values); callback?.(BX24.getAuth()); });
    },
    getLang: () => data?.LANG,
    getDomain: () => data?.DOMAIN,
    isAdmin: () => Boolean(data?.IS_ADMIN),
    isReady: () => data !== null,
    fitWindow: (callback) => send('resizeWindow', { width: '100%', height: whole() }, callback),
    resizeWindow: (width, height, callback) => send('resizeWindow', { width, height }, callback),
    setTitle: (title, callback) => send('setTitle', { title: String(title) }, callback),
    reloadWindow: (callback) => send('reloadWindow', null, callback),
    openApplication(params, settings, callback) {
      if (typeof settings === 'function') [settings, callback] = [{}, settings];
      const echoed = Object.fromEntries(Object.entries(settings ?? {}).map(([key, value]) => [`bx24_${key}`, value]));
      send('openApplication', { ...params, ...echoed }, callback ?? (() => {}));
    },
    closeApplication: (callback) => send('closeApplication', null, callback),
    openPath: (path, callback) => send('openPath', { path }, callback ?? (() => {})),
    im: { phoneTo: (phone) => send('imPhoneTo', { phone }) },
    appOption: {
      get: (name) => data?.APP_OPTIONS?.[name],
      set: (name, value, callback) => send('setAppOption', { name, value }, (all) => { data.APP_OPTIONS = all; callback?.(all); }),
    },
    userOption: {
      get: (name) => data?.USER_OPTIONS?.[name],
      set: (name, value, callback) => send('setUserOption', { name, value }, (all) => { data.USER_OPTIONS = all; callback?.(all); }),
    },
    placement: {
      info: () => ({ placement: data?.PLACEMENT ?? 'DEFAULT', options: options(data?.PLACEMENT_OPTIONS) }),
      getInterface: (callback) => send('getInterface', null, callback),
      call: (command, params, callback) => send(command, params ?? {}, callback),
      bindEvent: (event, callback) => send('placementBindEvent', { event }, callback),
    },
  };

  send('getInitData', null, (values) => {
    data = values;
    keepAuth(values);
    for (const callback of ready.splice(0)) callback();
  });
})();
