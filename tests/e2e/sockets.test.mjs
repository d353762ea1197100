// Where the gate listens, with real servers in front: HAProxy passes connections on and says whose they are (PROXY
// protocol), nginx comes over a Unix socket. The units for systemd are looked at by systemd itself.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { eventually, freePort, GATE, Process, ROOT, startDev, startGate, within } from './support.mjs';

const POLICY = '[[route]]\nname = "public"\npath = "/public/**"\nrequire = "public"\n';

/** One request from this address of our own; the application's view of it. */
async function ask(port, path, { from = '127.0.0.1', headers = {} } = {}) {
  const request = http.get({ host: '127.0.0.1', port, path, localAddress: from, agent: false, headers: { host: 'localhost', ...headers } });
  const [answer] = await within(15_000, once(request, 'response'), `no answer to ${path}`);
  let text = '';
  for await (const piece of answer) text += piece;
  return { status: answer.statusCode, text };
}

describe('the gate behind servers that pass connections on', () => {
  const home = mkdtempSync(join(tmpdir(), 'sockets-'));
  const received = [];
  let dev, application, upstream;

  before(async () => {
    dev = await startDev();
    application = http.createServer((request, response) => {
      received.push({ url: request.url, headers: request.headers });
      response.end('the application');
    });
    application.listen(0, '127.0.0.1');
    await once(application, 'listening');
    upstream = `http://127.0.0.1:${application.address().port}`;
  });

  after(async () => {
    application?.close();
    await dev?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  for (const way of ['send-proxy', 'send-proxy-v2']) {
    test(`HAProxy with ${way} tells whose a connection is, and nobody else does`, async () => {
      const policy = `[proxy-protocol]\npeers = ["127.0.0.1"]\n${POLICY}`;
      const port = await freePort();
      const front = await freePort();
      // Asked for readiness on the listener of the operator: on this one, it would have to write a header.
      const gate = await startGate({ dev, home, upstream, policy, port });
      writeFileSync(join(home, 'haproxy.cfg'), `
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen front
    bind 127.0.0.1:${front}
    server gate 127.0.0.1:${port} ${way} check
`);
      const haproxy = new Process('/usr/sbin/haproxy', ['-db', '-f', join(home, 'haproxy.cfg')], { cwd: home });
      try {
        await eventually('HAProxy serves', async () => {
          assert.equal((await ask(front, '/public/a')).status, 200);
        });
        received.length = 0;
        const forged = { 'x-forwarded-for': '203.0.113.9' };
        assert.equal((await ask(front, '/public/b', { from: '127.0.0.2', headers: forged })).status, 200);
        assert.deepEqual(received.map(({ url, headers }) => [url, headers['x-forwarded-for']]), [['/public/b', '127.0.0.2']]);

        received.length = 0;
        // Past HAProxy: from its address without a header, and from another one with one.
        await assert.rejects(ask(port, '/public/c'));
        const header = 'PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n';
        const stranger = await speak(port, '127.0.0.3', `${header}GET /public/d HTTP/1.1\r\nhost: localhost\r\n\r\n`);
        assert.match(stranger, /^HTTP\/1\.1 400 /);
        assert.deepEqual(received, []);
      } finally {
        await haproxy.stop();
        await gate.stop();
      }
    });
  }

  test('nginx comes over a Unix socket, and is trusted where it is named', async () => {
    const socket = join(home, 'gate.sock');
    for (const [trusted, seen] of [['', undefined], ['trusted-proxies = ["unix"]', '127.0.0.2']]) {
      const file = join(home, 'unix.toml');
      const admin = await freePort();
      writeFileSync(join(home, 'secret'), `${dev.secret_key}\n`, { mode: 0o600 });
      writeFileSync(file, `
listen = "unix:${socket}"
${trusted}
[clerk]
publishable-key  = "${dev.publishable_key}"
secret-key-file  = "${join(home, 'secret')}"
api-url          = "${dev.clerk}"
frontend-api-url = "${dev.clerk}"
[upstream]
url = "${upstream}"
[admin]
listen = "127.0.0.1:${admin}"
${POLICY}`);
      const gate = new Process(GATE, ['run', '-c', file]);
      const front = await freePort();
      const conf = join(home, 'nginx.conf');
      writeFileSync(conf, `
daemon off;
master_process off;
pid ${home}/nginx.pid;
error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path ${home}/body;
    proxy_temp_path       ${home}/proxy;
    fastcgi_temp_path     ${home}/fastcgi;
    uwsgi_temp_path       ${home}/uwsgi;
    scgi_temp_path        ${home}/scgi;
    server {
        listen 127.0.0.1:${front};
        location / {
            proxy_pass http://unix:${socket}:;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
`);
      const nginx = new Process('/usr/sbin/nginx', ['-p', home, '-c', conf, '-e', 'stderr']);
      try {
        await eventually('nginx reaches the gate', async () => {
          assert.equal((await ask(front, '/public/a')).status, 200);
        });
        received.length = 0;
        assert.equal((await ask(front, '/public/b', { from: '127.0.0.2' })).status, 200);
        assert.deepEqual(received.map(({ headers }) => headers['x-forwarded-for']), [seen]);
      } finally {
        await nginx.stop();
        await gate.stop();
      }
      assert.equal(existsSync(socket), false, 'the gate takes its socket away');
    }
  });
});

/** Sends these bytes from this address, and gives what comes until the gate closes. */
async function speak(port, localAddress, bytes) {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  socket.write(bytes);
  let text = '';
  socket.on('data', (piece) => (text += piece));
  await within(15_000, once(socket, 'close'), 'the gate does not close');
  return text;
}

test('systemd finds no fault in the units', () => {
  const folder = mkdtempSync(join(tmpdir(), 'units-'));
  try {
    const units = ['clerk-gate.service', 'clerk-gate.socket', 'clerk-gate@.service'];
    // The program need not be installed here.
    for (const unit of units) {
      const text = readFileSync(join(ROOT, 'examples/systemd', unit), 'utf8');
      writeFileSync(join(folder, unit), text.replaceAll('/usr/local/bin/clerk-gate', '/bin/true'));
    }
    const files = units.map((unit) => join(folder, unit.replace('@.', '@blue.')));
    writeFileSync(files[2], readFileSync(join(folder, units[2]), 'utf8'));
    const verify = ['verify', '--man=no', '--recursive-errors=no', ...files];
    const { status, stdout, stderr } = spawnSync('systemd-analyze', verify, { encoding: 'utf8' });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
