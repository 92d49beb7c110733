// The frame's wire format: `command:json:callbackId:appSid`, empty parts left out; answers `callbackId:json`.

export function parseCommand(text) {
  const first = text.indexOf(':');
  if (first < 0) return null;
  const command = text.slice(0, first);
  let rest = text.slice(first + 1);
  const last = rest.lastIndexOf(':');
  const appSid = last < 0 ? rest : rest.slice(last + 1);
  rest = last < 0 ? '' : rest.slice(0, last);
  if (rest === '') return { command, params: null, callbackId: null, appSid };
  const whole = readJson(rest);
  if (whole.ok && typeof whole.value === 'object') return { command, params: whole.value, callbackId: null, appSid };
  const cut = rest.lastIndexOf(':');
  if (cut < 0) return { command, params: null, callbackId: rest, appSid };
  const params = readJson(rest.slice(0, cut));
  return { command, params: params.ok ? params.value : null, callbackId: rest.slice(cut + 1), appSid };
}

function readJson(text) {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    return { ok: false, value: null };
  }
}
