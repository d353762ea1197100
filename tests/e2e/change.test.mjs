// Nothing is lost while everything changes: two gates behind a balancer are told of other settings and certificates,
// stopped, started and replaced, while people never stop asking. Every process is a real one, and so is the balancer.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';

import { WebSocketServer } from 'ws';

import { Load } from './change/load.mjs';
import { Browser, ENVIRONMENT, eventually, freePort, GATE, Process, run, startDev, TARGET } from './support.mjs';

/** How many requests have to be answered before it ends. */
const REQUESTS = Number(process.env.REQUESTS ?? 5000);
const HOST = 'localhost';

let home;
let dev;
let application;
let port;
const gates = [];
let balancer;

before(async () => {
  mkdirSync(join(TARGET, 'tmp'), { recursive: true });
  home = mkdtempSync(join(TARGET, 'tmp/change-'));
  certificate(1);
  dev = await startDev('--token-lifetime', '3600');
  application = await startApplication();
  port = await freePort();
  for (const name of ['a', 'b']) gates.push(await new Gate(name).write({}));
  for (const gate of gates) await gate.start();
  balancer = await startBalancer();
});

after(async () => {
  await balancer?.stop();
  for (const gate of gates) await gate.process?.stop();
  application?.close();
  application?.closeAllConnections();
  await dev?.stop();
  rmSync(home, { recursive: true, force: true });
});

test(`of ${REQUESTS} requests none is lost while everything changes`, async () => {
  const cookie = await signIn();
  const load = new Load({ url: `https://${HOST}:${port}`, cookie }).start();
  let reloads = 0;
  try {
    await pause(500);
    const served = new Set();
    for (let round = 1; round <= 20; round += 1) {
      for (const gate of gates) await gate.reload(round);
      reloads += 1;
    }
    served.add(await serial());
    certificate(2);
    for (const gate of gates) gate.process.child.kill('SIGHUP');
    await eventually('the new certificate is served', async () => {
      served.add(await serial());
      assert.equal(served.size, 2);
    });
    for (const gate of gates) await gate.restart();
    for (const gate of gates) await gate.replace();
    await eventually(`${REQUESTS} requests`, () => assert.ok(load.requests >= REQUESTS, `${load.requests}`), 600_000);
  } finally {
    await load.stop();
  }
  console.log(`${load.requests} requests: ${JSON.stringify(load.done)}`);
  assert.deepEqual(load.failures, []);
  for (const [kind, count] of Object.entries(load.done)) assert.ok(count > 10, `${count} of ${kind}`);
  assert.equal(reloads, 20);
});

/** One of the gates, and what it is told. */
class Gate {
  constructor(name) {
    this.name = name;
    this.file = join(home, `${name}.toml`);
  }

  /** Writes its configuration as a whole; the name of a route changes with each. */
  async write({ tier = 'none' }) {
    this.port ??= await freePort();
    this.admin ??= await freePort();
    writeFileSync(join(home, 'secret'), `${dev.secret_key}\n`, { mode: 0o600 });
    const next = `${this.file}.next`;
    writeFileSync(next, `
listen     = "127.0.0.1:${this.port}"
public-url = "https://${HOST}:${port}"

[tls]
[[tls.certificate]]
cert-file = "${join(home, 'cert.pem')}"
key-file  = "${join(home, 'key.pem')}"

[hand-over]
socket = "${join(home, `${this.name}.sock`)}"

[clerk]
publishable-key  = "${dev.publishable_key}"
secret-key-file  = "${join(home, 'secret')}"
api-url          = "${dev.clerk}"
frontend-api-url = "${dev.clerk}"
sign-in-url      = "${dev.clerk}/sign-in"

[upstream]
url = "http://127.0.0.1:${application.address().port}"

[admin]
listen = "127.0.0.1:${this.admin}"

[shutdown]
announce = "500ms"
drain    = "5s"

[[route]]
name    = "talk-${tier}"
path    = "/talk"
require = "signed-in"
`);
    renameSync(next, this.file);
    return this;
  }

  async start() {
    const check = await run('check', '-c', this.file);
    assert.equal(check.code, 0, check.log);
    this.process = new Process(GATE, ['run', '-c', this.file]);
    await this.ready();
    return this;
  }

  async ready() {
    await eventually(`${this.name} is ready`, async () => {
      const health = await run('health', `http://127.0.0.1:${this.admin}/readyz`);
      assert.equal(health.code, 0, `${health.log}\n${this.process.log.slice(-2000)}`);
    });
  }

  /** Has it read another configuration, by a signal or because the file is another one. */
  async reload(round) {
    this.seen = this.process.log.length;
    await this.write({ tier: String(round) });
    if (round % 2 === 0) this.process.child.kill('SIGHUP');
    await eventually(`${this.name} goes by its configuration ${round}`, () => {
      const told = this.process.log.slice(this.seen);
      assert.match(told, /the configuration has been read again/, told.slice(-2000));
    });
  }

  /** Stops it, and starts another one when it is gone. */
  async restart() {
    const { code } = await this.process.stop();
    assert.equal(code, 0, this.process.log.slice(-2000));
    await this.start();
    // The balancer has to see it before the other one goes.
    await pause(500);
  }

  /** Starts another one, which takes its sockets. */
  async replace() {
    const old = this.process;
    this.process = new Process(GATE, ['run', '-c', this.file]);
    const { code } = await old.ended;
    assert.equal(code, 0, old.log.slice(-2000));
    await this.ready();
  }
}

/** An application that echoes, takes files and tells events. */
async function startApplication() {
  const server = http.createServer(async (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let event = 0; event < 20 && !response.destroyed; event += 1) {
        response.write(`data: ${event}\n\n`);
        await pause(20);
      }
      return response.end();
    }
    const hash = createHash('sha256');
    for await (const piece of request) hash.update(piece);
    return response.end(JSON.stringify({ user: request.headers['x-user-id'], hash: hash.digest('hex') }));
  });
  server.keepAliveTimeout = 60_000;
  const talk = new WebSocketServer({ server, path: '/talk' });
  talk.on('connection', (socket) => {
    socket.on('message', (text) => socket.send(text.toString()));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** HAProxy, which passes connections on as they are to the gates that say they are ready. */
async function startBalancer() {
  const file = join(home, 'haproxy.cfg');
  const servers = gates.map(({ name, port: at, admin }) => `    server ${name} 127.0.0.1:${at} check port ${admin} inter 100ms fall 1 rise 1`);
  writeFileSync(file, `
defaults
    mode tcp
    timeout connect 5s
    timeout client  60s
    timeout server  60s
    retries 3
    option redispatch 1

listen gates
    bind 127.0.0.1:${port}
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host 127.0.0.1
    http-check expect status 200
${servers.join('\n')}
`);
  const started = new Process('/usr/sbin/haproxy', ['-db', '-f', file], { cwd: home, env: ENVIRONMENT });
  await eventually('the balancer passes on', () => serial());
  return started;
}

/** Writes a certificate of this serial number, and its key. */
function certificate(number) {
  const next = { cert: join(home, 'cert.next'), key: join(home, 'key.next') };
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-set_serial', String(number), '-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST}`,
    '-keyout', next.key, '-out', next.cert], { stdio: 'pipe' });
  renameSync(next.key, join(home, 'key.pem'));
  renameSync(next.cert, join(home, 'cert.pem'));
}

/** The serial number of the certificate that is served. */
async function serial() {
  const socket = tls.connect({ host: '127.0.0.1', port, servername: HOST, rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerCertificate().serialNumber;
  } finally {
    socket.destroy();
  }
}

/** Ada's cookies, which are good for longer than the test takes. */
async function signIn() {
  const browser = new Browser();
  await browser.signIn(`${dev.gate}/admin`, 'ada');
  return [...browser.cookies(dev.gate)].map(([name, value]) => `${name}=${value}`).join('; ');
}
