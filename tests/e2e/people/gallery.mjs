// Every page of the gate, each in a browser that it is shown to. Sessions are those of the stand-in; tokens are
// signed here, with a key that the gate is told, because no session of a test is an hour old or somebody else's.

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { freePort, send, startDev, startGate } from '../support.mjs';

export const ADA = 'user_2Ada00000000000000000000001';
export const MEL = 'user_2Mel00000000000000000000001';

/** What browsers say of themselves, and where they are. The stand-in knows these places only. */
export const DEVICES = {
  desk: {
    agent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
    address: '203.0.113.7',
    shown: ['Chrome on Linux', 'Vienna, AT'],
  },
  laptop: {
    agent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:144.0) Gecko/20100101 Firefox/144.0',
    address: '198.51.100.20',
    shown: ['Firefox on Macintosh', 'Lisbon, PT'],
  },
  telephone: {
    agent:
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ' +
      'Version/18.1 Mobile/15E148 Safari/604.1',
    address: '203.0.113.90',
    shown: ['Safari on iPhone', 'Vienna, AT'],
  },
};

const POLICY = `
# These sessions are of tokens that no handshake could bring, so that no browser has a seal of them.
[session]
continuity = "faithful"

[[route]]
name    = "home"
path    = "/"
require = "public"

[[route]]
name    = "admin"
path    = "/admin/**"
require = "org:admin"

[[route]]
name    = "fresh"
path    = "/fresh/**"
require = { max-age = "1h" }
`;

/** Signs somebody in at the stand-in, on a new browser or beside somebody; tells how Clerk knows the browser. */
async function signIn(dev, person, { agent, address }, beside = '') {
  const answer = await send(`${dev.clerk}/sign-in`, {
    method: 'POST',
    headers: [
      ['Content-Type', 'application/x-www-form-urlencoded'],
      ['User-Agent', agent],
      ['X-Forwarded-For', address],
    ],
    body: new URLSearchParams({ person, redirect_url: '', __clerk_db_jwt: beside }).toString(),
  });
  assert.equal(answer.status, 303, answer.text);
  return new URL(answer.headers.location, dev.clerk).searchParams.get('__clerk_db_jwt');
}

/** The live sessions of somebody, as Clerk's Backend API lists them, newest first. */
export async function sessionsOf(dev, user) {
  const { text } = await send(`${dev.clerk}/v1/sessions?user_id=${user}&status=active`, {
    headers: [['Authorization', `Bearer ${dev.secret_key}`]],
  });
  const listed = JSON.parse(text);
  const sessions = Array.isArray(listed) ? listed : listed.data;
  return sessions.sort((a, b) => b.created_at - a.created_at);
}

/** Has a gate decide about one request after the other; `cookies` tells those of somebody. */
async function decideAbout(gate, cookies) {
  const page = [['Accept', 'text/html'], ['Sec-Fetch-Dest', 'document'], ['Sec-Fetch-Mode', 'navigate']];
  const by = (person) => [['Cookie', cookies(person)]];
  for (const [status, path, headers, method] of [
    [200, '/', []],
    [307, '/members', page],
    [200, '/members', [...page, ...by('ada')]],
    [401, '/form', [], 'POST'],
    [404, '/reports/2026/third-quarter/by-country-and-department/with-all-attachments.pdf', by('mel')],
    [403, '/admin/users', [...page, ...by('mel')]],
    [403, '/ADMIN/users', by('mel')],
    [403, '/fresh/transfer', [...page, ...by('old')]],
    [400, '/%zz', []],
  ]) {
    const answer = await send(`${gate.url}${path}`, { method, headers });
    assert.equal(answer.status, status, `${path}: ${answer.text}`);
  }
}

/**
 * Starts what shows the pages. Each has a name, its status, and a way to open it with a browser that knows
 * nobody; `folder` is for what is written.
 */
export async function openGallery(folder) {
  const dev = await startDev();
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = join(folder, 'clerk.pem');
  writeFileSync(key, publicKey.export({ type: 'spki', format: 'pem' }));
  const clerk = `jwt-key-file = "${key}"\nissuer = "any"\napi-budget = 1000`;
  const gateIn = async (name, more) => {
    const home = join(folder, name);
    mkdirSync(home);
    return startGate({ dev, home, upstream: dev.app, clerk, policy: POLICY, ...more });
  };
  const gate = await gateIn('gate', {});
  const cutOff = await gateIn('cut-off', { api: `http://127.0.0.1:${await freePort()}` });

  await signIn(dev, 'ada', DEVICES.laptop);
  await signIn(dev, 'ada', DEVICES.telephone);
  let browser = await signIn(dev, 'mel', DEVICES.desk);
  browser = await signIn(dev, 'ada', DEVICES.desk, browser);
  const atDesk = ({ latest_activity: activity }) => activity.browser_name === 'Chrome';
  const listed = (await sessionsOf(dev, ADA)).find(atDesk);
  const [{ id: mel }] = await sessionsOf(dev, MEL);

  const token = (claims) => {
    const now = Math.floor(Date.now() / 1000);
    const times = { iat: now - 1, nbf: now - 1, exp: now + 600 };
    const whole = { iss: dev.clerk, ...times, v: 2, sts: 'active', fva: [0, -1], ...claims };
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${encode({ alg: 'RS256', typ: 'JWT', kid: 'ins_gallery' })}.${encode(whole)}`;
    return `${text}.${sign('sha256', text, privateKey).toString('base64url')}`;
  };
  const ada = { sub: ADA, sid: listed.id };
  const who = {
    nobody: null,
    ada,
    old: { ...ada, fva: [90, -1] },
    impersonator: { ...ada, act: { sub: 'user_2Support000000000000000001' } },
    mel: { sub: MEL, sid: mel },
  };
  const known = async (context, person) => {
    if (!who[person]) return;
    const cookies = {
      __session: token(who[person]),
      __client_uat: `${Math.floor(Date.now() / 1000) - 5}`,
      __clerk_db_jwt: browser,
    };
    const all = Object.entries(cookies).map(([name, value]) => ({ name, value, domain: 'localhost', path: '/' }));
    await context.setCookie(...all);
  };

  const decided = await gateIn('decided', {});
  await decideAbout(decided, (person) => `__session=${token(who[person])}; __client_uat=1; __clerk_db_jwt=${browser}`);
  const window = { url: decided.admin };

  const visit = (path, at = gate) => (page) => page.goto(`${at.url}${path}`, { waitUntil: 'load' });
  /** A form that somebody sends who is not signed in. */
  const sendForm = async (page) => {
    await page.goto(`${gate.url}/`, { waitUntil: 'load' });
    const [answer] = await Promise.all([
      page.waitForNavigation({ waitUntil: 'load' }),
      page.evaluate(() => {
        const form = document.body.appendChild(document.createElement('form'));
        [form.method, form.action] = ['post', '/form'];
        form.submit();
      }),
    ]);
    return answer;
  };
  const pages = [
    { name: 'sign-in-needed', person: 'nobody', status: 401, show: sendForm },
    { name: 'forbidden', person: 'mel', status: 403, show: visit('/admin') },
    { name: 'step-up', person: 'old', status: 403, show: visit('/fresh') },
    { name: 'not-found', person: 'nobody', status: 404, show: visit('/_gate/nowhere') },
    { name: 'unavailable', person: 'ada', status: 503, show: visit('/_gate/sessions', cutOff) },
    { name: 'sign-out', person: 'ada', status: 200, show: visit('/_gate/sign-out') },
    { name: 'signed-out', person: 'nobody', status: 200, show: visit('/_gate/sign-out?done') },
    { name: 'sessions', person: 'ada', status: 200, show: visit('/_gate/sessions') },
    { name: 'sessions-revoked', person: 'ada', status: 200, show: visit('/_gate/sessions?notice=revoked') },
    { name: 'sessions-impersonated', person: 'impersonator', status: 200, show: visit('/_gate/sessions') },
    { name: 'decisions', person: 'nobody', status: 200, show: visit('/decisions', window) },
  ];
  return {
    pages: pages.map(({ name, person, status, show }) => ({
      name,
      status,
      /** Shows it to a new page of a new browser, without scripts; the answer's status is as it should be. */
      async open(context) {
        await known(context, person);
        const page = await context.newPage();
        page.setDefaultTimeout(15_000);
        await page.setJavaScriptEnabled(false);
        const again = async () => {
          const answer = await show(page);
          assert.equal(answer.status(), status, `${name}: ${page.url()}`);
        };
        await again();
        return { page, again };
      },
    })),
    stop: () => Promise.all([gate.stop(), cutOff.stop(), decided.stop(), dev.stop()]),
  };
}
