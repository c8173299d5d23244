// SPDX-License-Identifier: Apache-2.0
// The heat map of all nodes, the table of them, and one node's chart.
const tableRows = 50;

function startNodes(run) {
  const nodes = run.trace.nodes || [];
  const placed = new Map();
  for (const p of run.pods) if (p.node) placed.set(p.node, [...(placed.get(p.node) || []), p]);
  const names = [...new Set(nodes.flatMap((n) => n.pools.map((p) => p.name)))];
  $('node-pool').append(...names.map((p) => el('option', {}, p)));
  $('pool-label').hidden = names.length < 2;

  let pool = names[0], list = [], chosen = -1, shown = tableRows;
  const taken = (p, i) => (p.inline?.[i] || 0) + (p.ephemeral?.[i] || 0) + (p.claims?.[i] || 0) + (p.foreign?.[i] || 0);
  // What is not known of a real cluster's disks, what is published says.
  const share = (p, i) => p.total?.[i] > 0 ? taken(p, i) / p.total[i] : p.most > 0 ? 1 - Math.max(free(p, i), 0) / p.most : 0;
  const free = (p, i) => Math.max(-1, ...Object.values(p.capacity || {}).map((c) => c[i]));

  function summarise() {
    for (const n of nodes) {
      n.pool = n.pools.find((p) => p.name === pool);
      n.uses = [];
      if (n.pool) {
        n.pool.most = n.pool.total ? 0 : Math.max(0, ...n.pool.at.map((_, i) => free(n.pool, i)));
        n.uses = n.pool.at.map((_, i) => share(n.pool, i));
      }
      n.peak = Math.max(0, ...n.uses);
      n.last = useAt(n, run.rest);
      n.pods = placed.get(n.name) || [];
    }
  }
  // place of the sample that holds at a time, -1 before the first.
  function sampleAt(p, at) {
    let low = 0, high = p.at.length;
    while (low < high) { const mid = (low + high) >> 1; if (p.at[mid] <= at) low = mid + 1; else high = mid; }
    return low - 1;
  }
  function useAt(n, at) {
    const i = n.pool ? sampleAt(n.pool, at) : -1;
    return i < 0 ? 0 : n.uses[i];
  }

  // columns are the most that was used in each of so many parts of the time.
  function columns(n, count) {
    const all = new Float32Array(count).fill(-1);
    if (!n.pool) return all;
    const width = (run.end - run.start) / count;
    let i = sampleAt(n.pool, run.start);
    for (let c = 0; c < count; c++) {
      let most = i >= 0 ? n.uses[i] : -1;
      const end = run.start + (c + 1) * width;
      while (i + 1 < n.pool.at.length && n.pool.at[i + 1] <= end) most = Math.max(most, n.uses[++i]);
      all[c] = most;
    }
    return all;
  }
  // Cividis, which is one scale to all eyes.
  const stops = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
  function colour(x) {
    const at = Math.min(Math.max(x, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2), part = at - i;
    return stops[i].map((v, k) => Math.round(v + (stops[i + 1][k] - v) * part));
  }
  // image has a pixel for each of some nodes' columns.
  function image(rows, count) {
    const c = el('canvas', { width: count, height: Math.max(rows.length, 1) }), x = c.getContext('2d'), data = x.createImageData(c.width, c.height);
    rows.forEach((cells, r) => {
      for (let i = 0; i < count; i++) if (cells[i] >= 0) data.data.set([...colour(cells[i]), 255], (r * count + i) * 4);
    });
    x.putImageData(data, 0, 0);
    return c;
  }
  const rowHeight = () => Math.min(18, Math.max(heatHeight() / Math.max(list.length, 1), 0.05));
  const heatHeight = () => Math.max(140, Math.min(560, innerHeight - 160));
  let gutter = 0;

  function heat() {
    const map = $('heat-map'), width = Math.max(map.parentElement.clientWidth, 200), ratio = devicePixelRatio || 1, row = rowHeight();
    const height = Math.max(Math.ceil(list.length * row), 20), axis = 20;
    map.width = width * ratio; map.height = (height + axis) * ratio; map.style.height = `${height + axis}px`;
    const x = map.getContext('2d');
    x.scale(ratio, ratio);
    x.font = '11px system-ui, sans-serif';
    x.fillStyle = css('quiet');
    const every = Math.max(1, Math.ceil(14 / row));
    gutter = 8 + Math.min(150, Math.max(0, ...list.filter((_, i) => i % every === 0).map((n) => x.measureText(n.name).width)));
    const count = Math.min(480, Math.floor(width - gutter)), lines = Math.min(list.length, Math.floor(height * ratio));
    const rows = Array.from({ length: lines }, () => new Float32Array(count).fill(-1)); // several nodes may share a line: the fullest counts
    list.forEach((n, i) => {
      const line = rows[Math.floor(i * lines / list.length)], cells = columns(n, count);
      for (let c = 0; c < count; c++) line[c] = Math.max(line[c], cells[c]);
    });
    x.imageSmoothingEnabled = false;
    if (list.length) x.drawImage(image(rows, count), gutter, 0, width - gutter, height);
    x.textBaseline = 'middle';
    list.forEach((n, i) => { if (i % every === 0 && (i + 0.5) * row < height) x.fillText(n.name.length > 24 ? n.name.slice(0, 23) + '…' : n.name, 0, Math.max(i * row + Math.max(row, 12) / 2, 6)); });
    const span = run.end - run.start, step = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((s) => span / 1000 / s < width / 90) || 1200;
    x.textBaseline = 'top'; x.textAlign = 'center';
    for (let t = 0; t <= run.seconds(run.end); t += step) {
      const at = gutter + (t * 1000 + run.zero - run.start) / span * (width - gutter);
      x.fillRect(at, height, 1, 4);
      if (at < width - 16) x.fillText(`${t} s`, at, height + 6);
    }
    x.textAlign = 'left';
    if (chosen >= 0 && chosen < list.length) {
      x.strokeStyle = css('bad'); x.lineWidth = 2;
      x.strokeRect(gutter, chosen * row - 1, width - gutter - 1, Math.max(row, 2) + 2);
    }
    $('heat-scale').style.background = `linear-gradient(to right, ${[0, 0.2, 0.4, 0.6, 0.8, 1].map((s) => `rgb(${colour(s)})`).join(',')})`;
  }

  function table() {
    const body = $('node-table').tBodies[0];
    body.replaceChildren(...list.slice(0, shown).map((n) => {
      const strip = image([columns(n, 150)], 150);
      strip.className = 'strip';
      const last = n.pool ? n.pool.at.length - 1 : -1;
      return el('tr', {},
        el('td', {}, el('button', { class: 'link', type: 'button', onclick: () => show(n) }, n.name)), el('td', { class: 'n' }, String(n.pods.length)),
        el('td', { class: 'n' }, bytes(n.pool?.total?.[last])), el('td', { class: 'n' }, percent(n.peak)), el('td', { class: 'n' }, percent(n.last)), el('td', {}, strip));
    }));
    $('node-more').hidden = list.length <= shown;
    $('node-more').textContent = `Show more of ${list.length - shown} others`;
  }

  function update() {
    const has = $('node-filter').value.trim().toLowerCase(), by = $('node-sort').value;
    const before = list[chosen];
    list = nodes.filter((n) => n.name.toLowerCase().includes(has));
    list.sort((a, b) => (by === 'name' ? 0 : by === 'pods' ? b.pods.length - a.pods.length : b[by] - a[by]) || natural(a.name, b.name));
    chosen = before ? list.indexOf(before) : -1;
    shown = tableRows;
    $('node-count').textContent = list.length === nodes.length ? plural(nodes.length, 'node') : `${list.length} of ${plural(nodes.length, 'node')}`;
    heat();
    if ($('node-table-box').open) table();
  }

  function show(n) {
    chosen = list.indexOf(n);
    heat();
    $('node').hidden = false;
    $('node-name').textContent = n.name;
    draw($('node-chart'), (place) => nodeChart(place, n));
    const by = new Map();
    for (const p of n.pods) by.set(p.workload || '—', (by.get(p.workload || '—') || 0) + 1);
    const most = 60;
    $('node-pods').replaceChildren(
      el('p', {}, n.pods.length ? `${plural(n.pods.length, 'pod')} placed here: ` + [...by].map(([w, k]) => `${k} of ${w}`).join(', ') + '.' : 'No pod was placed here.'),
      el('div', { class: 'chips' }, ...n.pods.slice(0, most).map((p) => el('button', { class: 'link', type: 'button', onclick: () => run.showPod(p) }, p.name)), n.pods.length > most ? `and ${n.pods.length - most} more` : ''));
    $('node-name').focus({ preventScroll: true });
    $('node').scrollIntoView({ block: 'nearest' });
  }

  function nodeChart(place, n) {
    if (!n.pool) return;
    const p = n.pool, x = p.at.map(run.seconds), end = run.seconds(run.end);
    const held = (values) => values && [...values, values[values.length - 1]]; // to the end
    x.push(Math.max(end, x[x.length - 1]));
    const zero = x.map(() => 0), gib = 2 ** 30;
    const none = (values) => held(values).map((v) => v < 0 ? null : v);
    const lines = [];
    if (p.total) lines.push({ label: 'size', colour: css('quiet'), values: held(p.total), dash: [2, 3] });
    if (p.allocatable) lines.push({ label: 'allocatable to pods', colour: css('allocatable'), values: none(p.allocatable) });
    const classes = Object.keys(p.capacity || {});
    classes.forEach((c, i) => lines.push({ label: classes.length > 1 ? `capacity for claims of ${c}` : 'capacity for claims', colour: css('capacity'), values: none(p.capacity[c]), dash: [[8, 4], [4, 4], [12, 3, 2, 3]][i % 3] }));
    const stacked = [['foreign', 'somebody else’s'], ['claims', 'claims'], ['ephemeral', 'ephemeral'], ['inline', 'inline']].filter(([k]) => p[k])
      .map(([k, label]) => ({ label, colour: css(k), values: held(p[k]) || zero }));
    const increments = [];
    for (let i = -10; i < 24; i++) increments.push(gib * 2 ** i);
    chart(place, { x, stacked, lines, range: [Math.min(run.seconds(run.start), 0), end], format: bytes, increments, marks: run.marks, label: `Use of ${n.name} over time`, height: 280 });
  }

  const at = (event) => {
    const box = $('heat-map').getBoundingClientRect(), i = Math.floor((event.clientY - box.top) / rowHeight());
    const part = (event.clientX - box.left - gutter) / (box.width - gutter);
    return [list[i], run.start + Math.min(Math.max(part, 0), 1) * (run.end - run.start)];
  };
  const say = (n, time) => {
    const i = n.pool ? sampleAt(n.pool, time) : -1;
    const used = i >= 0 && n.pool.total ? ` (${bytes(taken(n.pool, i))} of ${bytes(n.pool.total[i])})` : '';
    $('heat-words').textContent = `${n.name} at ${run.seconds(time).toFixed(1)} s: ${percent(useAt(n, time))} used${used}; ${percent(n.peak)} at most, ${plural(n.pods.length, 'pod')}`;
  };
  $('heat-map').addEventListener('mousemove', (e) => { const [n, time] = at(e); if (n) say(n, time); });
  $('heat-map').addEventListener('click', (e) => { const [n] = at(e); if (n) show(n); });
  $('heat-map').addEventListener('keydown', (e) => {
    const page = Math.max(1, Math.floor(list.length / 10)), step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -list.length, End: list.length }[e.key];
    if (step && list.length) {
      chosen = Math.min(Math.max(chosen + step, 0), list.length - 1);
      heat();
      say(list[chosen], run.rest);
      e.preventDefault();
    } else if (e.key === 'Enter' && list[chosen]) show(list[chosen]);
  });
  $('node-filter').addEventListener('input', update);
  $('node-sort').addEventListener('change', update);
  $('node-pool').addEventListener('change', () => { pool = $('node-pool').value; summarise(); update(); if (list[chosen]) show(list[chosen]); });
  $('node-more').addEventListener('click', () => { shown += tableRows * 4; table(); });
  $('node-table-box').addEventListener('toggle', () => { if ($('node-table-box').open) table(); });
  summarise();
  update();
  charts.set($('heat-map'), heat);
  run.showNode = (name) => { const n = nodes.find((x) => x.name === name); if (n) show(n); };
}
