// An application without a line of Clerk in it, behind a gate that puts clerk-js into its pages, in a real
// browser. The page stays open for longer than a session token lives, and stays signed in. Session tokens
// live for 20 seconds here.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import puppeteer from 'puppeteer-core';

import { eventually, ROOT, startDev, startGate } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const PACKAGE = join(ROOT, 'tests/e2e/node_modules/@clerk/clerk-js');
const { version: VERSION } = JSON.parse(readFileSync(join(PACKAGE, 'package.json')));
/** Good for so many seconds, and for 5 more, the tolerated clock skew. */
const TOKEN_LIFETIME = 20;

let app;
let dev;
let gate;
let home;
let browser;
let page;
/** What the application received. */
const received = [];
const complaints = [];

/** The pages of the application, by path: headers, and text. */
const PAGES = {
  '/legacy': [{}, `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><base href="/elsewhere/"><title>A legacy application</title>
<link rel="icon" href="data:,"></head>
<body><h1>Größe &amp; Maß</h1><p id="order">first</p>
<script>document.getElementById('order').textContent += ' ' + (window.Clerk ? 'late' : 'before Clerk');</script>
<form method="post" action="/form"><input name="note" value="kept"><button>Send</button></form></body></html>
`],
  '/bare': [{}, '<title>Bare</title><link rel=icon href=data:,><p>No head, no body'],
  '/strict': [
    { 'content-security-policy': "default-src 'self' data:" },
    '<!doctype html><html><head><title>Strict</title><link rel=icon href=data:,></head><body><p>x</body></html>',
  ],
  '/allowing': [
    { 'content-security-policy': "default-src 'self' data:; worker-src blob:" },
    '<!doctype html><html><head><title>Allowing</title><link rel=icon href=data:,></head><body><p>x</body></html>',
  ],
};

before(async () => {
  app = http.createServer(answer).listen(0, '127.0.0.1');
  await once(app, 'listening');
  const upstream = `http://127.0.0.1:${app.address().port}`;
  dev = await startDev('--clerk-js', PACKAGE, '--token-lifetime', `${TOKEN_LIFETIME}`);
  home = mkdtempSync(join(tmpdir(), 'inject-'));
  const policy = `
[clerk.frontend-api-proxy]
enabled = true
url     = "${dev.clerk}"

[inject]
clerk-js = "${VERSION}"

[[route]]
path    = "/plain"
require = "signed-in"

[[route]]
path    = "/**"
require = "signed-in"
inject  = true
`;
  gate = await startGate({ dev, home, upstream, policy });
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--disable-dev-shm-usage',
      // Whatever is asked of another machine is not found.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
      ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
    ],
  });
  page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(`${page.url()}: ${message.text()}`);
  });
});

after(async () => {
  await browser?.close();
  await gate?.stop();
  await dev?.stop();
  app?.closeAllConnections();
  app?.close();
  if (home) rmSync(home, { recursive: true });
});

function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://app.test');
  let body = '';
  request.setEncoding('utf8').on('data', (piece) => { body += piece; });
  request.on('end', () => {
    received.push({ path: pathname, method: request.method, headers: request.headers, body });
    const [headers, text] = PAGES[pathname] ?? [{}, PAGES['/legacy'][1]];
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', etag: '"1"', ...headers }).end(text);
  });
}

const sessionCookie = async () =>
  (await browser.cookies()).find(({ name, domain }) => name === '__session' && domain === 'localhost')?.value;

const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

/** Opens a page, and gives its text as it came over the wire. */
async function open(path) {
  const answer = await page.goto(`${gate.url}${path}`, { waitUntil: 'load' });
  assert.equal(answer.status(), 200);
  return answer.text();
}

const started = () => page.waitForFunction(() => window.Clerk?.loaded && window.Clerk.session);

test('somebody signs in, and the page of the application has Clerk in it', async () => {
  await page.goto(`${gate.url}/legacy`, { waitUntil: 'load' });
  assert.equal(new URL(page.url()).origin, dev.clerk, page.url());
  await Promise.all([
    page.waitForNavigation({ waitUntil: 'load' }),
    page.locator('button.person ::-p-text(Ada Admin)').click(),
  ]);
  assert.equal(page.url(), `${gate.url}/legacy`);
  await started();
  assert.equal(await page.evaluate(() => Clerk.version), VERSION);
  assert.equal(await page.evaluate(() => Clerk.user.id), ADA);
});

test('what the application wrote is all there, in its order', async () => {
  const text = await open('/legacy');
  const cut = text.replace(/<script defer crossorigin=.*?<\/script><script defer .*?<\/script>/, '');
  assert.notEqual(cut, text);
  assert.equal(cut, PAGES['/legacy'][1]);
  await started();
  assert.equal(await page.$eval('h1', (element) => element.textContent), 'Größe & Maß');
  assert.equal(await page.$eval('#order', (element) => element.textContent), 'first before Clerk');
  assert.equal(await page.evaluate(() => document.baseURI), `${gate.url}/elsewhere/`);
});

test('the session outlives its first token while the page is open, without a request to the application', async () => {
  const first = await sessionCookie();
  const over = (claims(first).exp + 6) * 1000;
  const before = received.length;
  while (Date.now() < over) {
    assert.ok(claims(await sessionCookie()).exp * 1000 > Date.now(), 'the cookie is never older than its token');
    await pause(500);
  }
  assert.equal(received.length, before, 'nothing else renewed it');
  const renewed = claims(await sessionCookie());
  assert.ok(renewed.exp > claims(first).exp);
  assert.equal(renewed.azp, gate.url, 'a token for a script, not one for a page load');
  // A form that has been open for longer than a token lives arrives.
  await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), page.locator('button').click()]);
  const form = received.at(-1);
  assert.deepEqual([form.method, form.path, form.body], ['POST', '/form', 'note=kept']);
  assert.equal(form.headers['x-user-id'], ADA);
});

test('a page without a head has it too', async () => {
  const text = await open('/bare');
  assert.ok(text.indexOf('<script defer') < text.indexOf('<p>No head'), text);
  await started();
  assert.equal(await page.$eval('p', (element) => element.textContent), 'No head, no body');
});

test('a page whose policy does not let the scripts work is what it was', async () => {
  assert.equal(await open('/strict'), PAGES['/strict'][1]);
  assert.equal(await page.evaluate(() => typeof window.Clerk), 'undefined');
});

test('a page whose policy lets them work has them, and they work', async () => {
  await open('/allowing');
  await started();
  const first = claims(await sessionCookie()).exp;
  await eventually('the script renews the session under this policy', async () => {
    assert.ok(claims(await sessionCookie()).exp > first);
  }, 30_000);
});

test('a route that does not say so has pages as they are', async () => {
  assert.equal(await open('/plain'), PAGES['/legacy'][1]);
});

test('what a script of the page asks for is what the application wrote', async () => {
  await open('/bare');
  // While it starts, Clerk's script writes the cookies anew by which the browser is known.
  await started();
  const text = await page.evaluate(async () => (await fetch('/legacy', { cache: 'no-store' })).text());
  assert.equal(text, PAGES['/legacy'][1]);
});

test('nothing was broken on the way', async () => {
  assert.deepEqual(complaints, []);
});
