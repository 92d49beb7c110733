// What the main part shows: calls, clients with their timeline, the drive.
import { el } from './dom.js';

const TYPES = { 1: 'Outgoing', 2: 'Incoming', 3: 'Redirected', 4: 'Callback', 5: 'Information' };
const clock = (text) => text.slice(0, 19).replace('T', ' ');

function outcome(call) {
  if (!call.code) return el('span', { class: 'badge live' }, '● in progress');
  if (call.code === '200') return el('span', { class: 'badge good' }, '✓ answered');
  return el('span', { class: 'badge bad' }, `✕ ${call.reason || (call.code === '304' ? 'missed' : call.code)}`);
}

function client(call) {
  // A record that Bitrix24 made for a stranger is titled by the number: saying it twice helps nobody.
  if (!call.client || call.client.includes(call.number)) return call.client || call.number;
  return [call.client, el('small', { class: 'muted' }, ` ${call.number}`)];
}

export const player = (number) => el('audio', { controls: true, preload: 'none', src: `/sandbox/file/${number}` });

export function calls(feed) {
  const rows = [...feed.pending, ...feed.calls].sort((one, other) => other.started.localeCompare(one.started));
  if (!rows.length) return el('p', { class: 'empty' }, 'No calls yet. They appear here as soon as the application registers them.');
  const head = ['Time', 'Direction', 'Client', 'Employee', 'Line', 'Duration', 'Result', 'Recording'];
  return el('table', {},
    el('thead', {}, el('tr', {}, head.map((name) => el('th', { scope: 'col' }, name)))),
    el('tbody', {}, rows.map((call) => el('tr', {},
      el('td', { title: clock(call.started) }, clock(call.started).slice(11)), el('td', {}, TYPES[call.type] ?? ''),
      el('td', {}, client(call)), el('td', {}, call.user), el('td', {}, call.line || '-'),
      el('td', {}, `${call.duration} s`), el('td', {}, outcome(call)),
      el('td', {}, call.record ? player(call.record) : '-')))));
}

export function block(one, act) {
  const facts = one.properties ?? {};
  const text = (value) => (value && typeof value === 'object' ? Object.values(value)[0] : String(value ?? ''));
  if (one.type === 'link') return el('button', { class: 'link', type: 'button', onclick: () => act(facts.action) }, text(facts.text));
  if (one.type === 'withTitle') return el('p', {}, el('span', { class: 'muted' }, `${text(facts.title)}: `), block(facts.block ?? {}, act));
  if (one.type === 'lineOfBlocks') return el('p', {}, Object.values(facts.blocks ?? {}).map((inner) => block(inner, act)));
  if (one.type === 'deadline') return el('span', { class: 'muted' }, 'deadline');
  return el('p', {}, text(facts.value));
}

export function clients(feed, state, act) {
  if (!feed.records.length) return el('p', { class: 'empty' }, 'No clients yet.');
  const key = (one) => `${one.kind}-${one.id}`;
  const chosen = feed.records.find((one) => key(one) === state.record) ?? feed.records[0];
  const list = feed.records.map((one) => el('div', { class: 'row' }, el('button', {
    type: 'button', 'aria-pressed': key(one) === key(chosen) ? 'true' : 'false', onclick: () => act.choose(key(one)),
  }, one.title || key(one), el('small', {}, `${one.kind.toLowerCase()} #${one.id} · ${one.stage || one.phones.join(', ')} · ${one.responsible}`)), menu(one, feed, act)));
  return el('div', { class: 'columns' }, el('div', { class: 'list' }, list), timeline(chosen, act, feed));
}

const widgets = (record, place, feed) => feed.placements.filter((one) => one.code === `CRM_${record.kind}_${place}`);

// The three dots of a list's row, as far as an application has put something there.
function menu(record, feed, act) {
  const entries = widgets(record, 'LIST_MENU', feed);
  return entries.length > 0 && el('details', { class: 'menu-of' }, el('summary', { 'aria-label': `Menu of ${record.title}` }, '⋯'),
    el('div', {}, entries.map((one) => el('button', { type: 'button', onclick: (event) => { event.target.closest('details').open = false; act.widget(one, record); } }, `${one.title}…`))));
}

// Bitrix24 makes a number a button where a telephony app listens for it.
function phone(number, record, act, feed) {
  if (!feed.bound.includes('ONEXTERNALCALLSTART')) return el('span', {}, number, ' ');
  return el('span', { class: 'phone' }, number, el('button', { type: 'button', class: 'primary', 'aria-label': `Call ${number}`, onclick: () => act.call(number, record) }, 'Call'));
}

export function timeline(record, act, feed) {
  const events = record.activities.map((one) => el('article', { class: 'event' },
    el('h3', {}, one.subject || one.provider), el('time', {}, clock(one.started)), ' ',
    el('span', { class: one.completed ? 'badge good' : 'badge bad' }, one.completed ? '✓ done' : '! waiting'),
    el('div', {}, one.files.map(player)),
    Object.keys(one.blocks).length
      ? el('div', { class: 'blocks' }, Object.values(one.blocks).map((inner) => block(inner, (action) => act.action(action, one))))
      : null));
  const notes = record.notes.map((one) => el('article', { class: 'event' }, one.title ? el('h3', {}, one.title) : null, el('p', {}, one.text)));
  const phones = record.phones.map((number) => phone(number, record, act, feed));
  const toolbar = widgets(record, 'DETAIL_TOOLBAR', feed).map((one) => el('button', { type: 'button', onclick: () => act.widget(one, record) }, `${one.title}…`));
  return el('section', { class: 'timeline' }, el('header', {}, el('h2', {}, record.title), toolbar),
    el('p', { class: 'muted' }, `${record.kind.toLowerCase()} #${record.id} ${record.stage} `), phones.length > 0 && el('p', {}, phones),
    events.length + notes.length ? [...events, ...notes] : el('p', { class: 'empty' }, 'Nothing has happened with this client yet.'));
}

export function drive(feed) {
  const folder = (one) => el('li', {}, el('details', { open: true }, el('summary', {}, one.name), el('ul', {},
    one.folders.map(folder),
    one.files.map((file) => el('li', {}, el('a', { href: `/sandbox/file/${file.id}`, target: '_blank', rel: 'noopener' }, file.name), ` ${file.size} bytes `,
      /\.(mp3|wav)$/.test(file.name) ? player(file.id) : null)))));
  return el('div', { class: 'tree' }, el('ul', {}, feed.drive.map(folder)));
}
