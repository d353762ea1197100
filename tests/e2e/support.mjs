// What the end-to-end tests share: processes that are started and stopped, a browser made of a cookie
// jar, and raw requests whose header lines arrive as they are written.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
/** Where build products go. */
export const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');
/** The binary under test. */
export const GATE = resolve(ROOT, process.env.GATE_BIN ?? join(TARGET, 'ci/clerk-gate'));

assert.ok(existsSync(GATE), `there is no binary at ${GATE}: run \`make binary\``);

/** What the tests themselves were told about Clerk is not for the gate to see. */
export const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(NEXT_PUBLIC_)?CLERK_/.test(name)),
);

/** A process that writes to our log and can be stopped. */
export class Process {
  constructor(command, args, options = {}) {
    this.name = command.split('/').pop();
    this.log = '';
    this.child = spawn(command, args, { env: ENVIRONMENT, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.ended = once(this.child, 'close').then(([code, signal]) => ({ code, signal }));
    this.child.stderr.on('data', (text) => (this.log += text));
    this.lines = createInterface({ input: this.child.stdout });
    this.lines.on('line', (line) => (this.log += `${line}\n`));
  }

  /** Its next line on stdout. */
  async line() {
    const line = once(this.lines, 'line').then(([text]) => text);
    const early = this.ended.then(({ code, signal }) => {
      throw new Error(`${this.name} ended (${code ?? signal}):\n${this.log}`);
    });
    return within(30_000, Promise.race([line, early]), () => `${this.name} says nothing:\n${this.log}`);
  }

  /** Asks it to stop and tells how it ended. */
  async stop() {
    this.child.kill('SIGTERM');
    return within(30_000, this.ended, () => `${this.name} does not stop:\n${this.log}`);
  }
}

/** A local Clerk with a gate and a sample application: `clerk-gate dev`. */
export async function startDev(...args) {
  const process = new Process(GATE, ['dev', '--json', '--listen', '127.0.0.1:0', ...args]);
  const told = JSON.parse(await process.line());
  return { ...told, process, stop: () => process.stop() };
}

/** Runs the binary to its end. */
export async function run(...args) {
  const process = new Process(GATE, args);
  const { code } = await process.ended;
  return { code, log: process.log };
}

/**
 * `clerk-gate run` in front of an upstream, with the Clerk of `dev`. `policy` is what its configuration says
 * besides; `home` is the folder where it is written. `clerk-gate check` must find no fault in it.
 * `clerk` is what `[clerk]` says besides, `api` another address of its Backend API, `port` the one to listen on.
 */
export async function startGate({ dev, home, upstream, policy, clerk = '', api = dev.clerk, port }) {
  port ??= await freePort();
  const admin = await freePort();
  writeFileSync(join(home, 'secret'), `${dev.secret_key}\n`, { mode: 0o600 });
  const file = join(home, 'clerk-gate.toml');
  writeFileSync(file, `
listen = "127.0.0.1:${port}"

[clerk]
publishable-key  = "${dev.publishable_key}"
secret-key-file  = "${join(home, 'secret')}"
api-url          = "${api}"
frontend-api-url = "${dev.clerk}"
sign-in-url      = "${dev.clerk}/sign-in"
${clerk}

[upstream]
url = "${upstream}"

[admin]
listen = "127.0.0.1:${admin}"
${policy}`);
  const check = await run('check', '-c', file);
  assert.equal(check.code, 0, check.log);
  const process = new Process(GATE, ['run', '-c', file]);
  await eventually('the gate is ready', async () => {
    const health = await run('health', `http://127.0.0.1:${admin}/readyz`);
    assert.equal(health.code, 0, `${health.log}\n${process.log}`);
  });
  return { process, url: `http://localhost:${port}`, admin: `http://127.0.0.1:${admin}`, stop: () => process.stop() };
}

/** What comes of a promise, or an error when it takes too long. */
export async function within(milliseconds, promise, message) {
  const timeout = new AbortController();
  const late = pause(milliseconds, null, { signal: timeout.signal }).then(() => {
    throw new Error(typeof message === 'function' ? message() : message);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timeout.abort();
  }
}

/** Tries until it succeeds or time is up. */
export async function eventually(what, attempt, milliseconds = 20_000) {
  const end = Date.now() + milliseconds;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: ${error.message}`, { cause: error });
      await pause(50);
    }
  }
}

/** A port of 127.0.0.1 that nobody listens on just now. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Sends one request; `headers` is a list of pairs, sent in this spelling and order. */
export async function send(url, { method = 'GET', headers = [], body } = {}) {
  const { host, pathname, search } = new URL(url);
  const lines = [['Host', host], ['Connection', 'close'], ...headers];
  if (body !== undefined) lines.push(['Content-Length', String(Buffer.byteLength(body))]);
  const request = http.request(url, { method, path: pathname + search, headers: lines.flat(), agent: false });
  request.end(body);
  const [answer] = await within(15_000, once(request, 'response'), `no answer to ${method} ${url}`);
  answer.setEncoding('utf8');
  let text = '';
  for await (const piece of answer) text += piece;
  return { status: answer.statusCode, headers: answer.headers, text, url };
}

/** A browser without a window: it keeps cookies per host, follows redirects and sends forms. */
export class Browser {
  #cookies = new Map();

  /** The cookies that an address would get, by name. */
  cookies(url) {
    return this.#cookies.get(new URL(url).hostname) ?? new Map();
  }

  /** One request, without following where it leads. */
  async send(url, { headers = [], ...rest } = {}) {
    const held = [...this.cookies(url)].map(([name, value]) => `${name}=${value}`).join('; ');
    const lines = held ? [...headers, ['Cookie', held]] : headers;
    const answer = await send(url, { headers: lines, ...rest });
    this.#keep(url, answer.headers['set-cookie'] ?? []);
    return answer;
  }

  /** A page load, followed to its end. */
  async visit(url, { method = 'GET', headers = [], body } = {}) {
    const hops = [];
    for (let hop = 0; hop < 20; hop += 1) {
      const navigation = [
        ['Accept', 'text/html,application/xhtml+xml'],
        ['Sec-Fetch-Dest', 'document'],
        ['Sec-Fetch-Mode', 'navigate'],
      ];
      const answer = await this.send(url, { method, headers: [...navigation, ...headers], body });
      hops.push({ status: answer.status, url });
      if (![301, 302, 303, 307, 308].includes(answer.status)) return { ...answer, hops };
      if (answer.status < 307) [method, body, headers] = ['GET', undefined, []];
      url = new URL(answer.headers.location, url).href;
    }
    throw new Error(`redirected too often:\n${hops.map(({ status, url: to }) => `${status} ${to}`).join('\n')}`);
  }

  /** Sends the form of a page that contains `field`, as it stands. */
  async submit(page, field) {
    const forms = page.text.split('<form').slice(1).map((one) => one.split('</form>')[0]);
    const form = forms.find((one) => one.includes(field));
    assert.ok(form, `${page.url} has a form with ${field}:\n${page.text}`);
    const fields = [...form.matchAll(/name="([^"]+)" value="([^"]*)"/g)];
    const body = new URLSearchParams(fields.map(([, name, value]) => [name, decode(value)])).toString();
    const action = new URL(/action="([^"]+)"/.exec(form)[1], page.url);
    return this.visit(action.href, {
      method: 'POST',
      headers: [['Content-Type', 'application/x-www-form-urlencoded'], ['Origin', action.origin]],
      body,
    });
  }

  /** Opens a protected page, picks somebody on the sign-in page and returns what comes of it. */
  async signIn(url, person) {
    const page = await this.visit(url);
    assert.match(page.url, /\/sign-in\?/, 'a protected page leads to the sign-in page');
    return this.submit(page, `name="person" value="${person}"`);
  }

  #keep(url, lines) {
    const { hostname } = new URL(url);
    const jar = this.#cookies.get(hostname) ?? new Map();
    for (const line of lines) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const cut = pair.indexOf('=');
      const [name, value] = [pair.slice(0, cut), pair.slice(cut + 1)];
      const gone = attributes.some((attribute) => /^max-age=(0|-\d+)$/i.test(attribute));
      const past = attributes.some((attribute) => Date.parse(/^expires=(.*)$/i.exec(attribute)?.[1]) < Date.now());
      if (gone || past) jar.delete(name);
      else jar.set(name, value);
    }
    this.#cookies.set(hostname, jar);
  }
}

/** The text that a page's attribute stands for. */
function decode(html) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"' };
  return html
    .replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)))
    .replace(/&(amp|lt|gt|quot);/g, (_, name) => named[name]);
}
