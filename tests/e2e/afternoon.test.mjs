// An afternoon of somebody's work, in a real browser, with an application of somebody else's that knows nothing
// of Clerk, behind a gate. Session tokens live for five seconds here and not a moment longer, and not one request
// is refused: pages, forms, fetches, uploads, WebSockets and event streams, by whatever means the session is
// renewed. Then an administrator revokes it, and all of them end.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import puppeteer from 'puppeteer-core';

import { startApplication } from './afternoon/application.mjs';
import { startLedger } from './afternoon/ledger.mjs';
import { Person } from './afternoon/person.mjs';
import { eventually, freePort, send, startDev, startGate } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
/** How long the afternoon is, at least. */
const SECONDS = Number(process.env.AFTERNOON_SECONDS ?? 90);
assert.ok(SECONDS > 0, `AFTERNOON_SECONDS=${process.env.AFTERNOON_SECONDS} is no number of seconds`);
/** How long a token is good, in seconds; nothing is added for clocks that differ. */
const LIFETIME = 5;
/** Within this time of its revocation nothing of a session is left, in milliseconds. */
const ENDED_WITHIN = 2_000;
/** What the gate may ask of Clerk with a test key, in ten seconds. */
const BUDGET = 50;
const FILE_SIZE = 50 * 1024 * 1024;

let browser;
let home;
/** What is uploaded. */
let file;

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'afternoon-'));
  const bytes = randomBytes(FILE_SIZE);
  file = { path: join(home, 'file'), size: FILE_SIZE, sha256: createHash('sha256').update(bytes).digest('hex') };
  writeFileSync(file.path, bytes);
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--disable-dev-shm-usage', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
});

after(async () => {
  await browser?.close();
  rmSync(home, { recursive: true, force: true });
});

const VARIANTS = [
  {
    name: 'with refresh tokens',
    flags: [],
    renewals({ refresh, token, handshakes }, floor) {
      assert.ok(refresh >= floor, `${refresh} refreshes`);
      assert.deepEqual({ token, handshakes }, { token: 0, handshakes: 0 });
    },
  },
  {
    name: 'without refresh tokens, by handshakes and the seal',
    flags: ['--no-refresh-tokens'],
    renewals({ refresh, token, session, handshakes }, floor) {
      assert.equal(refresh, 0);
      assert.ok(handshakes >= 3, `${handshakes} handshakes`);
      assert.ok(token >= floor - handshakes, `${token} tokens minted`);
      assert.ok(session >= token, 'Clerk is asked about the session before each mint');
    },
  },
];

describe('an afternoon', { concurrency: VARIANTS.length }, () => {
  for (const variant of VARIANTS) test(variant.name, (t) => afternoon(t, variant));
});

/** Everything that one afternoon needs, in the order in which it is started. */
async function begin(t, { flags }) {
  const started = (thing) => {
    t.after(() => thing.stop());
    return thing;
  };
  const folder = mkdtempSync(join(home, 'gate-'));
  const port = await freePort();
  const application = started(await startApplication());
  const dev = started(
    await startDev(
      ...['--upstream', application.url, '--token-lifetime', `${LIFETIME}`, ...flags],
      ...['--events-to', `http://127.0.0.1:${port}/_gate/webhooks/clerk`],
    ),
  );
  const ledger = started(await startLedger(dev.clerk));
  writeFileSync(join(folder, 'webhooks'), `${dev.webhook_secret}\n`, { mode: 0o600 });
  const gate = started(
    await startGate({
      dev,
      home: folder,
      upstream: application.url,
      api: ledger.url,
      clerk: 'clock-skew = "0s"',
      port,
      policy: `
[webhooks]
secret-file = "${join(folder, 'webhooks')}"

[session]
live-check = "5s"

`,
    }),
  );
  const person = await Person.at(browser, gate.url);
  t.after(() => person.context.close());
  return { application, dev, ledger, gate, person };
}

async function afternoon(t, variant) {
  const { application, dev, ledger, gate, person } = await begin(t, variant);
  const access = () =>
    gate.process.log
      .split('\n')
      .filter((line) => line.includes('clerk_gate::access'))
      .map((line) => JSON.parse(line));

  await person.signIn('Ada Admin');
  person.user = ADA;
  const { sid } = await person.token();
  const signedIn = { answers: person.answers.length, lines: access().length, at: Date.now() };
  /** How often something was done with nothing but an expired token. */
  let expiries = 0;

  await t.test('goes on for as long as it lasts, and everything that is done succeeds', async (step) => {
    const end = signedIn.at + SECONDS * 1000;
    /** One thing after another, each with nothing but an expired token, and then all at once. */
    const once = (name, deed) =>
      step.test(name, async () => {
        await person.untilExpired();
        expiries += 1;
        await deed();
        await person.speak(`${name} at ${Date.now()}`);
      });
    for (let round = 1; round === 1 || Date.now() < end; round += 1) {
      for (const [name, deed] of Object.entries(person.deeds(file))) {
        if (round === 1 || Date.now() < end) await once(name, deed);
      }
      const { 'a file': _, ...deeds } = person.deeds(file);
      await once('everything at once', () => Promise.all(Object.values(deeds).map((deed) => deed())));
    }
  });
  const lasted = Date.now() - signedIn.at;
  const lifetimes = Math.floor(lasted / 1000 / LIFETIME);
  const answers = person.answers.slice(signedIn.answers);
  const lines = await eventually('the log tells of all that was answered', () => {
    const told = access().slice(signedIn.lines);
    assert.ok(told.length >= answers.length, `${told.length} lines, ${answers.length} answers`);
    return told;
  });

  await t.test('not one request was refused', async () => {
    const refused = answers.filter(({ status, onwards }) => status >= 400 || onwards?.includes('/sign-in'));
    assert.deepEqual(refused, []);
    const allowed = ({ decision, status }) => (decision === 'forward' ? status < 400 : decision === 'redirect');
    assert.deepEqual(lines.filter((line) => !allowed(line)), []);
    const closed = ({ url, error }) => url?.endsWith('/events') && error === 'net::ERR_ABORTED';
    assert.deepEqual(person.failures.filter((failure) => !closed(failure)), []);
    // The browser's account and the gate's are of the same requests.
    const told = ({ method, path, status }) => `${method} ${path} ${status}`;
    const forwarded = lines.filter(({ decision }) => decision === 'forward').map(told).sort();
    const answered = answers.filter(({ status }) => status < 300 || status === 304).map(told).sort();
    assert.deepEqual(answered, forwarded);
    assert.ok(answered.length >= 20, `${answered.length} requests`);
  });

  await t.test('the application saw the same person in each', async () => {
    const seen = await application.seen();
    assert.ok(seen.length >= 20, `${seen.length} requests`);
    assert.deepEqual(seen.filter(({ user, session }) => user !== ADA || session !== sid), []);
    const named = lines.filter(({ decision }) => decision === 'forward').map(({ user }) => user);
    assert.deepEqual(named.filter((user) => user !== ADA), []);
  });

  await t.test('what was held open stayed open for many lives of a token', async () => {
    const { socketTicks, eventTicks, closed, streamEnded } = await person.held();
    assert.deepEqual({ closed, streamEnded }, { closed: null, streamEnded: null });
    // Two events a second, and one message.
    assert.deepEqual(eventTicks, eventTicks.map((_, index) => index), 'no event is missing');
    assert.ok(eventTicks.length > lasted / 1000, `${eventTicks.length} events in ${lasted} ms`);
    const [first] = socketTicks;
    assert.deepEqual(socketTicks, socketTicks.map((_, index) => first + index), 'no message is missing');
    assert.ok(socketTicks.length > lasted / 2000, `${socketTicks.length} messages in ${lasted} ms`);
  });

  await t.test('the session was renewed each time, within the budget of calls', async (step) => {
    const [refresh, token, session] = ['refresh', 'token', 'session'].map(ledger.count);
    const handshakes = answers.filter(({ onwards }) => onwards?.includes('/v1/client/handshake')).length;
    const most = ledger.most(10_000);
    step.diagnostic(JSON.stringify({ lasted, lifetimes, expiries, refresh, token, session, handshakes, most }));
    assert.ok(lifetimes >= 10, `${lifetimes} lives of a token passed`);
    assert.ok(expiries >= 10, `${expiries} times nothing but an expired token was left`);
    variant.renewals({ refresh, token, session, handshakes }, expiries);
    assert.ok(most <= BUDGET, `${most} calls in ten seconds`);
    assert.deepEqual(ledger.calls.filter(({ status }) => status !== 200), []);
  });

  await t.test('a revocation ends every channel within two seconds', async (step) => {
    await person.fillIn('too late');
    const fetched = person.desk.evaluate(untilRefused, ENDED_WITHIN * 2);
    const revoked = Date.now();
    const { status } = await send(`${dev.clerk}/v1/sessions/${sid}/revoke`, {
      method: 'POST',
      headers: [['Authorization', `Bearer ${dev.secret_key}`]],
    });
    assert.equal(status, 200);

    const after = {};
    const refusal = await fetched;
    assert.equal(refusal.status, 401);
    after.fetch = refusal.at - revoked;
    const already = (await application.seen()).length;

    const form = await person.sendForm();
    after.form = person.answers.findLast(({ method, path }) => method === 'POST' && path === '/form').at - revoked;
    assert.equal(form.status(), 401);
    assert.match(form.headers()['content-type'], /^text\/html/);

    const asked = person.answers.length;
    await person.open(person.walker, '/desk');
    after.page = person.answers[asked].at - revoked;
    assert.match(person.walker.url(), /\/sign-in\?/);

    await person.desk.waitForFunction(() => desk.closed && desk.streamEnded);
    const { closed, streamEnded } = await person.held();
    assert.equal(closed.code, 4401, closed.reason);
    after.socket = closed.at - revoked;
    after.stream = streamEnded - revoked;
    step.diagnostic(JSON.stringify(after));
    for (const [channel, time] of Object.entries(after)) {
      assert.ok(time <= ENDED_WITHIN, `${channel} ended after ${time} ms`);
    }
    // A browser tries a stream again, once; it is refused like everything else.
    await eventually('the stream is not tried again', async () => {
      assert.equal(await person.desk.evaluate(() => desk.stream.readyState), 2);
    });
    assert.equal((await application.seen()).length, already, 'the application received nothing more');
  });
}

/** Runs in the page: asks again and again until it is refused. */
async function untilRefused(patience) {
  const end = Date.now() + patience;
  for (;;) {
    const { status } = await fetch('/things/1');
    const at = Date.now();
    if (status !== 200 || at > end) return { status, at };
  }
}
