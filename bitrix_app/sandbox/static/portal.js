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
    slide(record.title, closed, (body) => body.append(views.timeline(record, act)));
    return true;
  },
};

const act = {
  choose(key) { state.record = key; draw(true); },
  call: (number, record) => post('/sandbox/call', { user: state.user, number, entity_type: record.kind === 'DEAL' ? '' : record.kind, entity_id: record.id }).then(poll),
  action(action, activity) {
    if (action?.type === 'openRestApp') {
      const facts = { entityTypeId: activity.entity_type, entityId: activity.entity_id, activityId: activity.id, ...action.actionParams };
      portal.openApp(Object.fromEntries(Object.entries(facts).map(([key, value]) => [key, String(value)])), () => {});
    } else if (action?.type === 'redirect' && !portal.openPath(action.uri, () => {})) {
      window.open(action.uri, '_blank', 'noopener');
    }
  },
};

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
  drawDial(feed);
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
  const print = where + state.user + state.record + JSON.stringify([feed.calls, feed.pending, feed.records, feed.drive]);
  if (!force && print === state.shown) return; // nothing new: leave playing recordings alone
  state.shown = print;
  find('title').textContent = SECTIONS[where];
  const view = { calls: () => views.calls(feed), clients: () => views.clients(feed, state, act), drive: () => views.drive(feed) }[where]();
  find('main').replaceChildren(view);
}

// Bitrix24 offers a telephony app's buttons only when the app listens for them.
function drawDial(feed) {
  find('dial').hidden = !feed.bound.includes('ONEXTERNALCALLSTART');
  find('callback').hidden = !feed.bound.includes('ONEXTERNALCALLBACKSTART');
}

function drawBell(feed) {
  find('bell-count').textContent = `Notices ${feed.notices.length}`;
  find('bell').toggleAttribute('data-new', feed.notices.length > 0);
  const items = feed.notices.map((one) => el('li', {}, one.text.replace(/\[\/?[A-Za-z][^\]]*\]/g, ''), el('div', { class: 'muted' }, one.at)));
  find('notices').replaceChildren(...(items.length ? items : [el('li', {}, 'No notifications')]));
}

function drawCards(feed) {
  const host = find('cards');
  const shown = feed.cards.slice(0, CARDS_MOST);
  const wanted = new Map(shown.map((card) => [card.call_id + card.screens, card]));
  const more = find('cards-more');
  more.textContent = `and ${feed.cards.length - shown.length} more`;
  more.hidden = feed.cards.length === shown.length;
  for (const node of [...host.children]) if (node !== more && !wanted.delete(node.dataset.call)) node.remove();
  for (const [id, card] of wanted) {
    const node = el('div', { class: 'card' }, el('small', {}, card.direction === 'incoming' ? 'Incoming call' : 'Outgoing call'),
      el('strong', {}, card.client || 'Unknown client'), card.number, el('small', {}, ` · ${card.line || 'no line'}`),
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

const press = (code) => post('/sandbox/fault', { code }).then((answer) => drawFaults(answer.faults));

function faultCard(one) {
  const card = el('div', { class: 'fault' },
    el('p', {}, el('button', { type: 'button', 'aria-describedby': `fault-${one.code}`, onclick: () => press(one.code) }, one.title), el('span', { class: 'badge bad', hidden: true })),
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

find('calm').addEventListener('click', () => press('calm'));
find('user').addEventListener('change', (event) => { state.user = Number(event.target.value); state.shown = ''; poll(); });
find('dial').addEventListener('submit', (event) => { event.preventDefault(); post('/sandbox/call', { user: state.user, number: find('number').value }).then(poll); });
find('callback').addEventListener('click', () => post('/sandbox/callback', { number: find('number').value }).then(poll));
window.addEventListener('hashchange', () => { if (state.feed) draw(); });
setInterval(() => { if (!document.hidden) poll(); }, POLL_MS);
poll();
