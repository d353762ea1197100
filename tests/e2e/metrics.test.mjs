// The page of metrics of a real gate, read by the parsers of the Prometheus project: the one for its own text
// format and the strict one for OpenMetrics. What they understand is what the reference says.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Browser, ENVIRONMENT, eventually, ROOT, startDev, startGate, TARGET } from './support.mjs';

/** What Prometheus 3 sends along. */
const ACCEPT =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,'
  + 'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1';
const NOTATIONS = [
  { parser: 'prometheus', accept: '*/*', type: 'text/plain; version=0.0.4; charset=utf-8' },
  { parser: 'openmetrics', accept: ACCEPT, type: 'application/openmetrics-text; version=1.0.0; charset=utf-8' },
];
const POLICY = `
[[route]]
name    = "open"
path    = "/open/**"
require = "public"
limit   = { requests = 2, window = "1h" }
`;

let home;
let dev;
let gate;
const pages = {};

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'metrics-'));
  dev = await startDev();
  gate = await startGate({ dev, home, upstream: dev.app, policy: POLICY });
  const ada = new Browser();
  await ada.signIn(`${gate.url}/members`, 'ada');
  for (const path of ['/open/1', '/open/2', '/open/3', '/members', '/%zz', '/_gate/me']) {
    await fetch(gate.url + path);
  }
  for (const { parser, accept, type } of NOTATIONS) {
    const answer = await fetch(`${gate.admin}/metrics`, { headers: { accept } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), type);
    pages[parser] = understood(parser, await answer.text());
  }
});

after(async () => {
  await Promise.allSettled([gate?.stop(), dev?.stop()]);
  if (home) rmSync(home, { recursive: true });
});

/** What a parser makes of a page. */
function understood(parser, page) {
  const python = join(TARGET, 'venv/bin/python');
  const script = join(ROOT, 'tests/e2e/metrics.py');
  return JSON.parse(execFileSync(python, [script, parser], { input: page, env: ENVIRONMENT, maxBuffer: 1 << 24 }));
}

/** The value of a sample, `undefined` if there is none. */
function value(parser, name, labels) {
  const wanted = JSON.stringify(Object.entries(labels).sort());
  const samples = pages[parser].flatMap((family) => family.samples);
  return samples.find((sample) => sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted)
    ?.value;
}

for (const { parser } of NOTATIONS) {
  test(`the ${parser} parser understands every metric of the reference`, () => {
    const reference = readFileSync(join(ROOT, 'docs/reference/metrics.md'), 'utf8');
    const documented = [...reference.matchAll(/^\| `(clerk_gate_\w+)` \| (\w+) \| [^|]* \| (.*) \|$/gm)]
      .map(([, name, type, help]) => ({ name: name.replace(/_total$/, ''), type, help }));
    assert.ok(documented.length > 20);
    const byName = (one, other) => (one.name < other.name ? -1 : 1);
    const families = pages[parser].map(({ name, type, help }) => ({ name, type, help }));
    assert.deepEqual(families.sort(byName), documented.sort(byName));
  });

  test(`the ${parser} parser reads what happened`, () => {
    const open = (decision, reason) =>
      value(parser, 'clerk_gate_decisions_total', { route: 'open', decision, reason });
    assert.equal(open('forward', 'dev-browser-missing'), 2);
    assert.equal(open('refuse', 'rate-limited'), 1);
    assert.equal(value(parser, 'clerk_gate_limit_charges_total', { limit: 'open', outcome: 'refused' }), 1);
    assert.equal(value(parser, 'clerk_gate_requests_total', { mode: 'proxy', status: '429' }), 1);
    assert.equal(value(parser, 'clerk_gate_requests_total', { mode: 'proxy', status: '400' }), 1);
    assert.equal(value(parser, 'clerk_gate_keys', { site: '0' }), 1);
    assert.equal(value(parser, 'clerk_gate_config_generation', {}), 1);
    const verdicts = (suffix, labels) =>
      value(parser, `clerk_gate_verdict_seconds_${suffix}`, { mode: 'proxy', ...labels });
    const requests = pages[parser].find(({ name }) => name === 'clerk_gate_requests').samples;
    const all = requests.reduce((sum, sample) => sum + sample.value, 0);
    assert.equal(verdicts('count', {}), all - 1, 'all but the one that could not be read');
    assert.equal(verdicts('bucket', { le: '+Inf' }), all - 1);
    assert.ok(verdicts('sum', {}) > 0);
  });
}

test('both parsers read the same', () => {
  const flat = (parser) => pages[parser]
    .flatMap((family) => family.samples)
    // Ages and the window's own moment go on between the two.
    .filter(({ name }) => !/_age_|_connections|_budget_/.test(name))
    .map(({ name, labels, value: read }) => {
      const { le, ...others } = labels;
      const bound = le === undefined ? [] : [Number(le.replace('+Inf', 'Infinity'))];
      return JSON.stringify([name, Object.entries(others).sort(), ...bound, read]);
    })
    .sort();
  assert.ok(flat('prometheus').length > 50);
  assert.deepEqual(flat('openmetrics'), flat('prometheus'));
});

test('a configuration that is not taken is counted', async () => {
  writeFileSync(join(home, 'clerk-gate.toml'), 'no = "configuration"\n');
  gate.process.child.kill('SIGHUP');
  await eventually('it is counted', async () => {
    const answer = await fetch(`${gate.admin}/metrics`);
    assert.match(await answer.text(), /^clerk_gate_rejected_configs_total [1-9]/m);
  });
  assert.equal((await fetch(`${gate.url}/open/4`)).status, 429, 'the one before counts on');
});

test('the application never gets to the page', async () => {
  const answer = await fetch(`${gate.url}/metrics`);
  assert.equal(answer.status, 401);
});
