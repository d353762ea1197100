// The programs of docs/how-to/verify-the-assertion.md as they are printed there: servers that believe what
// the gate signs, and nobody else. The gate and its Clerk are real processes; so are the programs.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import { decodeJwt } from 'jose';

import { Browser, ENVIRONMENT, eventually, freePort, Process, ROOT, send, startDev, startGate, TARGET } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const HEADER = 'x-clerk-gate-assertion';
const DOCUMENT = readFileSync(join(ROOT, 'docs/how-to/verify-the-assertion.md'), 'utf8');
/** What runs here; programs in other languages are marked as `external`. */
const PROGRAMS = { js: { file: 'app.mjs', command: process.execPath }, python: { file: 'app.py' } };

let home;
let dev;
let gate;
let ada;
/** A server that keeps the assertions meant for the programs: somebody who listens on the way. */
let listener;
const caught = [];
const apps = {};

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'assertion-'));
  symlinkSync(join(ROOT, 'tests/e2e/node_modules'), join(home, 'node_modules'));
  PROGRAMS.python.command = join(TARGET, 'venv/bin/python');
  const key = join(home, 'assertion.pem');
  const make = /^\$ (openssl genpkey .*) -out assertion\.pem$/m.exec(DOCUMENT)[1].split(' ');
  execFileSync(make[0], [...make.slice(1), '-out', key], { stdio: 'ignore' });
  listener = http.createServer((request, response) => {
    caught.push(request.headers[HEADER]);
    response.end('caught');
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  for (const language of Object.keys(PROGRAMS)) {
    const port = await freePort();
    apps[language] = { port, url: `http://127.0.0.1:${port}` };
  }
  dev = await startDev();
  const listening = `http://127.0.0.1:${listener.address().port}`;
  const routes = Object.entries(apps).map(([name, { url }]) => `
[[route]]
path     = "/${name}/open/**"
require  = "public"
upstream = "${url}"

[[route]]
path     = "/${name}/caught/**"
require  = "public"
upstream = "${listening}"
assertion-audience = "${url}"

[[route]]
path     = "/${name}/**"
require  = "signed-in"
upstream = "${url}"
`);
  gate = await startGate({
    dev, home, upstream: listening, policy: `\n[assertion]\nkey-file = "${key}"\n${routes.join('')}`,
  });
  for (const [language, { file, command }] of Object.entries(PROGRAMS)) {
    const [, program] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(DOCUMENT);
    writeFileSync(join(home, file), program);
    const app = apps[language];
    const env = { ...ENVIRONMENT, GATE: gate.url, AUDIENCE: app.url, PORT: String(app.port) };
    app.process = new Process(command, [join(home, file)], { env });
    await eventually(`${file} answers`, async () => {
      try {
        assert.equal((await send(app.url)).status, 401);
      } catch (error) {
        throw new Error(`${error.message}\n${app.process.log}`, { cause: error });
      }
    });
  }
  ada = new Browser();
  await ada.signIn(`${gate.url}/js/`, 'ada');
});

after(async () => {
  for (const app of Object.values(apps)) await app.process?.stop();
  await gate?.stop();
  await dev?.stop();
  listener?.close();
  if (home) rmSync(home, { recursive: true, force: true });
});

test('every program of the document runs here or says that it does not', () => {
  const fences = [...DOCUMENT.matchAll(/^```(\w+)( external)?\n/gm)].map(([, language, external]) => [language, !!external]);
  const programs = fences.filter(([language]) => !['console', 'toml'].includes(language));
  assert.deepEqual(programs.filter(([, external]) => !external).map(([language]) => language), Object.keys(PROGRAMS));
  assert.deepEqual(programs.filter(([, external]) => external).map(([language]) => language), ['go', 'ruby', 'php']);
});

for (const language of Object.keys(PROGRAMS)) {
  /** An assertion that was caught on the way to this program. */
  const caughtAt = async (path, options) => {
    caught.length = 0;
    assert.equal((await send(`${gate.url}${path}`, options)).text, 'caught');
    assert.equal(caught.length, 1);
    return caught[0];
  };
  /** Asks the program itself, around the gate. */
  const around = (path, headers, method = 'GET') => send(`${apps[language].url}${path}`, { method, headers });

  test(`${language}: somebody who is signed in is known by the assertion`, async () => {
    const answer = await ada.send(`${gate.url}/${language}/a%20b/%C3%A9?q=1`);
    assert.equal(`${answer.status} ${answer.text}`, `200 hello ${ADA}\n`);
    const posted = await ada.send(`${gate.url}/${language}/form`, { method: 'POST', body: '' });
    assert.equal(`${posted.status} ${posted.text}`, `200 hello ${ADA}\n`);
  });

  test(`${language}: a stranger who came through the gate is a stranger`, async () => {
    const answer = await send(`${gate.url}/${language}/open/x`);
    assert.equal(`${answer.status} ${answer.text}`, '200 hello stranger\n');
  });

  test(`${language}: nobody comes around the gate`, async () => {
    assert.equal((await around(`/${language}/x`, [])).status, 401);
    assert.equal((await around(`/${language}/x`, [['x-user-id', ADA]])).status, 401);
    for (const forged of ['', 'forged', 'eyJhbGciOiJub25lIn0.e30.']) {
      assert.equal((await around(`/${language}/x`, [[HEADER, forged]])).status, 401, forged);
    }
    const forwarded = await send(`${gate.url}/${language}/open/x`, { headers: [[HEADER, 'forged']] });
    assert.equal(forwarded.text, 'hello stranger\n');
  });

  test(`${language}: an assertion is good for its own request and no other`, async () => {
    const path = `/${language}/caught/x`;
    const good = await caughtAt(path);
    // The same request, repeated by whoever listens: only a list of ids would tell.
    assert.equal((await around(path, [[HEADER, good]])).status, 200);
    for (const [where, method] of [[`/${language}/caught/y`, 'GET'], [path, 'POST'], [`${path}/`, 'GET']]) {
      assert.equal((await around(where, [[HEADER, good]], method)).status, 401, `${method} ${where}`);
    }
    const twice = await around(path, [[HEADER, good], [HEADER, good]]);
    assert.equal(twice.status, 401);
    const [head, claims, signature] = good.split('.');
    const other = Buffer.from(JSON.stringify({ ...decodeJwt(good), sub: ADA })).toString('base64url');
    for (const changed of [`${head}.${other}.${signature}`, `${head}.${claims}.${signature.slice(0, -8)}AAAAAAAA`]) {
      assert.equal((await around(path, [[HEADER, changed]])).status, 401);
    }
  });

  test(`${language}: an assertion for another server is none`, async () => {
    const [other] = Object.keys(PROGRAMS).filter((name) => name !== language);
    const path = `/${other}/caught/x`;
    const foreign = await caughtAt(path);
    assert.equal(decodeJwt(foreign).aud, apps[other].url);
    assert.equal((await around(path, [[HEADER, foreign]])).status, 401);
    assert.equal((await send(`${apps[other].url}${path}`, { headers: [[HEADER, foreign]] })).status, 200);
  });
}
