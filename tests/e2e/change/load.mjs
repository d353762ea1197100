// People who never stop: requests over kept connections and over HTTP/2, uploads, websockets and event streams, all at
// once, until they are told to stop. Whatever is not answered as it should be is a failure.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import https from 'node:https';

import WebSocket from 'ws';

/** The longest that one thing may take. */
const PATIENCE = 15_000;

export class Load {
  requests = 0;
  /** How many of each kind were done. */
  done = { kept: 0, http2: 0, uploads: 0, websockets: 0, events: 0 };
  failures = [];
  #running = true;
  #people = [];

  constructor({ url, cookie }) {
    this.url = new URL(url);
    this.headers = { cookie, host: this.url.host };
  }

  start() {
    const people = [
      ...Array.from({ length: 4 }, () => this.#kept()),
      ...Array.from({ length: 2 }, () => this.#http2()),
      ...Array.from({ length: 2 }, () => this.#uploads()),
      ...Array.from({ length: 2 }, () => this.#websocket()),
      ...Array.from({ length: 2 }, () => this.#events()),
    ];
    this.#people = people;
    return this;
  }

  async stop() {
    this.#running = false;
    await Promise.all(this.#people);
  }

  #fail(kind, error) {
    this.failures.push(`${new Date().toISOString()} ${kind}: ${error.code ?? ''} ${error.message}`);
  }

  /** Does something again and again, and notes where it fails. */
  async #again(kind, what) {
    while (this.#running) {
      try {
        await what();
        this.requests += 1;
        this.done[kind] += 1;
      } catch (error) {
        this.#fail(kind, error);
      }
    }
  }

  #options(path, agent, more = {}) {
    const { hostname, port } = this.url;
    return { host: hostname, port, path, agent, rejectUnauthorized: false, headers: this.headers, timeout: PATIENCE, ...more };
  }

  /** Somebody who loads one page after the other on a connection that is kept. */
  async #kept() {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    await this.#again('kept', async () => {
      const request = https.get(this.#options('/mine', agent));
      expect(await read(request), 200, /"user":"user_/);
      // As people do: a moment between two pages, in which a connection may be closed.
      if (this.done.kept % 10 === 0) await new Promise((done) => setTimeout(done, 20));
    });
    agent.destroy();
  }

  /** Somebody who sends files: each has to arrive whole, and once. */
  async #uploads() {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    await this.#again('uploads', async () => {
      const body = randomBytes(200_000);
      const hash = createHash('sha256').update(body).digest('hex');
      const headers = { ...this.headers, 'content-type': 'application/octet-stream', 'content-length': body.length };
      const request = https.request(this.#options('/uploads', agent, { method: 'POST', headers }));
      request.write(body.subarray(0, 100_000));
      setImmediate(() => request.end(body.subarray(100_000)));
      expect(await read(request), 200, new RegExp(hash));
    });
    agent.destroy();
  }

  /** Somebody whose requests share a connection, three at once. */
  async #http2() {
    let session;
    const connect = () => {
      session = http2.connect(this.url.href, { rejectUnauthorized: false });
      // What was not answered is told by its stream; the connection has nothing to add.
      session.on('error', () => {});
      session.gone = false;
      session.on('goaway', () => (session.gone = true));
      session.on('close', () => (session.gone = true));
    };
    const get = () => new Promise((resolve, reject) => {
      if (session === undefined || session.gone || session.closed || session.destroyed) connect();
      const { ':authority': _, ...headers } = { ...this.headers };
      delete headers.host;
      const stream = session.request({ ':path': '/mine', ...headers });
      stream.setTimeout(PATIENCE, () => stream.close(http2.constants.NGHTTP2_CANCEL));
      let status;
      let text = '';
      stream.setEncoding('utf8');
      stream.on('response', (head) => (status = head[':status']));
      stream.on('data', (piece) => (text += piece));
      // RFC 9113, section 8.7: nothing was done, and it may be asked again.
      const refused = () => stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM;
      stream.on('error', (error) => (refused() ? resolve(get()) : reject(error)));
      stream.on('close', () => {
        if (refused()) return resolve(get());
        if (status === undefined) return reject(new Error(`a stream without an answer (${stream.rstCode})`));
        return resolve({ status, text });
      });
    });
    const one = () => this.#again('http2', async () => expect(await get(), 200, /"user":"user_/));
    await Promise.all([one(), one(), one()]);
    session?.destroy();
  }

  /** Somebody who talks over a websocket, and opens another one when they are told that this one ends. */
  async #websocket() {
    await this.#again('websockets', async () => {
      const { hostname, port, host } = this.url;
      const socket = new WebSocket(`wss://${hostname}:${port}/talk`, {
        rejectUnauthorized: false,
        handshakeTimeout: PATIENCE,
        headers: { cookie: this.headers.cookie, host },
        origin: this.url.origin,
      });
      await within(once(socket, 'open'), 'a websocket that opens');
      const closed = once(socket, 'close');
      closed.catch(() => {});
      for (let said = 0; this.#running && said < 50; said += 1) {
        socket.send(`${said}`);
        const answer = once(socket, 'message').then(([text]) => text.toString());
        const end = closed.then(([code]) => ({ code }));
        const heard = await within(Promise.race([answer, end]), 'an echo');
        if (typeof heard === 'object') {
          // 1001, 1012: the server goes, come again (RFC 6455, section 7.4).
          if (![1001, 1012].includes(heard.code)) throw new Error(`a websocket closed with ${heard.code}`);
          return;
        }
        if (heard !== `${said}`) throw new Error(`an echo of something else: ${heard}`);
        await new Promise((done) => setTimeout(done, 10));
      }
      socket.close();
      await within(closed, 'a websocket that closes');
    });
  }

  /** Somebody who follows events; the stream may end between two of them, and nowhere else. */
  async #events() {
    await this.#again('events', async () => {
      const request = https.get(this.#options('/events', new https.Agent({ keepAlive: false })));
      const { status, text } = await read(request);
      expect({ status, text }, 200, /^(data: \d+\n\n)+$/);
    });
  }
}

/** Reads an answer whole. */
async function read(request) {
  request.on('timeout', () => request.destroy(new Error('nothing for too long')));
  const reused = () => (request.reusedSocket ? ' on a kept connection' : '');
  try {
    const [answer] = await once(request, 'response');
    answer.setEncoding('utf8');
    let text = '';
    for await (const piece of answer) text += piece;
    if (!answer.complete) throw new Error('an answer that breaks off');
    return { status: answer.statusCode, text };
  } catch (error) {
    error.message += reused();
    throw error;
  }
}

function expect({ status, text }, wanted, body) {
  if (status !== wanted || !body.test(text)) throw new Error(`${status}: ${text.slice(0, 300)}`);
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in time`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
