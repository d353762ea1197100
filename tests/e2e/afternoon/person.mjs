// Somebody who works with the application in a browser all afternoon: what they do, and every answer they got.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';

/** How fast files leave this browser, in bytes a second: the largest takes longer than a token lasts. */
const UPLOAD_SPEED = 9_000_000;

/** A person at a browser that knows nobody yet. */
export class Person {
  /** Every answer of the gate, as this browser saw it. */
  answers = [];
  /** Everything that went wrong without an answer. */
  failures = [];
  #round = 0;

  static async at(browser, gate) {
    const person = new Person();
    person.gate = gate;
    person.context = await browser.createBrowserContext();
    [person.desk, person.walker, person.sender] = [
      await person.#tab('desk'),
      await person.#tab('walker'),
      await person.#tab('sender'),
    ];
    return person;
  }

  async #tab(name) {
    const page = await this.context.newPage({ type: 'window' });
    page.setDefaultTimeout(30_000);
    const ours = (url) => new URL(url).origin === new URL(this.gate).origin;
    page.on('response', (answer) => {
      if (!ours(answer.url())) return;
      const request = answer.request();
      const { pathname } = new URL(answer.url());
      const status = answer.status();
      const onwards = answer.headers().location;
      this.answers.push({ at: Date.now(), tab: name, method: request.method(), path: pathname, status, onwards });
    });
    page.on('requestfailed', (request) => {
      this.failures.push({ tab: name, url: request.url(), error: request.failure()?.errorText });
    });
    page.on('pageerror', (error) => this.failures.push({ tab: name, error: error.message }));
    const session = await page.createCDPSession();
    await session.send('Network.enable');
    session.on('Network.webSocketHandshakeResponseReceived', ({ response: { status } }) => {
      this.answers.push({ at: Date.now(), tab: name, method: 'GET', path: '/socket', status });
    });
    return page;
  }

  open(page, path) {
    return page.goto(new URL(path, this.gate).href, { waitUntil: 'load' });
  }

  /** Signs in on the way to the desk, and opens what stays open. */
  async signIn(name) {
    await this.open(this.desk, '/desk');
    assert.match(this.desk.url(), /\/sign-in\?/, 'a protected page leads to the sign-in page');
    const [answer] = await Promise.all([
      this.desk.waitForNavigation({ waitUntil: 'load' }),
      this.desk.locator(`button.person ::-p-text(${name})`).click(),
    ]);
    assert.equal(answer.status(), 200);
    await this.desk.evaluate(() => hold());
    await this.desk.waitForFunction(() => desk.socketTicks.length > 0 && desk.eventTicks.length > 0);
  }

  /** The claims of the youngest session token that the browser has. */
  async token() {
    const cookies = (await this.context.cookies()).filter(({ name }) => name.startsWith('__session'));
    const claims = cookies.map(({ value }) => JSON.parse(Buffer.from(value.split('.')[1], 'base64url')));
    return claims.sort((a, b) => b.exp - a.exp)[0];
  }

  /** Waits until every token that the browser has is over. */
  async untilExpired() {
    for (;;) {
      const { exp } = await this.token();
      const left = exp * 1000 - Date.now();
      if (left < 0) return;
      await pause(left + 20);
    }
  }

  /** Each thing that a person does, by name; every one asserts that it went well. */
  deeds(file) {
    const round = `${(this.#round += 1)}`;
    const ask = (method) => async () => {
      const told = await this.desk.evaluate(sendFromPage, method, `/things/${round}`, round);
      const sent = method === 'GET' ? {} : { body: { round } };
      assert.deepEqual(told, { status: 200, method, user: this.user, ...sent });
    };
    return {
      'a fetch': ask('GET'),
      'a form': () => this.#form(round),
      'a page': () => this.#page(),
      'a fetch by POST': ask('POST'),
      'a WebSocket': () => this.#socket(round),
      'a fetch by PUT': ask('PUT'),
      'a stream': () => this.#stream(),
      'a fetch by DELETE': ask('DELETE'),
      'a file': () => this.#file(file),
    };
  }

  async #page() {
    const answer = await this.open(this.sender, '/desk');
    // The browser may have it already, and ask whether it is still good.
    assert.ok([200, 304].includes(answer.status()), `${answer.status()}`);
    assert.equal(await this.sender.$eval('#user', (element) => element.textContent), this.user);
  }

  /** Fills in a form, for longer than a token lasts, and sends it. */
  async #form(round) {
    await this.fillIn(round);
    await this.untilExpired();
    const answer = await this.sendForm();
    assert.equal(answer.status(), 200);
    assert.equal(answer.request().method(), 'POST');
    const sent = await this.walker.$$eval('p', (all) => all.map((element) => element.textContent));
    assert.deepEqual(sent, [round, 'Zwölf Boxkämpfer & <Viktor>']);
  }

  async fillIn(subject) {
    await this.open(this.walker, '/form');
    await this.walker.locator('input[name=subject]').fill(subject);
    await this.walker.locator('textarea[name=text]').fill('Zwölf Boxkämpfer & <Viktor>');
  }

  async sendForm() {
    const [answer] = await Promise.all([
      this.walker.waitForNavigation({ waitUntil: 'load' }),
      this.walker.click('#send'),
    ]);
    return answer;
  }

  /** Another WebSocket than the one that is held. */
  async #socket(round) {
    const said = await this.desk.evaluate(
      (text) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(desk.socket.url);
          socket.onopen = () => socket.send(text);
          socket.onerror = () => reject(new Error('a WebSocket failed'));
          socket.onmessage = ({ data }) => {
            const { said } = JSON.parse(data);
            if (said !== text) return;
            socket.onclose = () => resolve(said);
            socket.close();
          };
        }),
      `another ${round}`,
    );
    assert.equal(said, `another ${round}`);
  }

  /** Another event stream than the one that is held. */
  async #stream() {
    const tick = await this.desk.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const stream = new EventSource('/events');
          stream.onerror = () => reject(new Error('a stream failed'));
          stream.onmessage = ({ data }) => {
            stream.close();
            resolve(JSON.parse(data).tick);
          };
        }),
    );
    assert.equal(tick, 0);
  }

  /** Sends a file by a form, slower than a token lasts; the application says what it got. */
  async #file({ path, size, sha256 }) {
    await this.open(this.sender, '/desk');
    const input = await this.sender.$('input[name=file]');
    await input.uploadFile(path);
    await this.untilExpired();
    await this.sender.emulateNetworkConditions({ upload: UPLOAD_SPEED, download: -1, latency: 0 });
    const [answer] = await Promise.all([
      this.sender.waitForNavigation({ waitUntil: 'load', timeout: 60_000 }),
      this.sender.click('form button'),
    ]);
    await this.sender.emulateNetworkConditions(null);
    assert.equal(answer.status(), 200);
    const told = await this.sender.$$eval('p', (all) => all.map((element) => element.textContent));
    assert.deepEqual(told, [`${size}`, sha256]);
  }

  /** Says something on the WebSocket that is held, and waits until it is said back. */
  async speak(text) {
    await this.desk.evaluate((said) => desk.socket.send(said), text);
    await this.desk.waitForFunction((said) => desk.pongs.includes(said), {}, text);
  }

  /** What has come in on the two connections that are held, and whether they have ended. */
  held() {
    return this.desk.evaluate(() => {
      const { socketTicks, eventTicks, closed, streamEnded } = desk;
      return { socketTicks, eventTicks, closed, streamEnded };
    });
  }
}

/** Runs in the page. */
async function sendFromPage(method, path, round) {
  const body = method === 'GET' ? undefined : JSON.stringify({ round });
  const headers = body ? { 'content-type': 'application/json' } : {};
  const answer = await fetch(path, { method, headers, body });
  return { status: answer.status, ...(await answer.json()) };
}
