// SPDX-License-Identifier: Apache-2.0
// What is said of the whole run, and the start of the page.
function head(report) {
  const failed = report.expectations.filter((e) => !e.held && !e.skipped).length;
  const [text, kind] = report.interrupted ? ['Interrupted', 'some'] : failed ? [`${failed} of ${plural(report.expectations.length, 'expectation')} not held`, 'bad'] : ['Every expectation held' + (report.expectations.some((e) => e.skipped) ? ' that can be judged here' : ''), 'good'];
  $('verdict').textContent = text;
  $('verdict').classList.add(kind);
  $('description').textContent = report.description || '';
  const took = report.phases.reduce((n, p) => n + p.seconds, 0);
  $('about').textContent = `${plural(report.metrics.pods ?? 0, 'pod')} on ${plural(report.metrics.nodes ?? 0, 'node')} · seed ${report.seed} · ${report.target} · ${new Date(report.started).toLocaleString()} · ${took.toFixed(1)} s`
    + (report.interrupted ? ' · the run was interrupted: these are the figures so far' : '');
}

// valuesOf are the metrics that an expectation names, and what it names of workloads, as
// they are.
function valuesOf(that, report) {
  const value = (from, path) => path.split('.').reduce((x, k) => x?.[k], from);
  const all = new Map();
  for (const [, name] of that.matchAll(/metrics\.([A-Za-z0-9.]+)/g)) all.set(name, value(report.metrics, name));
  for (const [, dotted, quoted, name] of that.matchAll(/workloads(?:\.(\w+)|\[['"]([^'"]+)['"]\])\.([A-Za-z0-9.]+)/g)) {
    const of = dotted || quoted;
    all.set(`${of}: ${name}`, value(report.workloads.find((w) => w.name === of), name));
  }
  return [...all].filter(([, v]) => v != null && typeof v !== 'object');
}

function expectations(report) {
  $('expectations').tBodies[0].append(...report.expectations.map((e) => el('tr', { 'data-held': String(e.held) },
    el('td', {}, e.held ? chip('✓ held', 'good') : e.skipped ? chip('? not known', 'some') : chip('✗ not held', 'bad')), el('td', {}, e.message), el('td', {}, el('code', {}, e.that)),
    el('td', {}, ...valuesOf(e.that, report).map(([name, v]) => el('div', { class: 'mono' }, `${name} = ${figure(v)}`)), e.error || e.skipped || ''))));
}

function figures(report) {
  // What cannot be known on a target is absent.
  const m = new Proxy(report.metrics, { get: (all, name) => all[name] ?? (name.startsWith('to') ? { p50: -1, p99: -1 } : -1) });
  const card = (label, value, unit, wrong) => el('div', { class: wrong ? 'wrong' : '' }, el('dt', {}, label), el('dd', {}, value, unit ? el('small', {}, ' ' + unit) : ''));
  const some = (n, text) => n == null || n < 0 ? '—' : text ?? figure(n);
  const zero = (label, n) => card(label, n == null || n < 0 ? '—' : n.toLocaleString('en'), '', n > 0);
  $('figures').append(
    card('pods that ran', m.podsRunning.toLocaleString('en'), `of ${m.pods.toLocaleString('en')}`, m.podsRunning < m.pods),
    card('to Running, p50', some(m.toRunning.p50), 's'), card('to Running, p99', some(m.toRunning.p99), 's'),
    card('throughput', some(m.podsPerSecond, m.podsPerSecond.toFixed(m.podsPerSecond < 10 ? 1 : 0)), 'pods/s'), card('disks full, at most', some(m.peakUtilisation, percent(m.peakUtilisation))),
    card('first try', percent(m.firstTryRate)), zero('wrong-node binds', m.wrongNodeBinds), zero('publish failures', m.publishFailures < 0 ? -1 : m.publishFailures + Math.max(m.stageFailures, 0)),
    zero('provision failures', m.provisionFailures), zero('given back', m.reschedules), zero('over-allocations', m.overAllocations), zero('orphans', m.orphans));
  const phases = report.phases.filter((p) => p.seconds > 0), colours = ['ended', 'starting', 'running', 'claims', 'ephemeral', 'foreign'];
  $('phases').append(
    el('div', { class: 'bar', role: 'img', 'aria-label': 'Phases: ' + phases.map((p) => `${p.name} ${p.seconds} s`).join(', ') }, ...phases.map((p, i) => el('span', { style: `flex: ${p.seconds} 0 0; background: var(--${colours[i % colours.length]})`, title: `${p.name}: ${p.seconds} s` }))),
    el('div', { class: 'keys' }, ...phases.map((p, i) => el('span', {}, el('i', { style: `background: var(--${colours[i % colours.length]})` }), `${p.name} ${p.seconds.toFixed(1)} s`))));
  $('workloads').tBodies[0].append(...report.workloads.map((w) => el('tr', {}, el('td', {}, w.name),
    ...[w.pods, w.running, w.waiting, w.refused, w.toRunning.p50, w.toRunning.p90, w.toRunning.p99, w.toRunning.max].map((v) => el('td', { class: 'n' }, figure(v))))));
  const flat = (x, name) => x != null && typeof x === 'object' ? Object.entries(x).flatMap(([k, v]) => flat(v, name ? `${name}.${k}` : k)) : [[name, x]];
  $('metrics').tBodies[0].append(...flat(report.metrics, '').map(([name, v]) => el('tr', {}, el('td', { class: 'mono' }, `metrics.${name}`), el('td', { class: 'n' }, figure(v)))));
}

function reasons(run) {
  const { report, trace } = run, box = $('reason-lists');
  const list = (title, all) => { if (all?.length) box.append(el('h3', {}, title), el('ul', { class: 'reasons' }, ...all.slice(0, 20).map((r) => el('li', {}, r.count ? el('b', {}, `${r.count} ×`) : '', r.text)), all.length > 20 ? el('li', { class: 'quiet' }, `and ${all.length - 20} more; report.json has all`) : '')); };
  list('Found wrong', report.problems.map((text) => ({ text })));
  list('Calls that failed', report.failures);
  list('Why pods wait in the end', report.waiting);
  const failures = trace.failures || [];
  if (!box.childElementCount && !failures.length) box.append(el('p', {}, 'Nothing: no call failed, and no pod waits.'));
  if (failures.length) {
    const x = [...new Set([run.start, ...failures.flatMap((f) => f.at), run.end])].sort((a, b) => a - b);
    const colours = ['bad', 'claims', 'running', 'capacity', 'allocatable', 'foreign'];
    draw($('failures-chart'), (place) => {
      place.append(el('h3', {}, 'Failures so far, over time'));
      chart(place, {
        x: x.map(run.seconds), range: run.range, format: (v) => v == null ? '' : String(Math.round(v)), marks: run.marks, height: 180, label: 'Failures by reason over time', increments: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000],
        lines: failures.map((f, i) => { let k = -1; return { label: f.reason, colour: css(colours[i % colours.length]), dash: i >= colours.length ? [4, 4] : undefined, values: x.map((t) => { while (k + 1 < f.at.length && f.at[k + 1] <= t) k++; return k < 0 ? 0 : f.count[k]; }) }; }),
      });
    });
  }
}

function overTime(run) {
  const c = run.trace.cluster;
  if (c?.at?.length) {
    const x = [...c.at, Math.max(run.end, c.at[c.at.length - 1])].map(run.seconds), held = (v) => [...v, v[v.length - 1]];
    draw($('pods-chart'), (place) => chart(place, {
      x, range: run.range, format: (v) => v == null ? '' : Math.round(v).toLocaleString('en'), marks: run.marks, label: 'Pods by state over time', height: 280,
      increments: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000],
      stacked: [['ended', 'ended or removed'], ['waiting', 'no node'], ['starting', 'volumes not yet published'], ['running', 'running']].map(([k, label]) => ({ label, colour: css(k), values: held(c[k]) })),
    }));
  }
  const some = 40, marks = run.marks;
  $('marks').append(...marks.slice(0, some).map((m) => el('li', {}, `${m.x.toFixed(1)} s: ${m.text}`)), marks.length > some ? el('li', {}, `and ${marks.length - some} more`) : '');
}

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))).json();
}

async function start() {
  const { report, trace } = await unpack($('data').textContent.trim());
  for (const k of ['expectations', 'phases', 'workloads', 'problems', 'failures', 'waiting']) report[k] ||= [];
  const pods = trace.pods || [], claims = trace.claims || [];
  for (const p of pods) summarisePod(p, claims);
  const first = pods.length ? Math.min(...pods.slice(0, 1000).map((p) => p.made)) : 0;
  const run = { report, trace, pods, zero: first, start: Math.max(first - 500, 0), end: Math.max(trace.end, first + 1000) };
  run.seconds = (at) => (at - run.zero) / 1000;
  run.range = [run.seconds(run.start), run.seconds(run.end)];
  run.marks = (trace.marks || []).map((m) => ({ x: run.seconds(m.at), text: m.text }));
  // When all had come to rest, before everything was removed.
  let took = 0;
  run.rest = run.end;
  for (const p of report.phases) { if (p.name === 'removal') run.rest = took * 1000; took += p.seconds; }
  if (run.rest < run.end) run.marks.push({ x: run.seconds(run.rest), text: 'everything is removed' });
  $('main').hidden = false;
  head(report);
  expectations(report);
  figures(report);
  reasons(run);
  overTime(run);
  startNodes(run);
  startPods(run);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  let width = innerWidth;
  addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  document.documentElement.dataset.ready = 'yes';
}
start().catch((e) => {
  $('broken').hidden = false;
  $('broken').textContent = `This page could not be drawn: ${e}. It needs a browser of 2023 or newer; report.md has the figures as text.`;
  throw e;
});
