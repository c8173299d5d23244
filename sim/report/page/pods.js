// SPDX-License-Identifier: Apache-2.0
// The list of pods, and one pod's timeline.
const podRows = 50;

// summary is of a pod what the list shows; of its claims' steps those that failed count.
function summarisePod(p, claims) {
  const first = (what) => { const s = p.steps.find((x) => x.what === what); return s ? s.at - p.made : null; };
  p.made = p.steps[0].at;
  p.toBound = first('bound');
  p.toRunning = first('running');
  p.tries = p.steps.filter((s) => s.what === 'unplaced').length;
  p.claimed = (p.claims || []).map((i) => claims[i]);
  p.failures = [p, ...p.claimed].reduce((n, x) => n + x.steps.filter(failed).length, 0);
  p.words = [p.namespace + '/' + p.name, p.workload, p.node, ...p.claimed.map((c) => c.name)].join(' ').toLowerCase();
}

function startPods(run) {
  const body = $('pod-table').tBodies[0];
  let list = [], shown = podRows;
  const after = (ms) => ms == null ? '' : seconds(ms);
  function rows() {
    body.replaceChildren(...list.slice(0, shown).map((p) => el('tr', {},
      el('td', {}, el('button', { class: 'link', type: 'button', onclick: () => show(p) }, p.name)), el('td', {}, p.workload || ''), el('td', {}, chip(...(states[p.state] || [p.state, 'some']))),
      el('td', {}, p.node ? el('button', { class: 'link', type: 'button', onclick: () => run.showNode(p.node) }, p.node) : ''),
      el('td', { class: 'n' }, after(p.toBound)), el('td', { class: 'n' }, after(p.toRunning)), el('td', { class: 'n' }, p.tries ? String(p.tries) : ''), el('td', { class: 'n' }, p.failures ? String(p.failures) : ''))));
    $('pod-more').hidden = list.length <= shown;
    $('pod-more').textContent = `Show more of ${(list.length - shown).toLocaleString('en')} others`;
  }
  function update() {
    const has = $('pod-filter').value.trim().toLowerCase().split(/\s+/), state = $('pod-state').value, by = $('pod-sort').value;
    list = run.pods.filter((p) => has.every((w) => p.words.includes(w)) && (!state || p.state === state || (state === 'trouble' && p.failures)));
    const slow = (p) => p.toRunning ?? Infinity;
    if (by === 'slow') list.sort((a, b) => (slow(b) === slow(a) ? 0 : slow(b) - slow(a)) || a.made - b.made);
    if (by === 'tries') list.sort((a, b) => b.tries - a.tries || a.made - b.made);
    shown = podRows;
    $('pod-count').textContent = list.length === run.pods.length ? plural(run.pods.length, 'pod') : `${list.length.toLocaleString('en')} of ${plural(run.pods.length, 'pod')}`;
    rows();
  }

  // bar shows how long the pod was in which state.
  function bar(p) {
    const at = (what) => p.steps.find((s) => s.what === what)?.at;
    const end = at('ended') ?? at('refused') ?? at('removed') ?? run.end, parts = [];
    let from = p.made;
    for (const [what, label, colour] of [['bound', 'waits for a node', 'waiting'], ['running', 'volumes are published', 'starting'], [null, 'runs', 'running']]) {
      const to = Math.min(what ? at(what) ?? end : end, end);
      if (to > from) parts.push({ label: `${label} ${seconds(to - from)}`, colour, took: to - from });
      from = Math.max(from, to);
      if (what && at(what) == null) break;
    }
    $('pod-bar').setAttribute('aria-label', parts.map((x) => x.label).join(', '));
    $('pod-bar').replaceChildren(...parts.map((x) => el('span', { style: `flex: ${x.took} 0 0; background: var(--${x.colour})`, title: x.label })));
    $('pod-keys').replaceChildren(...parts.map((x) => el('span', {}, el('i', { style: `background: var(--${x.colour})` }), x.label)));
  }

  function how(s) {
    const node = s.node ? el('button', { class: 'link', type: 'button', onclick: () => { $('pod').close(); run.showNode(s.node); } }, s.node) : '';
    switch (s.what) {
      case 'unplaced': { const [head, ...all] = refusals(s.text || ''); return [head, all.length ? el('ul', {}, ...all.map((x) => el('li', {}, x))) : '']; }
      case 'called': return [el('code', {}, s.method), ' ', chip(s.code, s.code === 'OK' ? 'good' : 'bad'), ' ', el('span', { class: 'quiet mono' }, s.volume || ''), s.text ? el('div', {}, s.text) : ''];
      case 'volume made': return ['as ', el('span', { class: 'mono' }, s.volume || s.text || '')];
      case 'selected': case 'given back': return [s.what === 'selected' ? 'the scheduler has chosen ' : 'cannot be made on ', node];
      case 'bound': return s.node ? ['to ', node] : ['to volume ', el('span', { class: 'mono' }, s.text || '')];
      default: return [s.text || ''];
    }
  }

  function show(p) {
    $('pod-name').textContent = `${p.namespace}/${p.name}`;
    $('pod-about').textContent = [p.workload && `of ${p.workload}`, (states[p.state] || [p.state])[0], p.node && `on ${p.node}`, `made ${run.seconds(p.made).toFixed(2)} s after the first pod`, p.uid].filter(Boolean).join(' · ');
    bar(p);
    const all = [...p.steps.map((s) => [s, 'pod']), ...p.claimed.flatMap((c) => c.steps.map((s) => [s, `claim ${c.name}, ${bytes(c.size)}`]))];
    all.sort(([a], [b]) => a.at - b.at);
    $('pod-steps').tBodies[0].replaceChildren(...all.map(([s, of]) => el('tr', {},
      el('td', { class: 'n' }, seconds(s.at - p.made)), el('td', {}, failed(s) || s.what === 'unplaced' ? chip(words[s.what] || s.what, s.what === 'unplaced' ? 'some' : 'bad') : words[s.what] || s.what),
      el('td', {}, of), el('td', {}, ...how(s)), el('td', { class: 'n' }, s.took ? `${s.took} ms` : ''))));
    if (!$('pod').open) $('pod').showModal();
    $('pod').scrollTop = 0;
  }
  $('pod').addEventListener('click', (e) => { if (e.target === $('pod')) $('pod').close(); }); // beside it
  for (const [id, event] of [['pod-filter', 'input'], ['pod-state', 'change'], ['pod-sort', 'change']]) $(id).addEventListener(event, update);
  $('pod-more').addEventListener('click', () => { shown += podRows * 10; rows(); });
  run.showPod = show;
  update();
}
