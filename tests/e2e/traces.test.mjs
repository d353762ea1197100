// Traces of a real gate, understood by the messages that the OpenTelemetry project publishes.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Browser, Process, ROOT, startDev, startGate, TARGET } from './support.mjs';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const POLICY = `
[[route]]
name    = "open"
path    = "/open/**"
require = "public"
limit   = { requests = 1, window = "1h" }

[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
`;

let home;
let dev;
let gate;
let collector;
const messages = [];

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'traces-'));
  const python = join(TARGET, 'venv/bin/python');
  collector = new Process(python, [join(ROOT, 'tests/e2e/traces.py')]);
  const { address } = JSON.parse(await collector.line());
  collector.lines.on('line', (line) => messages.push(JSON.parse(line)));
  dev = await startDev();
  writeFileSync(join(home, 'traces'), 'api-key=of%20tests\n');
  const traces = `
[traces]
endpoint     = "${address}/v1/traces"
sample       = 1.0
headers-file = "${join(home, 'traces')}"
${POLICY}`;
  gate = await startGate({ dev, home, upstream: dev.app, policy: traces });
  const ada = new Browser();
  await ada.signIn(`${gate.url}/members/x`, 'ada');
  const answer = await fetch(`${gate.url}/open/1`, { headers: { traceparent: `00-${TRACE}-${SPAN}-00` } });
  assert.equal(answer.status, 404, 'of the application');
  assert.equal((await fetch(`${gate.url}/open/2`)).status, 429);
  // What waits is sent before it ends.
  assert.deepEqual(await gate.stop(), { code: 0, signal: null });
});

after(async () => {
  await Promise.allSettled([gate?.stop(), dev?.stop(), collector?.stop()]);
  if (home) rmSync(home, { recursive: true });
});

/** Every span, with its ids in hexadecimal and its attributes by name. */
function spans() {
  const hex = (bytes) => Buffer.from(bytes ?? '', 'base64').toString('hex');
  const value = ({ stringValue, intValue }) => stringValue ?? Number(intValue);
  const scopes = messages.flatMap(({ message }) => message.resourceSpans.flatMap((made) => made.scopeSpans));
  return scopes.flatMap((scope) => scope.spans).map((span) => ({
    ...span,
    traceId: hex(span.traceId),
    spanId: hex(span.spanId),
    parentSpanId: hex(span.parentSpanId),
    attributes: Object.fromEntries((span.attributes ?? []).map((one) => [one.key, value(one.value)])),
  }));
}

test('a collector understands every message, and gets the key that it asks for', () => {
  assert.ok(messages.length > 0);
  for (const { path, type, key, unknown, message } of messages) {
    assert.deepEqual([path, type, key, unknown], ['/v1/traces', 'application/x-protobuf', 'of tests', false]);
    for (const { resource, scopeSpans } of message.resourceSpans) {
      const names = Object.fromEntries(resource.attributes.map((one) => [one.key, one.value.stringValue]));
      assert.equal(names['service.name'], 'clerk-gate');
      assert.equal(scopeSpans[0].scope.name, 'clerk-gate');
    }
  }
});

test('a trace goes on below the span that a client names', () => {
  const trace = spans().filter((span) => span.traceId === TRACE);
  const request = trace.find((span) => span.name === 'GET open');
  assert.equal(request.parentSpanId, SPAN);
  assert.equal(request.kind, 'SPAN_KIND_SERVER');
  assert.equal(request.attributes['http.response.status_code'], 404);
  assert.equal(request.attributes['clerk_gate.decision'], 'forward');
  const below = (parent) => trace.filter((span) => span.parentSpanId === parent.spanId).map((span) => span.name);
  assert.deepEqual(below(request).sort(), ['upstream', 'verdict']);
  assert.deepEqual(below(trace.find((span) => span.name === 'verdict')), ['limits']);
});

test('a refusal says why, and nobody is asked', () => {
  const refused = spans().find((span) => span.attributes['clerk_gate.reason'] === 'rate-limited');
  assert.equal(refused.attributes['http.response.status_code'], 429);
  const trace = spans().filter((span) => span.traceId === refused.traceId);
  assert.deepEqual(trace.map((span) => span.name).sort(), ['GET open', 'limits', 'verdict']);
});

test('every span has its ids, its times and its parent', () => {
  const all = spans();
  assert.ok(all.length >= 10, `${all.length} spans`);
  const ids = new Set(all.map((span) => span.spanId));
  assert.equal(ids.size, all.length);
  const now = BigInt(Date.now()) * 1_000_000n;
  for (const span of all) {
    const [began, ended] = [BigInt(span.startTimeUnixNano), BigInt(span.endTimeUnixNano)];
    assert.ok(began <= ended && ended <= now && began > now - 60_000_000_000n, JSON.stringify(span));
    const own = span.kind === 'SPAN_KIND_SERVER';
    assert.ok(own || ids.has(span.parentSpanId), JSON.stringify(span));
  }
});

test('nothing of a person or of a path is sent', () => {
  const text = JSON.stringify(spans());
  for (const secret of ['user_', 'sess_', 'dvb_', 'ada', '/open', '/members', 'localhost', dev.secret_key]) {
    assert.ok(!text.includes(secret), `${secret} is in ${text}`);
  }
});
