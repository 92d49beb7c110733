// The portal page: menu, polling, call cards, sliders.
import { el, post } from './dom.js';
import { AppFrame } from './frames.js';
import * as views from './views.js';

const SECTIONS = { calls: 'Calls', clients: 'Clients', drive: 'Drive', app: 'Unitalk' };
const POLL_MS = 1500;
const CARDS_MOST = 3; // an administrator sees everybody's; a wall of cards would hide the page
const find = (id) => document.getElementById(id);
const state = { user: Number(new URLSearchParams(location.search).get('user')) || 1, record: '', feed: null, shown: '', app: null, sliders: [] };

const section = () => (location.hash.slice(1) in SECTIONS ? location.hash.slice(1) : 'calls');

const portal = {
  title: (text) => { find('title').textContent = text; },
  installed: () => poll(),
  openApp: (options, closed) => slide(options.bx24_title || 'Unitalk', closed, (body) => new AppFrame(body, { user: state.user, options }, portal).show()),
  closeSlider: () => state.sliders.at(-1)?.(),
  openPath(path, closed) {
    const hit = /^\/crm\/(lead|deal|contact|company)\/details\/(\d+)\//.exec(path);
    const record = hit && state.feed.records.find((one) => one.kind.toLowerCase() === hit[1] && one.id === Number(hit[2]));
    if (!record) return false;
    slide(record.title, closed, (body) => body.append(views.timeline(record, act, state.feed)));
    return true;
  },
};

const act = {
  choose(key) { state.record = key; draw(true); },
  call: (number, record) => press(number, record.kind === 'DEAL' ? {} : { entity_type: record.kind, entity_id: record.id }),
  widget: (one, record) => slide(one.title, null, (body) => new AppFrame(body, { user: state.user, placement: one.code, handler: one.handler, record: record.id }, portal).show()),
  action(action, activity) {
    if (action?.type === 'openRestApp') {
      const facts = { entityTypeId: activity.entity_type, entityId: activity.entity_id, activityId: activity.id, ...action.actionParams };
      portal.openApp(Object.fromEntries(Object.entries(facts).map(([key, value]) => [key, String(value)])), () => {});
    } else if (action?.type === 'redirect' && !portal.openPath(action.uri, () => {})) {
      window.open(action.uri, '_blank', 'noopener');
    }
  },
};

function say(text) { find('said').textContent = text; }

function press(number, entity = {}) {
  return post('/sandbox/call', { user: state.user, number, ...entity }).then((answer) => {
    say(answer.call_id ? '' : 'Bitrix24 did not give this call to Unitalk: it is not the line for outgoing calls.');
    return poll();
  });
}

function slide(title, closed, fill) {
  const body = el('div', {});
  const close = () => {
    layer.remove();
    state.sliders = state.sliders.filter((one) => one !== close);
    closed?.();
  };
  const button = el('button', { type: 'button', onclick: close }, 'Close');
  const layer = el('div', { class: 'slider', role: 'dialog', 'aria-modal': 'true', 'aria-label': title },
    el('section', {}, el('header', {}, button, el('h2', {}, title)), body));
  layer.addEventListener('keydown', (event) => { if (event.key === 'Escape') close(); });
  state.sliders.push(close);
  find('sliders').append(layer);
  button.focus();
  fill(body);
}

function draw(force = false) {
  const feed = state.feed;
  const where = section();
  find('menu').replaceChildren(...Object.entries(SECTIONS).map(([key, name]) => el('a', { href: `#${key}`, 'aria-current': key === where ? 'page' : null }, name)));
  drawBell(feed);
  drawActs(feed);
  drawClock(feed);
  drawCards(feed);
  drawFaults(feed.faults);
  if (where === 'app') {
    if (state.shown !== `app-${state.user}`) {
      state.shown = `app-${state.user}`;
      find('title').textContent = SECTIONS.app;
      state.app = new AppFrame(find('main'), { user: state.user }, portal);
      state.app.show();
    }
    return;
  }
  state.app?.close();
  state.app = null;
  const print = where + state.user + state.record + JSON.stringify([feed.calls, feed.pending, feed.records, feed.drive, feed.bound, feed.placements]);
  if (!force && print === state.shown) return; // nothing new: leave playing recordings alone
  state.shown = print;
  find('title').textContent = SECTIONS[where];
  const view = { calls: () => views.calls(feed), clients: () => views.clients(feed, state, act), drive: () => views.drive(feed) }[where]();
  find('main').replaceChildren(view);
}

// Bitrix24 offers a telephony app's buttons only when the app listens for them.
function drawActs(feed) {
  find('dial').hidden = !feed.bound.includes('ONEXTERNALCALLSTART');
  find('callback').hidden = !feed.bound.includes('ONEXTERNALCALLBACKSTART');
  find('acts').hidden = find('dial').hidden && find('callback').hidden;
}

const DAYS = { OPENED: ['Clocked in', 'good'], PAUSED: ['On a break', 'live'], CLOSED: ['Clocked out', ''], EXPIRED: ['Day not closed', 'bad'] };
const MAY = { in: ['CLOSED', 'PAUSED', 'EXPIRED'], pause: ['OPENED'], out: ['OPENED', 'PAUSED', 'EXPIRED'] };

function drawClock(feed) {
  const status = feed.users.find((one) => one.id === state.user)?.time_status ?? 'CLOSED';
  const [name, look] = DAYS[status] ?? [status, ''];
  const badge = find('clock-state');
  if (badge.textContent !== name) badge.textContent = name;
  badge.className = `badge ${look}`;
  for (const button of document.querySelectorAll('[data-clock]')) button.disabled = !MAY[button.dataset.clock].includes(status);
}

function drawBell(feed) {
  find('bell-count').textContent = `Notices ${feed.notices.length}`;
  find('bell').toggleAttribute('data-new', feed.notices.length > 0);
  const items = feed.notices.map((one) => el('li', {}, one.text.replace(/\[\/?[A-Za-z][^\]]*\]/g, ''), el('div', { class: 'muted' }, one.at)));
  find('notices').replaceChildren(...(items.length ? items : [el('li', {}, 'No notifications')]));
}

const CARD_TITLES = { incoming: 'Incoming call', outgoing: 'Outgoing call', callback: 'Callback' };
const REASONS = { 304: 'No answer', 486: 'Busy', 404: 'No such number', 480: 'Not available' };

function drawCards(feed) {
  const host = find('cards');
  const over = feed.ended.map((card) => ({ ...card, over: true })); // closed, but the reason is still to be read
  const all = [...over, ...feed.cards];
  const shown = all.slice(0, CARDS_MOST);
  const wanted = new Map(shown.map((card) => [(card.over ? 'over ' : '') + card.call_id + card.screens, card]));
  const more = find('cards-more');
  more.textContent = `and ${all.length - shown.length} more`;
  more.hidden = all.length === shown.length;
  for (const node of [...host.children]) if (node !== more && !wanted.delete(node.dataset.call)) node.remove();
  for (const [id, card] of wanted) {
    const node = el('div', { class: card.over ? 'card over' : 'card' }, el('small', {}, card.over ? 'Call ended' : CARD_TITLES[card.direction]),
      el('strong', {}, card.client || 'Unknown client'), card.number, el('small', {}, ` · ${card.line || 'no line'}`),
      card.over && el('p', { class: 'reason' }, `✕ ${card.reason || REASONS[card.code] || `Not connected (${card.code})`}`),
      card.screens.length > 0 && el('small', { class: 'screens' }, `On the screen of ${card.screens.join(', ')}`));
    node.dataset.call = id;
    more.before(node);
  }
}

// Drawn once and then only brought up to date, so that a button keeps its focus between two polls.
function drawFaults(faults) {
  find('faults').hidden = faults.length === 0;
  const grid = find('faults-grid');
  if (grid.children.length !== faults.length) grid.replaceChildren(...faults.map(faultCard));
  const on = faults.filter((one) => one.left);
  for (const one of faults) {
    const card = grid.querySelector(`[data-fault="${one.code}"]`);
    card.querySelector('button').setAttribute('aria-pressed', String(Boolean(one.left)));
    card.querySelector('.badge').textContent = one.left;
    card.querySelector('.badge').hidden = !one.left;
  }
  const said = on.length ? `On: ${on.map((one) => one.title).join(', ')}` : 'Everything is normal';
  if (find('faults-state').textContent !== said) find('faults-state').textContent = said;
  find('faults-state').className = on.length ? 'badge bad' : 'badge good';
}

const arm = (code) => post('/sandbox/fault', { code }).then((answer) => drawFaults(answer.faults));

function faultCard(one) {
  const card = el('div', { class: 'fault' },
    el('p', {}, el('button', { type: 'button', 'aria-describedby': `fault-${one.code}`, onclick: () => arm(one.code) }, one.title), el('span', { class: 'badge bad', hidden: true })),
    el('p', { id: `fault-${one.code}` }, one.does, el('span', { class: 'muted' }, ` Watch: ${one.watch}`)));
  card.dataset.fault = one.code;
  return card;
}

function drawUsers(users) {
  const select = find('user');
  if (select.options.length === users.length) return;
  select.replaceChildren(...users.map((one) => el('option', { value: one.id, selected: one.id === state.user },
    `${one.name} (${one.admin ? 'administrator' : one.position || 'employee'}${one.inner ? `, ${one.inner}` : ''})`)));
}

async function poll() {
  const answer = await fetch(`/events-feed?user=${state.user}`).catch(() => null); // the sandbox may be restarting
  if (!answer?.ok) return;
  state.feed = await answer.json();
  drawUsers(state.feed.users);
  draw();
}

find('calm').addEventListener('click', () => arm('calm'));
find('user').addEventListener('change', (event) => { state.user = Number(event.target.value); state.shown = ''; poll(); });
find('dial').addEventListener('submit', (event) => { event.preventDefault(); press(find('number').value); });
find('callback').addEventListener('submit', (event) => {
  event.preventDefault();
  post('/sandbox/callback', Object.fromEntries(new FormData(event.target))).then(() => { say('The form was sent.'); return poll(); });
});
for (const button of document.querySelectorAll('[data-clock]')) {
  button.addEventListener('click', () => post('/sandbox/clock', { user: state.user, act: button.dataset.clock }).then(poll));
}
window.addEventListener('hashchange', () => { if (state.feed) draw(); });
setInterval(() => { if (!document.hidden) poll(); }, POLL_MS);
poll();
