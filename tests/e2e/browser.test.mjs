// A real browser in front of `clerk-gate dev`: what people do, and what they see. Screenshots of every
// page in both colour schemes and two widths are left in target/screenshots.

import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import puppeteer from 'puppeteer-core';

import { looksRight } from './look.mjs';
import { startDev, TARGET } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const MEL = 'user_2Mel00000000000000000000001';
const PIA = 'user_2Pia00000000000000000000001';
const SOL = 'user_2Sol00000000000000000000001';
const SCREENSHOTS = join(TARGET, 'screenshots');
/** Session tokens live for 60 seconds and are good for 5 more, the tolerated clock skew. */
const TOKEN_IS_OLD = 66_000;

let dev;
let browser;
let mel;
let ada;
let melSignedInAt;
/** Everything that a browser would complain about in its console. */
const complaints = [];

before(async () => {
  rmSync(SCREENSHOTS, { recursive: true, force: true });
  mkdirSync(SCREENSHOTS, { recursive: true });
  dev = await startDev();
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--disable-dev-shm-usage', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
  [mel, ada] = [await newPage(), await newPage()];
});

after(async () => {
  await browser?.close();
  await dev?.stop();
});

/** A page of a browser that knows nobody yet. */
async function newPage() {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on('requestfailed', (request) => {
    complaints.push(`${request.url()}: ${request.failure()?.errorText}`);
  });
  page.on('console', (message) => {
    if (!['error', 'warn'].includes(message.type())) return;
    // A browser notes each refused page; that it is refused is what some tests ask for.
    const refusedPage = /responded with a status of 40[1-4]/.test(message.text());
    if (refusedPage && message.location().url === page.url()) return;
    complaints.push(`${page.url()}: ${message.text()}`);
  });
  return page;
}

/** Does something that leads to another page, and returns the answer that page came with. */
async function leads(page, act) {
  const [answer] = await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), act()]);
  return answer;
}

const follow = (page, text) => leads(page, () => page.locator(`::-p-text(${text})`).click());
const pick = (page, name) => leads(page, () => page.locator(`button.person ::-p-text(${name})`).click());
const heading = (page) => page.$eval('h1', (element) => element.textContent.trim());
const text = (page) => page.$eval('body', (element) => element.innerText);
const open = (page, path) => page.goto(new URL(path, dev.gate).href, { waitUntil: 'load' });

async function isUser(page, id) {
  const shown = await page.$$eval('dl.facts dd', (all) => all.map((element) => element.textContent));
  assert.equal(shown[0], id);
}

async function post(page, subject) {
  await page.locator('input[name=subject]').fill(subject);
  await page.locator('textarea[name=text]').fill('Zwölf Boxkämpfer & <Viktor>');
  return leads(page, () => page.locator('main form button').click());
}

async function wasReceived(page, subject) {
  const shown = await page.$$eval('.note dd', (all) => all.map((element) => element.textContent));
  assert.deepEqual(shown, [subject, 'Zwölf Boxkämpfer & <Viktor>']);
}

test('a public page is shown to anybody', async () => {
  const answer = await open(mel, '/');
  assert.equal(answer.status(), 200);
  assert.equal(mel.url(), `${dev.gate}/`, 'no trace of the handshake is left in the address');
  assert.equal(await heading(mel), 'An application without a line of Clerk');
  assert.match(await text(mel), /Not signed in/);
});

test('a protected page leads to the sign-in page, which lists the people', async () => {
  await follow(mel, 'Asks you to sign in first');
  const url = new URL(mel.url());
  assert.equal(`${url.origin}${url.pathname}`, `${dev.clerk}/sign-in`);
  assert.equal(new URL(url.searchParams.get('redirect_url')).href, `${dev.gate}/members`);
  const names = await mel.$$eval('button.person b', (all) => all.map((element) => element.textContent));
  assert.deepEqual(names, ['Ada Admin', 'Mel Member', 'Sol Solo', 'Pia Pending']);
});

test('a member who signs in sees the members page', async () => {
  const answer = await pick(mel, 'Mel Member');
  melSignedInAt = Date.now();
  assert.equal(answer.status(), 200);
  assert.equal(mel.url(), `${dev.gate}/members`, 'no trace of the sign-in is left in the address');
  assert.equal(await heading(mel), 'Members');
  await isUser(mel, MEL);
  assert.match(await text(mel), /org:member/);
});

test('a member is refused the admin page, with a page', async () => {
  const answer = await open(mel, '/admin');
  assert.equal(answer.status(), 403);
  assert.match(answer.headers()['content-type'], /^text\/html/);
  assert.ok((await heading(mel)).length > 0);
  assert.doesNotMatch(await text(mel), /For those with the role/);
});

test('an admin is let in', async () => {
  await open(ada, '/admin');
  assert.match(ada.url(), /\/sign-in\?/);
  const answer = await pick(ada, 'Ada Admin');
  assert.equal(answer.status(), 200);
  assert.equal(ada.url(), `${dev.gate}/admin`);
  await isUser(ada, ADA);
});

test('a form arrives as it was filled in', async () => {
  await open(mel, '/form');
  const answer = await post(mel, 'before');
  assert.equal(answer.request().method(), 'POST');
  assert.equal(answer.status(), 200);
  await wasReceived(mel, 'before');
});

test('the link to sign in leads there and back, also for somebody else', async () => {
  const page = await newPage();
  await open(page, '/');
  await follow(page, 'Sign in');
  assert.match(page.url(), /\/sign-in\?/);
  await pick(page, 'Mel Member');
  assert.equal(new URL(page.url()).origin, dev.gate);
  await open(page, '/members');
  await isUser(page, MEL);

  await follow(page, 'Be somebody else');
  assert.match(page.url(), /\/sign-in\?/);
  await pick(page, 'Sol Solo');
  await open(page, '/members');
  await isUser(page, SOL);
  await page.browserContext().close();
});

test('somebody who has to choose an organisation is let in once that is done', async () => {
  const page = await newPage();
  await open(page, '/members');
  await pick(page, 'Pia Pending');
  assert.match(page.url(), /\/sign-in\/tasks\?/);
  await leads(page, () => page.locator('main form button').click());
  assert.equal(page.url(), `${dev.gate}/members`);
  await isUser(page, PIA);
  await page.browserContext().close();
});

test('a browser without scripts can do all of this', async () => {
  const page = await newPage();
  await page.setJavaScriptEnabled(false);
  await open(page, '/members');
  await leads(page, () => page.click('form:has(input[value=mel]) button'));
  assert.equal(page.url(), `${dev.gate}/members`);
  await isUser(page, MEL);
  await page.browserContext().close();
});

test('one browser\'s sign-in is not another\'s', async () => {
  const stranger = await newPage();
  await open(stranger, '/members');
  assert.match(stranger.url(), /\/sign-in\?/);
  await stranger.browserContext().close();
});

test('every page looks right in light and dark, on a telephone and on a desk', async (t) => {
  const stranger = await newPage();
  const pages = [
    ['home', stranger, '/', 200],
    ['sign-in', stranger, '/members', 200],
    ['members', mel, '/members', 200],
    ['form', mel, '/form', 200],
    ['headers', mel, '/headers', 200],
    ['missing', mel, '/nowhere', 404],
    ['forbidden', mel, '/admin', 403],
    ['gate-missing', mel, '/_gate/nowhere', 404],
    ['account', ada, `${dev.clerk}/user`, 200],
    ['problem', stranger, `${dev.clerk}/nowhere`, 404],
  ];
  for (const [name, page, path, status] of pages) {
    await t.test(name, async () => {
      const seen = {};
      for (const scheme of ['light', 'dark']) {
        for (const width of [390, 1280]) {
          await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
          await page.setViewport({ width, height: 844, isMobile: width < 500, hasTouch: width < 500 });
          const answer = await open(page, path);
          assert.equal(answer.status(), status, page.url());
          seen[scheme] = await looksRight(page, width);
          await page.screenshot({ path: join(SCREENSHOTS, `${name}-${scheme}-${width}.png`), fullPage: true });
        }
      }
      assert.ok(seen.light.ground > 0.8, `light is light: ${seen.light.ground}`);
      assert.ok(seen.dark.ground < 0.1, `dark is dark: ${seen.dark.ground}`);
    });
  }
  await stranger.browserContext().close();
});

test('somebody whose token has expired stays signed in', async (t) => {
  await open(mel, '/form');
  await mel.locator('input[name=subject]').fill('typed slowly');
  await pause(Math.max(0, melSignedInAt + TOKEN_IS_OLD - Date.now()));
  // The page was loaded with a younger token than the first: wait until that one is old, too.
  const { value } = (await mel.cookies(dev.gate)).find((cookie) => cookie.name.startsWith('__session'));
  const { exp } = JSON.parse(Buffer.from(value.split('.')[1], 'base64url'));
  await pause(Math.max(0, exp * 1000 + 6_000 - Date.now()));

  await t.test('a form that took long to fill in arrives', async () => {
    const answer = await post(mel, 'typed slowly');
    assert.equal(answer.status(), 200);
    await wasReceived(mel, 'typed slowly');
  });
  await t.test('a page is shown', async () => {
    const answer = await open(mel, '/members');
    assert.equal(answer.status(), 200);
    assert.equal(mel.url(), `${dev.gate}/members`);
    await isUser(mel, MEL);
  });
});

test('no browser complained', () => {
  assert.deepEqual(complaints, []);
});
