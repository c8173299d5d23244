// SPDX-License-Identifier: Apache-2.0
// Charts over time, by uPlot. Times are seconds after the first pod was made.
const charts = new Map(); // place → function that draws it anew

// draw draws a chart into a place, now and whenever the colours or the width change.
function draw(place, make) {
  const again = () => { place.replaceChildren(); make(place); };
  charts.set(place, again);
  again();
}
function redraw() { for (const again of charts.values()) again(); }

const stepped = () => uPlot.paths.stepped({ align: 1 });
const alpha = (colour, part) => { // a colour, #rrggbb, let through
  const n = parseInt(colour.slice(1), 16);
  return `rgba(${n >> 16}, ${(n >> 8) & 255}, ${n & 255}, ${part})`;
};

// marked draws a line where something happened.
function marked(marks, colour) {
  return { hooks: { draw: [(u) => {
    const c = u.ctx;
    c.save();
    c.strokeStyle = colour; c.lineWidth = devicePixelRatio; c.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const m of marks) {
      const x = Math.round(u.valToPos(m.x, 'x', true));
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke();
    }
    c.restore();
  }] } };
}

// chart draws series over times. Stacked ones, {label, colour, values}, are areas on top of
// each other, lines are lines. format is how a value is written.
function chart(place, o) {
  const n = o.x.length, stacked = o.stacked || [], lines = o.lines || [];
  const sums = stacked.map(() => new Array(n).fill(0));
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let s = stacked.length - 1; s >= 0; s--) { sum += stacked[s].values[i] || 0; sums[s][i] = sum; }
  }
  const axis = { stroke: css('quiet'), grid: { stroke: css('grid'), width: 1 }, ticks: { stroke: css('grid'), width: 1 }, font: '12px system-ui, sans-serif' };
  const value = (values) => (u, v, s, i) => i == null ? '' : o.format(values[i]);
  const options = {
    width: Math.max(place.clientWidth, 260), height: o.height || 240,
    cursor: { drag: { x: true, y: false }, points: { show: false } },
    scales: { x: { time: false, range: o.range }, y: { range: (u, min, max) => [0, Math.max(max, o.least || 1) * 1.04] } },
    axes: [
      { ...axis, values: (u, all) => all.map((v) => `${v} s`) },
      { ...axis, size: 78, values: (u, all) => all.map((v) => o.format(v)), ...(o.increments ? { incrs: o.increments } : {}) },
    ],
    series: [
      { label: 'at', value: (u, v) => v == null ? '' : `${v.toFixed(1)} s` },
      ...stacked.map((s) => ({ label: s.label, stroke: s.colour, fill: alpha(s.colour, 0.75), width: 1, paths: stepped(), points: { show: false }, value: value(s.values) })),
      ...lines.map((s) => ({ label: s.label, stroke: s.colour, width: 2, dash: s.dash, paths: stepped(), points: { show: false }, value: value(s.values) })),
    ],
    bands: stacked.slice(1).map((_, i) => ({ series: [i + 1, i + 2] })),
    plugins: o.marks && o.marks.length ? [marked(o.marks, css('text'))] : [],
  };
  const box = el('div', { role: 'img', 'aria-label': o.label });
  place.append(box);
  return new uPlot(options, [o.x, ...sums, ...lines.map((s) => s.values)], box);
}
