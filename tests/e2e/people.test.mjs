// People and their sessions, on the gate's own pages in a real browser without scripts: two people on one
// browser, one person on three devices, a cookie in the wrong hands; and that the pages can be read and used by
// everybody. Behind the gate is an application of somebody else's.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import puppeteer from 'puppeteer-core';

import { startApplication } from './afternoon/application.mjs';
import { isWalkedByTab, looksRight, namesEveryControl } from './look.mjs';
import { ADA, DEVICES, MEL, openGallery, sessionsOf } from './people/gallery.mjs';
import { likenesses, likenessOf } from './people/likeness.mjs';
import { eventually, startDev, within } from './support.mjs';

/** A token of these is good for so many seconds, and five more, the tolerated clock skew. */
const LIFETIME = 5;
const SEAL = /^__Host-clerk-gate-seal_/;

let home;
let application;
let dev;
let browser;

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'people-'));
  application = await startApplication();
  dev = await startDev('--upstream', application.url, '--token-lifetime', `${LIFETIME}`, '--no-refresh-tokens');
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    protocolTimeout: 30_000,
    args: ['--disable-dev-shm-usage', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
});

after(async () => {
  await browser?.close();
  await dev?.stop();
  await application?.stop();
  rmSync(home, { recursive: true, force: true });
});

/** A page of a browser that knows nobody, without scripts; `device` is what it says of itself, and where it is. */
async function newPage(t, device = DEVICES.desk) {
  const context = await browser.createBrowserContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  await page.setJavaScriptEnabled(false);
  await page.setUserAgent({ userAgent: device.agent });
  await page.setExtraHTTPHeaders({ 'x-forwarded-for': device.address });
  return page;
}

/** Does something that leads to another page, and returns the answer that page came with. */
async function leads(page, act) {
  const [answer] = await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), act()]);
  return answer;
}

const open = (page, path) => page.goto(new URL(path, dev.gate).href, { waitUntil: 'load' });
const press = (page, name) => leads(page, () => page.click(`::-p-aria(${name})`));
const heading = (page) => page.$eval('h1', (element) => element.textContent.trim());
const text = (page) => page.$eval('body', (element) => element.innerText);
const at = (page) => new URL(page.url()).pathname;

async function pick(page, name) {
  assert.match(page.url(), /\/sign-in\?/);
  return leads(page, () => page.click(`button.person ::-p-text(${name})`));
}

async function signIn(page, name) {
  await open(page, '/desk');
  const answer = await pick(page, name);
  assert.equal(answer.status(), 200);
}

/** Whom the application takes the next page load for. */
async function user(page) {
  await open(page, '/desk');
  return page.$eval('#user', (element) => element.textContent);
}

async function isOut(page) {
  await open(page, '/desk');
  assert.match(page.url(), /\/sign-in\?/);
}

const live = async (person) => (await sessionsOf(dev, person)).length;

/** The sessions that the page lists, each with its title and what else it says. */
const listed = (page) =>
  page.$$eval('.sessions li', (all) =>
    all.map((line) => ({ title: line.querySelector('h2, h3').innerText.trim(), text: line.innerText })),
  );

/** Another tab of the same browser, which runs scripts, on a page that changes no cookie. */
async function scriptsBeside(page) {
  const tab = await page.browserContext().newPage();
  // The gate's own pages forbid every script.
  await tab.setBypassCSP(true);
  await open(tab, '/_gate/nowhere');
  return tab;
}

/** Opens a WebSocket from another tab; returns what waits for the code that it is closed with. */
async function holdSocket(page) {
  const tab = await scriptsBeside(page);
  await tab.evaluate(async () => {
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/socket`);
    window.ended = new Promise((resolve) => {
      socket.onclose = ({ code }) => resolve(code);
    });
    await new Promise((resolve, reject) => {
      socket.onmessage = resolve;
      socket.onerror = () => reject(new Error('a WebSocket failed'));
    });
  });
  await page.bringToFront();
  return () => within(2_000, tab.evaluate(() => window.ended), 'the WebSocket goes on for two seconds');
}

test('two people share a browser, and one of them signs out', async (t) => {
  const page = await newPage(t);
  await signIn(page, 'Ada Admin');
  assert.equal(await user(page), ADA);

  await open(page, '/_gate/sign-in?redirect_url=/desk');
  await pick(page, 'Mel Member');
  assert.equal(await user(page), MEL);

  await t.test('each sees the other on the page of sessions, and switches', async () => {
    await open(page, '/_gate/sessions');
    assert.equal(await heading(page), 'Your sessions');
    assert.match(await text(page), /Also signed in on this browser:\s+Ada Admin/);
    await press(page, 'Switch to Ada Admin');
    assert.equal(at(page), '/_gate/sessions');
    assert.match(await text(page), /You are now using another account/);
    assert.match(await text(page), /Also signed in on this browser:\s+Mel Member/);
    assert.equal(await user(page), ADA);
  });

  await t.test('who signs out is out, and the other one stays', async () => {
    await open(page, '/_gate/sessions');
    await press(page, 'Sign out');
    assert.equal(await heading(page), 'Sign out?');
    await press(page, 'Sign out on this browser');
    assert.equal(await live(ADA), 0);
    assert.equal(await live(MEL), 1);
    assert.equal(await user(page), MEL);
    await open(page, '/_gate/sessions');
    assert.doesNotMatch(await text(page), /Ada Admin/);
  });

  await t.test('and then nobody is left', async () => {
    await open(page, '/_gate/sign-out');
    await press(page, 'Sign out on this browser');
    assert.equal(await live(MEL), 0);
    await isOut(page);
  });
});

test('somebody on three devices ends one from another, and then all', async (t) => {
  const pages = {};
  for (const [name, device] of Object.entries(DEVICES)) {
    pages[name] = await newPage(t, device);
    await signIn(pages[name], 'Ada Admin');
  }
  const { desk, laptop, telephone } = pages;

  await t.test('the page shows all three, with browser and place', async () => {
    await open(desk, '/_gate/sessions');
    const sessions = await listed(desk);
    const titles = sessions.map(({ title }) => title).sort();
    assert.deepEqual(titles, ['Chrome on Linux this browser', 'Firefox on Macintosh', 'Safari on iPhone']);
    for (const { shown: [title, place] } of Object.values(DEVICES)) {
      const session = sessions.find((one) => one.title.startsWith(title));
      assert.ok(session.text.includes(place), session.text);
    }
  });

  await t.test('the one that is revoked is out at once, with its WebSocket', async () => {
    const ended = await holdSocket(telephone);
    await press(desk, 'Revoke the session on Safari, Vienna');
    assert.match(await text(desk), /The session has ended/);
    assert.equal(await ended(), 4401);
    assert.equal((await listed(desk)).length, 2);
    assert.equal(await live(ADA), 2);
    await isOut(telephone);
    assert.equal(await user(laptop), ADA);
  });

  await t.test('signing out everywhere ends all of them', async () => {
    const ended = await holdSocket(laptop);
    await open(desk, '/_gate/sign-out');
    await press(desk, 'Sign out everywhere');
    assert.equal(await ended(), 4401);
    assert.equal(await live(ADA), 0);
    await isOut(laptop);
    await isOut(desk);
    await isOut(telephone);
  });
});

describe('a sealed cookie in the wrong hands', () => {
  /** Puts these cookies into a browser. */
  const give = (page, cookies) => page.browserContext().setCookie(...cookies);
  const held = async (page) => {
    const all = await page.browserContext().cookies();
    return all.filter(({ domain }) => domain === 'localhost');
  };
  const seal = async (page) => (await held(page)).find(({ name }) => SEAL.test(name));
  /** A fetch from another tab, and what came of it. */
  const post = async (page) => {
    const tab = await scriptsBeside(page);
    const told = await tab.evaluate(async () => {
      const answer = await fetch('/things/1', { method: 'POST' });
      return { status: answer.status, ...(await answer.json()) };
    });
    await tab.close();
    return told;
  };
  /** What the session token of a browser says. */
  const claims = async (page) => {
    const { value } = (await held(page)).find(({ name }) => name === '__session');
    return JSON.parse(Buffer.from(value.split('.')[1], 'base64url'));
  };
  const expiry = async (page) => {
    const { exp } = await claims(page);
    await pause(Math.max(0, (exp + 5) * 1000 + 50 - Date.now()));
  };

  test('does nothing in the browser of somebody else', async (t) => {
    const [ada, mel] = [await newPage(t), await newPage(t, DEVICES.laptop)];
    await signIn(ada, 'Ada Admin');
    await signIn(mel, 'Mel Member');
    const [stolen, own] = [await seal(ada), await seal(mel)];
    assert.ok(stolen && own && stolen.value !== own.value);
    assert.ok(stolen.httpOnly && stolen.secure);

    await give(mel, [stolen]);
    assert.equal((await seal(mel)).value, stolen.value);
    assert.equal((await post(mel)).user, MEL, 'a good token is what it is');
    await expiry(mel);
    const { status, error } = await post(mel);
    assert.equal(status, 401, 'an expired token is not renewed by it');
    assert.ok(error.code, 'and the answer says why');
    const seen = await application.seen();
    const { sid } = await claims(ada);
    const posts = seen.filter(({ method }) => method === 'POST');
    assert.ok(posts.length > 0);
    assert.deepEqual(posts.filter((one) => one.user === ADA || one.session === sid), []);
    assert.equal(await user(mel), MEL, 'a page load makes all of it right again');

    await give(mel, [own]);
    await expiry(mel);
    const renewed = await post(mel);
    assert.equal(renewed.status, 200, 'their own one renews it');
    assert.equal(renewed.user, MEL);
  });

  test('is refused once its session was signed out', async (t) => {
    const [ada, thief] = [await newPage(t), await newPage(t, DEVICES.laptop)];
    await signIn(ada, 'Ada Admin');
    const cookies = await held(ada);
    assert.ok(cookies.some(({ name }) => SEAL.test(name)) && cookies.some(({ name }) => name === '__session'));
    await open(ada, '/_gate/sign-out');
    await press(ada, 'Sign out on this browser');
    assert.equal(await seal(ada), undefined, 'the browser has forgotten it');

    const before = (await application.seen()).length;
    await give(thief, cookies);
    const young = await post(thief);
    assert.deepEqual({ status: young.status, code: young.error?.code }, { status: 401, code: 'session-revoked' });
    await expiry(thief);
    const old = await post(thief);
    assert.equal(old.status, 401);
    await isOut(thief);
    assert.equal((await application.seen()).length, before, 'the application received nothing');
  });
});

test('every page of the gate can be read and used by everybody', async (t) => {
  const gallery = await openGallery(home);
  t.after(() => gallery.stop());
  assert.equal(gallery.pages.length, 11);
  let controls = 0;
  for (const { name, open: show } of gallery.pages) {
    await t.test(name, async () => {
      const context = await browser.createBrowserContext();
      try {
        const { page, again } = await show(context);
        for (const scheme of ['light', 'dark']) {
          for (const width of [390, 1280]) {
            await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
            await page.setViewport({ width, height: 844, isMobile: width < 500, hasTouch: width < 500 });
            const { ground } = await looksRight(page, width);
            assert.ok(scheme === 'light' ? ground > 0.8 : ground < 0.1, `${scheme} is ${scheme}: ${ground}`);
          }
        }
        await page.setViewport({ width: 1280, height: 844 });
        await again();
        controls += await namesEveryControl(page);
        await isWalkedByTab(page);
      } finally {
        await context.close();
      }
    });
  }
  assert.ok(controls >= 30, `${controls} controls`);
});

test('the pictures in the documents are of the pages as they are', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pictures-'));
  const gallery = await openGallery(folder);
  t.after(async () => {
    await gallery.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const now = {};
  for (const { name, open: show } of gallery.pages) {
    const context = await browser.createBrowserContext();
    const { page } = await show(context);
    now[name] = await likenessOf(page);
    await context.close();
  }
  assert.deepEqual(now, likenesses(), 'pages have changed since: run `make screenshots`');
});
