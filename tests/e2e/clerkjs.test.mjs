// Clerk's own script for browsers, clerk-js, in a real browser in front of the gate. The application has no
// Clerk in it but a script tag. After each step the gate and the application see exactly the person, session
// and organisation that the script believes in. Session tokens live for 20 seconds here.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import puppeteer from 'puppeteer-core';

import { eventually, ROOT, startDev } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const MEL = 'user_2Mel00000000000000000000001';
const SOL = 'user_2Sol00000000000000000000001';
const ACME = 'org_2Acme0000000000000000000001';
const GLOBEX = 'org_2Globex00000000000000000001';
const PACKAGE = join(ROOT, 'tests/e2e/node_modules/@clerk/clerk-js');
const { version: VERSION } = JSON.parse(readFileSync(join(PACKAGE, 'package.json')));
/** Good for so many seconds, and for 5 more, the tolerated clock skew. */
const TOKEN_LIFETIME = 20;
const NOBODY = { user: null, session: null, organization: null, role: null };

let app;
let dev;
let browser;
/** The tab in front. */
let page;
/** What the application received. */
const received = [];
/** The origins that the browser asked anything of, and those that the application's pages asked. */
const asked = { ever: new Set(), byPages: new Set() };
/** What the script asked of Clerk's Frontend API. */
const endpoints = new Set();
const complaints = [];
/** The ids of sessions, by person. */
const sessions = {};

before(async () => {
  app = http.createServer(answer).listen(0, '127.0.0.1');
  await once(app, 'listening');
  const upstream = `http://127.0.0.1:${app.address().port}`;
  dev = await startDev('--upstream', upstream, '--clerk-js', PACKAGE, '--token-lifetime', `${TOKEN_LIFETIME}`);
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--disable-dev-shm-usage',
      // Whatever is asked of another machine is not found.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
      ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
    ],
  });
  page = await newTab();
});

after(async () => {
  await browser?.close();
  await dev?.stop();
  app?.closeAllConnections();
  app?.close();
});

async function newTab() {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(15_000);
  tab.on('request', (request) => {
    const { origin, pathname } = new URL(request.url());
    asked.ever.add(origin);
    if (!['script', 'fetch'].includes(request.resourceType())) return;
    asked.byPages.add(origin);
    const [, endpoint] = /^\/__clerk(\/v1\/.*)/.exec(pathname) ?? [];
    if (endpoint) endpoints.add(endpoint.replace(/sess_\w+/, '{id}'));
  });
  tab.on('pageerror', (error) => complaints.push(`${tab.url()}: ${error.message}`));
  tab.on('console', (message) => {
    // A browser notes each refusal; some tests ask for them.
    const refusal = /responded with a status of 40[13]/.test(message.text());
    if (message.type() === 'error' && !refusal) complaints.push(`${tab.url()}: ${message.text()}`);
  });
  return tab;
}

async function bringToFront(tab) {
  page = tab;
  await tab.bringToFront();
}

/** The application: pages with a script tag, and what its identity headers say. */
function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://app.test');
  received.push({ path: pathname, headers: request.headers });
  const [user, session, organization, role] = ['user-id', 'session-id', 'org-id', 'org-role'].map(
    (name) => request.headers[`x-${name}`] || null,
  );
  const who = JSON.stringify({ user, session, organization, role });
  if (pathname.endsWith('/whoami')) {
    response.writeHead(200, { 'content-type': 'application/json' }).end(who);
    return;
  }
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html>
    <html lang="en"><title>An application</title><link rel="icon" href="data:,"><h1>An application</h1>
    <script id="who" type="application/json">${who}</script>
    <script src="/__clerk/npm/@clerk/clerk-js@${VERSION}/dist/clerk.browser.js"
      data-clerk-publishable-key="${dev.publishable_key}" data-clerk-proxy-url="/__clerk"></script>
    <script>Clerk.load({ telemetry: false });</script>`);
}

/** Opens a page of the application and waits for Clerk's script. */
async function open(path) {
  await page.goto(new URL(path, dev.gate).href, { waitUntil: 'load' });
  await loaded();
}

/** Waits for Clerk's script; it then believes in whom the page was made for. */
async function loaded() {
  await page.waitForFunction(() => window.Clerk?.loaded);
  const madeFor = await page.$eval('#who', (element) => JSON.parse(element.textContent));
  assert.deepEqual(await believed(), madeFor, `as the application saw it at ${page.url()}`);
}

/** Does something that leads to another page, and waits for Clerk's script there. */
async function leads(act) {
  // Handshakes that follow each other within two seconds are a loop after the third. People are slower.
  await eventually('the handshakes so far are forgotten', async () => {
    assert.ok(!(await browser.cookies()).some(({ name }) => name === '__clerk_redirect_count'));
  });
  await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), act()]);
  await loaded();
}

/** Signs one more person in, by the portal's page. */
async function signIn(path, name) {
  await page.goto(new URL(path, dev.gate).href, { waitUntil: 'load' });
  assert.equal(new URL(page.url()).origin, dev.clerk, page.url());
  await leads(() => page.locator(`button.person ::-p-text(${name})`).click());
  assert.equal(new URL(page.url()).origin, dev.gate, page.url());
}

/** Whom the script believes in. */
const believed = () =>
  page.evaluate(() => {
    const organization = Clerk.organization?.id ?? null;
    const memberships = Clerk.user?.organizationMemberships ?? [];
    const membership = memberships.find((held) => held.organization.id === organization);
    return {
      user: Clerk.user?.id ?? null,
      session: Clerk.session?.id ?? null,
      organization,
      role: membership?.role ?? null,
    };
  });

/** What a script of the page gets for a path. */
const ask = (path, options = {}) =>
  page.evaluate(
    async (...asked) => {
      const answer = await fetch(...asked);
      const text = await answer.text();
      return { status: answer.status, body: /json/.test(answer.headers.get('content-type')) ? JSON.parse(text) : text };
    },
    path,
    options,
  );

/** Asserts that script, gate and application see this person, session and organisation. */
async function allSee(expected) {
  assert.deepEqual(await believed(), expected);
  const me = await ask('/_gate/me');
  assert.equal(me.status, 200, JSON.stringify(me.body));
  const { user_id: user, session_id: session, organization } = me.body;
  const seen = { user, session, organization: organization?.id ?? null, role: organization?.role ?? null };
  assert.deepEqual(seen, expected, 'as the gate sees it');
  const whoami = await ask('/whoami');
  assert.deepEqual(whoami, { status: 200, body: expected }, 'as the application sees it');
}

/** Asserts that script and gate see nobody, and that the application is not asked. */
async function allSeeNobody() {
  assert.deepEqual(await believed(), NOBODY);
  assert.equal((await ask('/_gate/me')).status, 401);
  const before = received.length;
  assert.equal((await ask('/whoami')).status, 401);
  assert.equal(received.length, before, 'the application received nothing');
}

const who = (user, organization = null, role = null) => ({ user, session: sessions[user], organization, role });

const activate = (user) => page.evaluate((session) => Clerk.setActive({ session }), sessions[user]);

async function sessionCookie() {
  const cookies = await browser.cookies();
  return cookies.find(({ name, domain }) => name === '__session' && domain === 'localhost')?.value;
}

const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

test('a page of the application loads the script from the gate', async () => {
  await open('/');
  assert.equal(await page.evaluate(() => Clerk.version), VERSION);
  await allSeeNobody();
});

test('the script finds the session that was begun by the gate', async () => {
  await signIn('/members', 'Ada Admin');
  sessions[ADA] = await page.evaluate(() => Clerk.session.id);
  await allSee(who(ADA, ACME, 'org:admin'));
  assert.equal(await page.evaluate(() => Clerk.user.fullName), 'Ada Admin');
  assert.ok(!page.url().includes('__clerk'), page.url());
});

test('the session gives tokens', async (t) => {
  await t.test('its own, which the gate takes as a bearer', async () => {
    const token = await page.evaluate(() => Clerk.session.getToken({ skipCache: true }));
    const { sub, sid, azp } = claims(token);
    assert.deepEqual({ sub, sid, azp }, { sub: ADA, sid: sessions[ADA], azp: dev.gate });
    const bearer = { headers: { authorization: `Bearer ${token}` }, credentials: 'omit' };
    const answer = await ask('/whoami', bearer);
    assert.deepEqual(answer, { status: 200, body: who(ADA, ACME, 'org:admin') });
  });
  await t.test('and those of a template, which it does not', async () => {
    const token = await page.evaluate(() => Clerk.session.getToken({ template: 'app' }));
    assert.equal(claims(token).email, 'ada@example.com');
    const before = received.length;
    const bearer = { headers: { authorization: `Bearer ${token}` }, credentials: 'omit' };
    assert.equal((await ask('/whoami', bearer)).status, 401);
    assert.equal(received.length, before, 'the application received nothing');
  });
  await allSee(who(ADA, ACME, 'org:admin'));
});

test('the script renews the session cookie before its token expires', async () => {
  const first = await sessionCookie();
  const old = (claims(first).exp + 6) * 1000;
  const before = received.length;
  while (Date.now() < old) {
    const held = await sessionCookie();
    assert.ok(claims(held).exp * 1000 > Date.now(), 'the cookie is never older than its token');
    await pause(500);
  }
  assert.equal(received.length, before, 'nothing else renewed it');
  const renewed = await sessionCookie();
  assert.notEqual(renewed, first);
  assert.equal(claims(renewed).azp, dev.gate, 'a token for a script, not one for a page load');
  await allSee(who(ADA, ACME, 'org:admin'));
  assert.equal(claims(await sessionCookie()).azp, dev.gate, 'the gate left it as it is');
});

test('the gate renews the session while the script sleeps, and the script goes on from there', async () => {
  const devtools = await page.createCDPSession();
  await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
  const asleep = await sessionCookie();
  await pause((claims(asleep).exp + 6) * 1000 - Date.now());
  assert.equal(await sessionCookie(), asleep, 'the script slept');

  const [first, second] = [page, await newTab()];
  const answer = await second.goto(`${dev.gate}/whoami`, { waitUntil: 'load' });
  assert.deepEqual(await answer.json(), who(ADA, ACME, 'org:admin'));
  assert.equal(claims(await sessionCookie()).azp, undefined, 'a token for a page load');
  await second.close();

  await bringToFront(first);
  await devtools.send('Page.setWebLifecycleState', { state: 'active' });
  await allSee(who(ADA, ACME, 'org:admin'));
  await eventually('the script renews it again', async () => {
    assert.equal(claims(await sessionCookie()).azp, dev.gate);
  });
  await allSee(who(ADA, ACME, 'org:admin'));
});

test('one browser holds sessions of several people and switches between them', async () => {
  await signIn('/_gate/sign-in', 'Mel Member');
  sessions[MEL] = await page.evaluate(() => Clerk.session.id);
  await allSee(who(MEL, ACME, 'org:member'));
  await signIn('/_gate/sign-in', 'Sol Solo');
  sessions[SOL] = await page.evaluate(() => Clerk.session.id);
  await allSee(who(SOL));
  const held = await page.evaluate(() => Clerk.client.signedInSessions.map(({ id }) => id));
  assert.deepEqual(new Set(held), new Set(Object.values(sessions)));

  await activate(ADA);
  await allSee(who(ADA, ACME, 'org:admin'));
  await activate(MEL);
  await allSee(who(MEL, ACME, 'org:member'));
  await activate(ADA);
  await allSee(who(ADA, ACME, 'org:admin'));
});

test('the tab that is in front acts for its own session', async () => {
  const [first, second] = [page, await newTab()];
  await bringToFront(second);
  await open('/members');
  await allSee(who(ADA, ACME, 'org:admin'));
  await activate(MEL);
  await allSee(who(MEL, ACME, 'org:member'));
  await bringToFront(first);
  await eventually('the first tab is Ada again', () => allSee(who(ADA, ACME, 'org:admin')));
  await bringToFront(second);
  await eventually('the second tab is Mel again', () => allSee(who(MEL, ACME, 'org:member')));
  await second.close();
  await bringToFront(first);
  await eventually('the first tab is Ada still', () => allSee(who(ADA, ACME, 'org:admin')));
});

test('one session switches between organisations', async () => {
  const listed = await page.evaluate(async () => {
    const { data } = await Clerk.user.getOrganizationMemberships();
    return data.map(({ organization }) => organization.id);
  });
  assert.deepEqual(listed, [ACME, GLOBEX]);
  assert.equal((await ask('/admin/whoami')).status, 200);

  const enter = (organization) => page.evaluate((to) => Clerk.setActive({ organization: to }), organization);
  await enter(GLOBEX);
  await allSee(who(ADA, GLOBEX, 'org:member'));
  const before = received.length;
  assert.equal((await ask('/admin/whoami')).status, 403, 'the role of the other organisation is gone');
  assert.equal(received.length, before, 'the application received nothing');

  await enter(null);
  await allSee(who(ADA));
  await enter(ACME);
  await allSee(who(ADA, ACME, 'org:admin'));
  assert.equal((await ask('/admin/whoami')).status, 200);
});

test('signing out of one session leaves the others', async (t) => {
  await t.test('when another is active', async () => {
    await page.evaluate((sessionId) => Clerk.signOut({ sessionId }), sessions[SOL]);
    await allSee(who(ADA, ACME, 'org:admin'));
    const held = await page.evaluate(() => Clerk.client.signedInSessions.map(({ id }) => id));
    assert.deepEqual(new Set(held), new Set([sessions[ADA], sessions[MEL]]));
  });
  await t.test('when it is the active one', async () => {
    await leads(() => page.evaluate((sessionId) => {
      Clerk.signOut({ sessionId, redirectUrl: '/members' });
    }, sessions[ADA]));
    assert.equal(page.url(), `${dev.gate}/members`);
    await allSee(who(MEL, ACME, 'org:member'));
  });
});

test('signing out of all sessions leaves nobody', async () => {
  await leads(() => page.evaluate(() => {
    Clerk.signOut({ redirectUrl: '/' });
  }));
  assert.equal(page.url(), `${dev.gate}/`);
  await allSeeNobody();
  assert.ok(!(await sessionCookie()));
});

test('a session that ends at Clerk ends in the browser, and at the gate', async () => {
  await signIn('/members', 'Sol Solo');
  sessions[SOL] = await page.evaluate(() => Clerk.session.id);
  await allSee(who(SOL));
  const revoked = await fetch(`${dev.clerk}/v1/sessions/${sessions[SOL]}/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${dev.secret_key}` },
  });
  assert.equal(revoked.status, 200);
  await page.waitForFunction(() => !Clerk.session, { timeout: (TOKEN_LIFETIME + 10) * 1000 });
  await allSeeNobody();
});

test('nothing but the gate and the sign-in page was asked, and nothing of Clerk reached the application', () => {
  assert.deepEqual(asked, { ever: new Set([dev.gate, dev.clerk]), byPages: new Set([dev.gate]) });
  assert.deepEqual([...endpoints].sort(), [
    '/v1/client',
    '/v1/client/sessions',
    '/v1/client/sessions/{id}/remove',
    '/v1/client/sessions/{id}/tokens',
    '/v1/client/sessions/{id}/tokens/app',
    '/v1/client/sessions/{id}/touch',
    '/v1/environment',
    '/v1/me/organization_memberships',
  ]);
  assert.ok(received.length > 20, `only ${received.length} requests`);
  for (const { path, headers } of received) {
    assert.ok(!path.startsWith('/__clerk'), path);
    assert.doesNotMatch(headers.cookie ?? '', /__client|__session|__refresh|__clerk_db_jwt/, path);
  }
  assert.deepEqual(complaints, []);
});
