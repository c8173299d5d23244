// SPDX-License-Identifier: Apache-2.0
// Words, numbers and small parts of the page. Text goes into it as text, never as HTML.
const $ = (id) => document.getElementById(id);

// el makes an element with attributes and children, which are elements or text.
function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k === 'class') e.className = v;
    else if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v !== false && v !== undefined) e.setAttribute(k, v === true ? '' : v);
  }
  e.append(...children.filter((c) => c !== '' && c != null));
  return e;
}
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
const plural = (n, what) => `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`;

// seconds is milliseconds for a person.
function seconds(ms) {
  const s = ms / 1000;
  if (Math.abs(s) < 1) return `${Math.round(ms)} ms`;
  return s < 100 ? `${s.toFixed(2)} s` : `${Math.round(s)} s`;
}
function bytes(n) {
  if (n == null || n < 0) return '—';
  let unit = 0;
  while (n >= 1024 && unit < 5) { n /= 1024; unit++; }
  return `${n >= 100 || Number.isInteger(n) ? Math.round(n) : n.toPrecision(3)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][unit]}`;
}
const percent = (x) => x == null || x < 0 ? '—' : `${Math.round(x * 1000) / 10} %`;
const figure = (x) => typeof x === 'number' ? String(Math.round(x * 1000) / 1000) : String(x);

// natural has node-10 after node-9.
const natural = new Intl.Collator('en', { numeric: true }).compare;

const states = { ran: ['ran', 'good'], waiting: ['no node', 'some'], starting: ['did not start', 'bad'], refused: ['refused', 'bad'] };
const chip = (text, kind) => el('span', { class: 'chip ' + kind }, text);

// words are what a step is called.
const words = {
  made: 'made', unplaced: 'no node', selected: 'node chosen', 'given back': 'given back', 'volume made': 'volume made', bound: 'bound',
  refused: 'refused by kubelet', called: 'call', told: 'warning', running: 'running', ended: 'ended', cleared: 'volumes unpublished', removed: 'removed', 'left out': '…',
};
const failed = (s) => s.what === 'given back' || s.what === 'refused' || s.what === 'told' || (s.what === 'called' && s.code !== 'OK');

// refusals are the reasons in a scheduler's message, "0/3 nodes are available: 2 Insufficient x, 1 y. preemption: …".
function refusals(text) {
  const m = /^(\d+\/\d+ nodes are available): (.*)$/s.exec(text);
  if (!m) return [text];
  const [reasons, preemption] = m[2].split(/\. preemption: |[,.] ?no new claims to deallocate/s);
  const all = reasons.replace(/\.\s*$/, '').split(/, (?=\d+ )/);
  const why = /preemption: (.*)$/s.exec(text);
  return [m[1] + ':', ...all, ...(why ? ['preemption: ' + why[1].replace(/\.$/, '')] : [])];
}
