// gRPC through a real gate, with a client and a server that are Google's: what is called reaches the server, what may not
// be called is refused in terms that the client's library understands.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Browser, ENVIRONMENT, freePort, Process, ROOT, startDev, startGate, TARGET, within } from './support.mjs';

const MEL = 'user_2Mel00000000000000000000001';
const PYTHON = join(TARGET, 'venv/bin/python');
const SCRIPT = join(ROOT, 'tests/e2e/grpc_calls.py');

let home;
let server;
let upstream;

before(async () => {
  mkdirSync(join(TARGET, 'tmp'), { recursive: true });
  home = mkdtempSync(join(TARGET, 'tmp/grpc-'));
  server = new Process(PYTHON, [SCRIPT, 'server']);
  // What closes the address opens the next key.
  upstream = `http://127.0.0.1:${await server.line()}"\nprotocol = "http2`;
});

after(async () => {
  await server?.stop();
  rmSync(home, { recursive: true, force: true });
});

/** A gate in front of the server, its Clerk, and the token of somebody who has signed in there. */
async function start({ lifetime }) {
  const dev = await startDev('--token-lifetime', String(lifetime));
  const gate = await startGate({
    dev,
    home,
    upstream,
    clerk: 'clock-skew = "0s"',
    policy: `
[http2]
cleartext = true

[session]
live-check = "1s"

[[route]]
name    = "echo"
path    = "/gate.test.Echo/**"
require = "signed-in"

[[route]]
name    = "admin"
path    = "/gate.test.Admin/**"
require = "org:admin"

[[route]]
name    = "hidden"
path    = "/gate.test.Hidden/**"
require = "org:admin"
hide    = true

[[route]]
name    = "limited"
path    = "/gate.test.Limited/**"
require = "public"
limit   = { requests = 1, window = "1h" }

[[route]]
name     = "gone"
path     = "/gate.test.Gone/**"
require  = "public"
upstream = "http://127.0.0.1:${await freePort()}"
`,
  });
  const mel = new Browser();
  await mel.signIn(`${dev.gate}/reports`, 'mel');
  const token = mel.cookies(dev.gate).get('__session');
  assert.ok(token, 'a token');
  const stop = async () => {
    await gate.stop();
    await dev.stop();
  };
  return { dev, gate, token, stop, target: new URL(gate.url).host.replace('localhost', '127.0.0.1') };
}

/** Runs the client, and gives what came of its calls by their names. */
function client(what, { target, token }) {
  return new Process(PYTHON, [SCRIPT, what, target], { env: { ...ENVIRONMENT, BEARER: token } });
}

describe('calls of gRPC', () => {
  let world;
  let outcomes;

  before(async () => {
    world = await start({ lifetime: 600 });
    const calls = client('calls', world);
    const { code } = await within(90_000, calls.ended, 'calls that end');
    assert.equal(code, 0, calls.log);
    const lines = calls.log.trim().split('\n').map((line) => JSON.parse(line));
    outcomes = new Map(lines.map((line) => [line.call, line]));
  });

  after(() => world?.stop());

  for (const [call, got] of [
    ['unary', { response: 'hello', trailers: { 'x-trailer': 'kept' } }],
    ['large', 3_000_000],
    ['server stream', ['p0', 'p1', 'p2', 'p3', 'p4']],
    ['client stream', 'abc'],
    ['bidi', ['ONE', 'TWO', 'THREE']],
    ['deadline told', true],
    ['called off', 'the server knows'],
  ]) {
    test(`${call} comes to its end`, () => {
      assert.deepEqual(outcomes.get(call), { call, code: 'OK', got });
    });
  }

  for (const [call, code, reason] of [
    ["nobody's", 'UNAUTHENTICATED', /.+/],
    ['forbidden', 'PERMISSION_DENIED', /.+/],
    ['hidden', 'UNIMPLEMENTED', null],
    ['limited', 'RESOURCE_EXHAUSTED', /.+/],
    ['nobody there', 'UNAVAILABLE', /upstream-unreachable/],
  ]) {
    test(`${call} is refused as ${code}`, () => {
      const told = outcomes.get(call);
      assert.equal(told.code, code, JSON.stringify(told));
      if (reason) assert.match(told.trailers['x-clerk-auth-reason'] ?? '', reason, JSON.stringify(told));
    });
  }

  test('what the server says of a failure arrives', () => {
    const { code, message, trailers } = outcomes.get('fails');
    assert.deepEqual([code, message, trailers['x-detail-bin']], ['FAILED_PRECONDITION', 'käse % fails', '00ff']);
    assert.equal(outcomes.get('no such method').code, 'UNIMPLEMENTED');
    assert.equal(outcomes.get('deadline passed').code, 'DEADLINE_EXCEEDED');
  });

  test('the server learns who calls from the gate alone', () => {
    const told = outcomes.get('told').got.filter(([name]) => name === 'x-user-id');
    assert.deepEqual(told, [['x-user-id', MEL]]);
  });
});

test('a stream ends with its session, and says so', async () => {
  const world = await start({ lifetime: 5 });
  try {
    const stream = client('stream', world);
    assert.deepEqual(JSON.parse(await stream.line()), { call: 'open' });
    const ended = stream.line();
    const session = JSON.parse(Buffer.from(world.token.split('.')[1], 'base64url')).sid;
    const revoked = await fetch(`${world.dev.clerk}/v1/sessions/${session}/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer ${world.dev.secret_key}` },
    });
    assert.equal(revoked.status, 200);
    const told = JSON.parse(await ended);
    assert.equal(told.code, 'UNAUTHENTICATED', JSON.stringify(told));
    assert.match(told.trailers['x-clerk-auth-reason'] ?? told.message, /session/, JSON.stringify(told));
  } finally {
    await world.stop();
  }
});
