// Clerk's own SDK for Node against the stand-in: what it accepts as Clerk's, a gate may take as Clerk's.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createClerkClient, verifyToken } from '@clerk/backend';

import { Browser, startDev } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const MEL = 'user_2Mel00000000000000000000001';
const ACME = 'org_2Acme0000000000000000000001';

let dev;
let clerk;
let browser;
let token;

before(async () => {
  dev = await startDev();
  clerk = createClerkClient({
    apiUrl: dev.clerk,
    publishableKey: dev.publishable_key,
    secretKey: dev.secret_key,
    telemetry: { disabled: true },
  });
  browser = new Browser();
  const page = await browser.signIn(`${dev.gate}/members`, 'mel');
  assert.equal(page.status, 200);
  assert.ok(page.text.includes(MEL), 'the application learns who it is');
  token = browser.cookies(dev.gate).get('__session');
});

after(() => dev?.stop());

const keys = () => ({ apiUrl: dev.clerk, secretKey: dev.secret_key });

/** The same token, made out to somebody else. */
function changed(jwt) {
  const [head, claims, signature] = jwt.split('.');
  const forged = { ...JSON.parse(Buffer.from(claims, 'base64url')), sub: ADA };
  return [head, Buffer.from(JSON.stringify(forged)).toString('base64url'), signature].join('.');
}

function requestWith(headers, url = `${dev.gate}/members`) {
  return new Request(url, { headers: { accept: 'text/html', 'sec-fetch-dest': 'document', ...headers } });
}

function cookieHeader(replaced = {}) {
  const held = new Map([...browser.cookies(dev.gate), ...Object.entries(replaced)]);
  return [...held].map(([name, value]) => `${name}=${value}`).join('; ');
}

test('a token from the pages is verified with the stand-in\'s keys', async () => {
  const claims = await verifyToken(token, keys());
  assert.equal(claims.sub, MEL);
  assert.equal(claims.iss, dev.clerk.replace('http:', 'https:'));
  assert.ok(claims.sid.startsWith('sess_'));
  assert.ok(claims.exp - claims.iat <= 60, 'as short-lived as Clerk\'s');
});

test('a changed token is refused', async () => {
  await assert.rejects(verifyToken(changed(token), keys()), { reason: 'token-invalid-signature' });
});

test('a browser\'s cookies make a signed-in request', async () => {
  const state = await clerk.authenticateRequest(requestWith({ cookie: cookieHeader() }));
  assert.equal(state.status, 'signed-in', `${state.reason}: ${state.message}`);
  const who = state.toAuth();
  assert.equal(who.userId, MEL);
  assert.equal(who.orgId, ACME);
  assert.equal(who.orgRole, 'org:member');
  assert.ok(who.has({ role: 'org:member' }));
  assert.ok(who.has({ permission: 'org:invoices:read' }));
  assert.ok(!who.has({ permission: 'org:invoices:write' }));
  assert.ok(!who.has({ role: 'org:admin' }));
});

test('a bearer token makes a signed-in request', async () => {
  const state = await clerk.authenticateRequest(requestWith({ authorization: `Bearer ${token}` }));
  assert.equal(state.status, 'signed-in', `${state.reason}: ${state.message}`);
  assert.equal(state.toAuth().userId, MEL);
});

test('a changed token signs nobody in', async () => {
  const bearer = requestWith({ authorization: `Bearer ${changed(token)}` });
  const asBearer = await clerk.authenticateRequest(bearer);
  assert.equal(asBearer.status, 'signed-out');
  assert.equal(asBearer.reason, 'token-invalid-signature');

  const suffixed = [...browser.cookies(dev.gate).keys()].filter((name) => name.startsWith('__session'));
  const replaced = Object.fromEntries(suffixed.map((name) => [name, changed(token)]));
  const asCookie = await clerk.authenticateRequest(requestWith({ cookie: cookieHeader(replaced) }));
  assert.notEqual(asCookie.status, 'signed-in');
});

test('the SDK completes a handshake with the stand-in', async () => {
  const start = await clerk.authenticateRequest(requestWith({}));
  assert.equal(start.status, 'handshake');
  // The SDK speaks https to the host that the publishable key names; the stand-in has no certificate.
  const there = new URL(start.headers.get('location').replace(/^https:/, 'http:'));
  assert.equal(there.origin, dev.clerk);
  there.searchParams.set('__clerk_db_jwt', browser.cookies(dev.gate).get('__clerk_db_jwt'));

  const back = await fetch(there, { redirect: 'manual' });
  assert.equal(back.status, 307);
  const landing = back.headers.get('location');
  assert.ok(landing.startsWith(`${dev.gate}/members`));

  const end = await clerk.authenticateRequest(requestWith({}, landing));
  assert.equal(end.status, 'signed-in', `${end.reason}: ${end.message}`);
  const cookies = end.headers.getSetCookie();
  const session = cookies.map((line) => /^__session=([^;]+)/.exec(line)?.[1]).find(Boolean);
  assert.equal((await verifyToken(session, keys())).sub, MEL);
});

test('the Backend API tells about users', async () => {
  const user = await clerk.users.getUser(MEL);
  assert.equal(user.id, MEL);
  assert.equal(user.fullName, 'Mel Member');
  assert.equal(user.primaryEmailAddress.emailAddress, 'mel@example.com');

  const { data, totalCount } = await clerk.users.getOrganizationMembershipList({ userId: MEL });
  assert.equal(totalCount, 1);
  assert.equal(data[0].role, 'org:member');
  assert.equal(data[0].organization.slug, 'acme');

  await assert.rejects(clerk.users.getUser('user_nobody'), { status: 404 });
});

test('the Backend API tells about organisations', async () => {
  const organization = await clerk.organizations.getOrganization({ organizationId: ACME });
  assert.equal(organization.slug, 'acme');
});

test('the Backend API makes tokens of a session', async () => {
  const { sid } = await verifyToken(token, keys());
  const { jwt } = await clerk.sessions.getToken(sid);
  assert.equal((await verifyToken(jwt, keys())).sub, MEL);
});

test('the Backend API lists, shows and revokes sessions', async () => {
  const other = new Browser();
  await other.signIn(`${dev.gate}/members`, 'sol');
  const { sid, sub } = await verifyToken(other.cookies(dev.gate).get('__session'), keys());

  const { data } = await clerk.sessions.getSessionList({ userId: sub, status: 'active' });
  assert.deepEqual(data.map((session) => session.id), [sid]);
  assert.equal((await clerk.sessions.getSession(sid)).status, 'active');

  assert.equal((await clerk.sessions.revokeSession(sid)).status, 'revoked');
  assert.equal((await clerk.sessions.getSession(sid)).status, 'revoked');
  await assert.rejects(clerk.sessions.getToken(sid), { status: 404 });
});

test('the wrong secret key opens nothing', async () => {
  const stranger = createClerkClient({ apiUrl: dev.clerk, secretKey: 'sk_test_wrong', telemetry: { disabled: true } });
  await assert.rejects(stranger.users.getUser(MEL), { status: 401 });
});
