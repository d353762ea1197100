// What a program is told that has to verify again who it is, read by Clerk's own code for it: the package
// that the reverification hook of its components is made of. Tokens are signed here, with a key that the
// gate is told, because no session of a test is an hour old.

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { createCheckAuthorization, validateReverificationConfig } from '@clerk/shared/authorization';
import { isReverificationHint, reverificationError } from '@clerk/shared/authorization-errors';

import { eventually, GATE, Process, run, send, TARGET } from './support.mjs';

const ISSUER = 'foo-bar-13.clerk.accounts.dev';
const KEY = `pk_test_${Buffer.from(`${ISSUER}$`).toString('base64').replace(/=+$/, '')}`;
const OWN = { level: 'first_factor', afterMinutes: 5 };
/** What each route asks, in TOML and as Clerk's `has()` takes it. */
const ROUTES = {
  lax: ['reverified = "lax"', 'lax'],
  moderate: ['reverified = "moderate"', 'moderate'],
  strict: ['reverified = "strict"', 'strict'],
  'strict-mfa': ['reverified = "strict_mfa"', 'strict_mfa'],
  own: ['reverified = { level = "first_factor", after = "5m" }', OWN],
  hour: ['max-age = "1h"', { level: 'first_factor', afterMinutes: 60 }],
};

let home;
let gate;
let url;
let upstream;
let received = 0;
let privateKey;

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'reverification-'));
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
  privateKey = pair.privateKey;
  writeFileSync(join(home, 'clerk.pem'), pair.publicKey.export({ type: 'spki', format: 'pem' }));
  upstream = http.createServer((request, response) => {
    received += 1;
    response.end('{"paid":true}');
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const file = join(home, 'clerk-gate.toml');
  const routes = Object.entries(ROUTES).map(([name, [asked]]) => `
[[route]]
name    = "${name}"
path    = "/${name}/**"
require = { ${asked} }
`);
  writeFileSync(file, `
listen                = "127.0.0.1:0"
admin.listen          = "off"
clerk.publishable-key = "${KEY}"
clerk.jwt-key-file    = "${join(home, 'clerk.pem')}"
upstream.url          = "http://127.0.0.1:${upstream.address().port}"
${routes.join('')}`);
  const check = await run('check', '-c', file);
  assert.equal(check.code, 0, check.log);
  gate = new Process(GATE, ['run', '-c', file]);
  const port = await eventually('the gate is ready', async () => {
    const ready = /"message":"ready","address":"127\.0\.0\.1:(\d+)"/.exec(gate.log);
    assert.ok(ready, gate.log);
    return ready[1];
  });
  url = `http://localhost:${port}`;
});

after(async () => {
  await gate?.stop();
  upstream?.close();
  if (home) rmSync(home, { recursive: true, force: true });
});

/** A session token with factors of these ages. */
function token(fva) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: `https://${ISSUER}`, sub: 'user_1', sid: 'sess_1', iat: now, nbf: now - 5, exp: now + 60, fva };
  const [head, body] = [{ alg: 'RS256', typ: 'JWT', kid: 'ins_1' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return `${head}.${body}.${sign('sha256', Buffer.from(`${head}.${body}`), privateKey).toString('base64url')}`;
}

const ask = (route, fva) => send(`${url}/${route}/x`, { headers: [['Authorization', `Bearer ${token(fva)}`]] });

for (const [route, [, config]] of Object.entries(ROUTES)) {
  test(`${route}: Clerk's code sees that somebody has to verify again, and what`, async () => {
    const before = received;
    const answer = await ask(route, [2000, 2000]);
    assert.equal(answer.status, 403);
    const body = JSON.parse(answer.text);
    assert.ok(isReverificationHint(body), answer.text);
    const { error, ...theirs } = body;
    assert.deepEqual(theirs, reverificationError(config), 'what the SDK itself would say, to the letter');
    assert.ok(error.code);
    const read = validateReverificationConfig(body.clerk_error.metadata.reverification);
    assert.ok(read, 'its dialog takes it');
    assert.deepEqual(read(), validateReverificationConfig(config)());
    assert.equal(received, before, 'nothing of it reached the application');
  });

  test(`${route}: whoever has verified again as Clerk's code understands it gets through`, async () => {
    const { clerk_error: hint } = JSON.parse((await ask(route, [2000, 2000])).text);
    const has = (factorVerificationAge) => createCheckAuthorization({ userId: 'user_1', factorVerificationAge })({
      reverification: hint.metadata.reverification,
    });
    for (const fva of [[0, 0], [0, -1], [2000, 0], [0, 2000], [2000, 2000], [4, 4], [9, 9], [59, 59]]) {
      const before = received;
      const { status, text } = await ask(route, fva);
      assert.equal(status === 200, has(fva), `${fva}: ${text}`);
      assert.equal(received - before, status === 200 ? 1 : 0);
      if (status === 200) assert.ok(!isReverificationHint(JSON.parse(text)));
    }
  });
}
