// An application of somebody else's behind the gate: Radicale, a calendar server that takes its user from
// a header and has no idea of Clerk. `clerk-gate run` stands in front of it; the Clerk is the stand-in of
// another process.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Browser, eventually, freePort, Process, send, startDev, startGate, TARGET } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const MEL = 'user_2Mel00000000000000000000001';
const EVENT = [
  'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//clerk-gate//tests//EN', 'BEGIN:VEVENT', 'UID:one',
  'DTSTAMP:20260101T000000Z', 'DTSTART:20260102T100000Z', 'DTEND:20260102T110000Z', 'SUMMARY:Tea with Ada',
  'END:VEVENT', 'END:VCALENDAR', '',
].join('\r\n');
const POLICY = `
[identity.headers]
"x-remote-user" = "sub"

[[route]]
name    = "web"
path    = ["/.web/**", "/notices/**"]
require = "public"

[[route]]
name    = "team"
path    = "/team/**"
require = "org:admin"
`;
const WHO = '<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>';

let home;
let dev;
let radicale;
let gate;
let radicaleUrl;
let gateUrl;
let mel;
let ada;

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'app-'));
  dev = await startDev();
  await startRadicale();
  gate = await startGate({ dev, home, upstream: radicaleUrl, policy: POLICY });
  gateUrl = gate.url;
  [mel, ada] = [new Browser(), new Browser()];
  await mel.signIn(`${gateUrl}/${MEL}/`, 'mel');
  await ada.signIn(`${gateUrl}/${ADA}/`, 'ada');
});

after(async () => {
  await Promise.allSettled([gate?.stop(), radicale?.stop(), dev?.stop()]);
  if (home) rmSync(home, { recursive: true });
});

async function startRadicale() {
  const port = await freePort();
  radicaleUrl = `http://127.0.0.1:${port}`;
  // What the team shares is open to everybody whom the gate lets through, the notices to everybody whom
  // Radicale knows.
  writeFileSync(join(home, 'rights'), `
[root]
user: .+
collection:
permissions: R

[own]
user: .+
collection: {user}(/.*)?
permissions: RrWw

[shared]
user: .+
collection: (team|notices)(/.*)?
permissions: RrWw
`);
  writeFileSync(join(home, 'radicale.ini'), `
[server]
hosts = 127.0.0.1:${port}
[auth]
type = http_x_remote_user
[rights]
type = from_file
file = ${join(home, 'rights')}
[storage]
filesystem_folder = ${join(home, 'collections')}
[logging]
level = info
`);
  radicale = new Process(join(TARGET, 'venv/bin/python'), ['-m', 'radicale', '-C', join(home, 'radicale.ini')]);
  await eventually('Radicale answers', () => send(`${radicaleUrl}/.web/`));
  const asAda = { method: 'MKCOL', headers: [['X-Remote-User', ADA]] };
  assert.equal((await send(`${radicaleUrl}/notices/`, asAda)).status, 201);
  assert.equal((await send(`${radicaleUrl}/team/`, asAda)).status, 201);
}

/** Asks Radicale who it is that asks. */
function whoAmI(client, { url = `${gateUrl}/`, headers = [] } = {}) {
  return client.send(url, { method: 'PROPFIND', headers: [['Depth', '0'], ...headers], body: WHO });
}

function isPrincipal(answer, user, how = '') {
  assert.equal(answer.status, 207, `${how} ${answer.text}`);
  const principal = /<current-user-principal>\s*<href>([^<]*)<\/href>/.exec(answer.text);
  assert.equal(principal?.[1], `/${user}/`, answer.text);
}

test('a public page is shown to anybody', async () => {
  const page = await new Browser().visit(`${gateUrl}/.web/`);
  assert.equal(page.status, 200);
  assert.match(page.text, /Radicale/);
});

test('somebody who is signed out is sent to the sign-in page and told the way back', async () => {
  const page = await new Browser().visit(`${gateUrl}/${MEL}/?a=b%20c&d=%26`);
  const last = page.hops.at(-2);
  assert.equal(last.status, 307);
  assert.equal(new URL(last.url).origin, gateUrl);
  const signIn = new URL(page.url);
  assert.equal(`${signIn.origin}${signIn.pathname}`, `${dev.clerk}/sign-in`);
  const back = new URL(signIn.searchParams.get('redirect_url'));
  assert.equal(`${back.origin}${back.pathname}`, `${gateUrl}/${MEL}/`);
  assert.deepEqual([...back.searchParams], [['a', 'b c'], ['d', '&']]);
});

test('a program that is signed out gets a status, not a page', async () => {
  const answer = await whoAmI({ send });
  assert.equal(answer.status, 401);
  assert.match(answer.headers['www-authenticate'], /^Bearer/);
  assert.ok(JSON.parse(answer.text).error.code);
});

test('the application knows who is signed in', async () => {
  isPrincipal(await whoAmI(mel), MEL);
  isPrincipal(await whoAmI(ada), ADA);
});

test('the application knows the holder of a bearer token', async () => {
  const token = mel.cookies(gateUrl).get('__session');
  isPrincipal(await whoAmI({ send }, { headers: [['Authorization', `Bearer ${token}`]] }), MEL);
});

test('the application works for its user, and keeps others out', async () => {
  const calendar = `${gateUrl}/${MEL}/diary/`;
  assert.equal((await mel.send(calendar, { method: 'MKCALENDAR' })).status, 201);
  const put = { method: 'PUT', headers: [['Content-Type', 'text/calendar']], body: EVENT };
  assert.equal((await mel.send(`${calendar}one.ics`, put)).status, 201);
  const own = await mel.send(`${calendar}one.ics`);
  assert.equal(own.status, 200);
  assert.match(own.text, /SUMMARY:Tea with Ada/);
  const others = await ada.send(`${calendar}one.ics`);
  assert.ok([403, 404].includes(others.status), `${others.status}`);
  assert.doesNotMatch(others.text, /Tea/);
});

const FORGED = [
  ['as configured', [['x-remote-user', ADA]]],
  ['in other case', [['X-Remote-User', ADA]]],
  ['in capitals', [['X-REMOTE-USER', ADA]]],
  ['with underscores', [['X_Remote_User', ADA]]],
  ['with one underscore', [['x-remote_user', ADA]]],
  ['twice', [['X-Remote-User', ADA], ['X-Remote-User', ADA]]],
  ['in two spellings', [['X-Remote-User', ADA], ['X_Remote_User', ADA]]],
  ['named in Connection', [['Connection', 'close, x-remote-user'], ['X-Remote-User', ADA]]],
];

test('without the gate, these headers would be believed', async () => {
  for (const [how, headers] of FORGED.slice(0, 4)) {
    isPrincipal(await whoAmI({ send }, { url: `${radicaleUrl}/notices/`, headers }), ADA, how);
  }
});

for (const [how, headers] of FORGED) {
  test(`a forged user ${how} does not arrive`, async () => {
    const asMel = await whoAmI(mel, { headers });
    assert.ok(!asMel.text.includes(ADA), asMel.text);
    // Refusing such a request is right as well; believing it is not.
    if (asMel.status !== 400) isPrincipal(asMel, MEL);

    // A public route forwards strangers, and Radicale turns them away.
    const asStranger = await whoAmI({ send }, { url: `${gateUrl}/notices/`, headers });
    assert.ok(!asStranger.text.includes(ADA), asStranger.text);
    assert.ok([400, 401, 403].includes(asStranger.status), `${asStranger.status} ${asStranger.text}`);
  });
}

test('an admin-only path refuses a member and lets an admin in', async () => {
  const before = radicale.log.length;
  const refused = await mel.send(`${gateUrl}/team/plans/`, { method: 'MKCALENDAR' });
  assert.equal(refused.status, 403);
  assert.equal(refused.headers['x-clerk-auth-reason'], 'role-missing');
  const disguised = await mel.send(`${gateUrl}/TEAM/plans/`, { method: 'MKCALENDAR' });
  assert.equal(disguised.status, 403);
  const page = await mel.visit(`${gateUrl}/team/`);
  assert.equal(page.status, 403);
  assert.match(page.headers['content-type'], /^text\/html/);
  assert.equal(radicale.log.slice(before), '', 'none of it reached the application');

  assert.equal((await ada.send(`${gateUrl}/team/plans/`, { method: 'MKCALENDAR' })).status, 201);
  assert.match((await ada.send(`${gateUrl}/team/plans/`, {
    method: 'PROPFIND', headers: [['Depth', '0']], body: '<propfind xmlns="DAV:"><allprop/></propfind>',
  })).text, /calendar/);
});

test('somebody who signs out at Clerk is signed out of the application', async () => {
  const query = new URLSearchParams({
    redirect_url: `${gateUrl}/${ADA}/`,
    __clerk_db_jwt: ada.cookies(gateUrl).get('__clerk_db_jwt'),
  });
  const account = await ada.visit(`${dev.clerk}/user?${query}`);
  assert.match(account.text, /Ada Admin/);
  const page = await ada.submit(account, 'action="/sign-out"');
  assert.match(page.url, /\/sign-in\?/);
  assert.equal((await whoAmI(ada)).status, 401);
});

test('told to stop, the gate ends well', async () => {
  assert.deepEqual(await gate.stop(), { code: 0, signal: null });
});
