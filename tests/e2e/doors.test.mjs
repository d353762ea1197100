// The recipes with the real servers: each gateway stands in front of an application and asks the gate. The gate and
// its Clerk are real processes, and so are the gateways; the configuration is what `clerk-gate recipe` prints.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Browser, ENVIRONMENT, eventually, freePort, GATE, Process, send, startDev, startGate, TARGET, within } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const VENV = join(TARGET, 'venv/bin');
const IDENTITY = ['x-user-id', 'x-session-id', 'x-org-id', 'x-org-slug', 'x-org-role', 'x-org-permissions', 'x-actor-id',
  'x-token-type', 'x-token-subject', 'x-token-scopes', 'x-client-id', 'x-clerk-gate-assertion'];
/** What the gateways show at the doors. The recipes say where it belongs. */
const SECRET = '0123456789abcdef0123456789abcdef';
const NAVIGATION = [['Accept', 'text/html'], ['Sec-Fetch-Dest', 'document'], ['Sec-Fetch-Mode', 'navigate']];

/** Writes a recipe and starts its server. */
const SERVERS = {
  nginx: {
    start({ home, recipe }) {
      const file = join(home, 'nginx.conf');
      writeFileSync(file, `
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
${recipe}}
`);
      return new Process('/usr/sbin/nginx', ['-p', home, '-c', file, '-e', 'stderr']);
    },
  },
  caddy: {
    start({ home, recipe }) {
      const file = join(home, 'Caddyfile');
      writeFileSync(file, `{\n\tadmin off\n}\n${recipe}`);
      const env = { ...ENVIRONMENT, CLERK_GATE_SECRET: SECRET, HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home };
      return new Process(process.env.CADDY ?? join(VENV, 'caddy'), ['run', '--config', file, '--adapter', 'caddyfile'], { env });
    },
  },
  haproxy: {
    start({ home, recipe, file, change = (script) => script }) {
      const script = execFileSync(GATE, ['recipe', 'haproxy-lua', '-c', file], { env: ENVIRONMENT, encoding: 'utf8' });
      writeFileSync(join(home, 'clerk-gate.lua'), change(script));
      writeFileSync(join(home, 'haproxy.cfg'), recipe);
      return new Process('/usr/sbin/haproxy', ['-db', '-f', 'haproxy.cfg'], { cwd: home, env: { ...ENVIRONMENT, CLERK_GATE_SECRET: SECRET } });
    },
  },
  envoy: {
    start({ home, recipe }) {
      const file = join(home, 'envoy.yaml');
      writeFileSync(file, recipe);
      const args = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '--use-dynamic-base-id', '-l', 'warning'];
      return new Process(process.env.ENVOY ?? join(VENV, 'envoy'), args);
    },
  },
  'envoy-grpc': {
    start: (world) => SERVERS.envoy.start(world),
  },
  traefik: {
    start({ home, recipe, address }) {
      // Started in the folder of its file, as the recipe says.
      const file = 'clerk-gate.yml';
      writeFileSync(join(home, file), recipe);
      return new Process(process.env.TRAEFIK ?? join(VENV, 'traefik'), [
        `--entryPoints.web.address=${address}`, `--providers.file.filename=${file}`,
        '--global.checkNewVersion=false', '--global.sendAnonymousUsage=false', '--log.level=WARN',
      ], { cwd: home });
    },
  },
};

/** An application that tells what it has received, and keeps it. */
class Application {
  received = [];
  /** What has come after a change to another protocol than websockets. */
  tunnelled = [];

  async start() {
    this.server = http.createServer((request, response) => {
      const { method, url, headers, rawHeaders } = request;
      this.received.push({ method, url, headers, rawHeaders });
      request.resume();
      if (url.startsWith('/public/forbidden')) {
        response.writeHead(403, { 'content-type': 'text/plain' });
        return response.end('the application says no');
      }
      response.setHeader('set-cookie', 'theirs=1');
      response.end(JSON.stringify({ method, url, user: headers['x-user-id'] ?? '' }));
    });
    this.server.on('upgrade', (request, socket) => {
      const { method, url, headers, rawHeaders } = request;
      this.received.push({ method, url, headers, rawHeaders });
      if (headers.upgrade !== 'websocket') {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n');
        socket.on('data', (piece) => this.tunnelled.push(piece.toString('latin1')));
        socket.on('error', () => {});
        return socket.setTimeout(2000, () => socket.destroy());
      }
      const accept = createHash('sha1').update(`${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      socket.end(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nhello`);
    });
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  /** What has arrived since it was last asked. */
  take() {
    return this.received.splice(0);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Sends bytes and returns the answer as text. */
async function raw(port, text) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(text, 'latin1');
  let answer = '';
  socket.on('data', (piece) => (answer += piece.toString('latin1')));
  socket.on('error', () => {});
  await within(15_000, once(socket, 'close'), () => `no end of the answer to ${text}: ${answer}`);
  return { status: Number(/^HTTP\/1\.\d (\d+)/.exec(answer)?.[1]), text: answer };
}

/** Asks over gRPC, and returns the status of the call and the message that comes back as text. */
async function check(port, message, secret) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const call = session.request({
    ':method': 'POST', ':path': '/envoy.service.auth.v3.Authorization/Check', 'content-type': 'application/grpc', te: 'trailers',
    ...(secret && { 'x-clerk-gate-secret': secret }),
  });
  const length = Buffer.alloc(5);
  length.writeUInt32BE(message.length, 1);
  let status;
  let text = '';
  call.on('response', (headers) => (status = headers['grpc-status'] ?? status));
  call.on('trailers', (headers) => (status = headers['grpc-status'] ?? status));
  call.on('data', (piece) => (text += piece.toString('latin1')));
  call.end(Buffer.concat([length, message]));
  try {
    await within(15_000, once(call, 'close'), () => 'no end of the call');
  } finally {
    session.close();
  }
  return { status, text };
}

/** The values of a header that an application received, whatever its spelling. */
function arrived(request, name) {
  const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const { rawHeaders } = request;
  const values = rawHeaders.filter((_, at) => at % 2 === 1 && plain(rawHeaders[at - 1]) === plain(name));
  return values.filter((value) => value !== '');
}

let dev;
before(async () => {
  mkdirSync(TARGET, { recursive: true });
  dev = await startDev();
});
after(async () => {
  await dev?.stop();
});

for (const [name, server] of Object.entries(SERVERS)) {
  describe(name, { concurrency: false }, () => {
    let home;
    let app;
    let gate;
    let gateway;
    let port;
    let url;
    let door;
    let ada;
    const table = name === 'envoy-grpc' ? 'ext-authz' : 'forward-auth';
    const authorized = (token) => ['Authorization', `Bearer ${token}`];
    /** A request as bytes, with a token in it. */
    const asked = (target, lines = [], method = 'GET') =>
      raw(port, [`${method} ${target} HTTP/1.1`, `Host: localhost:${port}`, 'Connection: close', ...lines, '', ''].join('\r\n'));

    before(async () => {
      home = mkdtempSync(join(TARGET, `doors-${name}-`));
      app = await new Application().start();
      [port, door] = [await freePort(), await freePort()];
      url = `http://localhost:${port}`;
      writeFileSync(join(home, 'door'), SECRET);
      gate = await startGate({
        dev, home, upstream: app.url, policy: `
[${table}]
listen = "127.0.0.1:${door}"
peers  = ["127.0.0.1"]
secret-file = "${join(home, 'door')}"

[identity.headers]
"remote-user" = "sub"

[[route]]
path    = ["/", "/public/**"]
require = "public"

[[route]]
path    = "/admin/**"
require = "org:admin"

[[route]]
name    = "limited"
path    = "/limited/**"
require = "signed-in"
limit   = { requests = 2, window = "24h" }

[[route]]
path    = "/hidden/**"
require = "org:admin"
hide    = true
`,
      });
      const address = `127.0.0.1:${port}`;
      const file = join(home, 'clerk-gate.toml');
      const args = ['recipe', name, '-c', file, '--gateway', address];
      const printed = execFileSync(GATE, args, { env: ENVIRONMENT, encoding: 'utf8' });
      const recipe = printed.replaceAll('REPLACE-WITH-THE-SECRET', SECRET);
      gateway = await server.start({ home, recipe, address, file });
      await eventually(`${name} answers`, async () => {
        try {
          assert.equal((await send(`${url}/public/ready`)).status, 200);
        } catch (error) {
          throw new Error(`${error.message}\n${gateway.log}\n${gate.process.log}`, { cause: error });
        }
      });
      ada = new Browser();
      app.take();
    });

    after(async () => {
      await gateway?.stop();
      await gate?.stop();
      app?.stop();
      if (home) rmSync(home, { recursive: true, force: true });
    });

    test('a public page is for everybody', async () => {
      const answer = await send(`${url}/public/x?a=1&b=%2F`);
      assert.equal(answer.status, 200, answer.text);
      const [request, ...more] = app.take();
      assert.deepEqual([request.method, request.url, more.length], ['GET', '/public/x?a=1&b=%2F', 0]);
      assert.deepEqual(arrived(request, 'x-user-id'), []);
      assert.deepEqual(arrived(request, 'x-clerk-gate-secret'), [], 'the secret is for the gate alone');
      assert.equal(answer.headers['set-cookie']?.[0], 'theirs=1');
    });

    test('an answer of the application is its own', async () => {
      const answer = await send(`${url}/public/forbidden`);
      assert.equal(`${answer.status} ${answer.text}`, '403 the application says no');
      app.take();
    });

    test('a page load leads to sign-in and knows the way back, whatever it says itself', async () => {
      const first = await new Browser().visit(`${url}/members?a=1&redirect_url=https://evil.example/`);
      const back = new URL(first.url).searchParams.getAll('redirect_url');
      assert.deepEqual(back, [`${url}/members?a=1&redirect_url=https%3A%2F%2Fevil.example%2F`], first.url);
      assert.deepEqual(app.take(), []);
    });

    test('somebody signs in and is known to the application', async () => {
      const page = await ada.signIn(`${url}/members`, 'ada');
      assert.equal(page.status, 200, page.text);
      assert.equal(JSON.parse(page.text).user, ADA);
      const request = app.take().at(-1);
      assert.deepEqual(arrived(request, 'x-user-id'), [ADA]);
      assert.deepEqual(arrived(request, 'remote-user'), [ADA]);
      assert.ok(ada.cookies(url).has('__session'), 'the handshake set its cookies');
      assert.doesNotMatch(request.headers.cookie ?? '', /__session|__client|__refresh|__clerk|__Host-clerk-gate/);
    });

    test('a session that has run out is renewed on a POST, and the browser gets its cookie', async () => {
      const before = ada.cookies(url).get('__session');
      // A browser drops its token when it has run out; the gate's own seal is still there.
      for (const key of [...ada.cookies(url).keys()]) if (/^__session/.test(key)) ada.cookies(url).delete(key);
      const answer = await ada.send(`${url}/members/form`, { method: 'POST', body: 'a=1' });
      assert.equal(answer.status, 200, answer.text);
      const renewed = ada.cookies(url).get('__session');
      assert.notEqual(renewed, before);
      const cookies = answer.headers['set-cookie'];
      assert.ok(cookies.some((cookie) => cookie.startsWith('__session=ey')), cookies.join('\n'));
      assert.ok(cookies.includes('theirs=1'), 'the cookie of the application arrives as well');
      const [request] = app.take();
      assert.deepEqual([request.method, arrived(request, 'x-user-id')], ['POST', [ADA]]);
      // Traefik adds cookies to an answer of the application, and nothing else.
      if (name !== 'traefik') assert.match(answer.headers['cache-control'], /no-store/);
    });

    test('a program gets 401 as JSON, and 403 where it may not', async () => {
      const nobody = await send(`${url}/members`);
      assert.equal(nobody.status, 401);
      assert.equal(nobody.headers['content-type'], 'application/json');
      assert.equal(JSON.parse(nobody.text).error.code, 'dev-browser-missing');
      assert.match(nobody.headers['www-authenticate'], /^Bearer /);
      const mel = new Browser();
      await mel.signIn(`${url}/members`, 'mel');
      app.take();
      const member = await mel.send(`${url}/admin/x`);
      assert.equal(member.status, 403);
      assert.equal(JSON.parse(member.text).error.code, 'role-missing');
      const page = await mel.visit(`${url}/admin/x`);
      assert.equal(page.status, 403);
      assert.match(page.headers['content-type'], /^text\/html/);
      assert.match(page.text, /<h1/);
      assert.deepEqual(app.take(), []);
    });

    test('whoever asks for too much gets 429 with its fields, and everybody else does not', async () => {
      const policy = '"limited";q=2;w=86400';
      for (const left of [1, 0]) {
        const answer = await ada.send(`${url}/limited/x`);
        assert.equal(answer.status, 200, answer.text);
        // Traefik adds cookies to an answer of the application, and nothing else.
        assert.equal(answer.headers['ratelimit-policy'], name === 'traefik' ? undefined : policy);
        const limit = new RegExp(name === 'traefik' ? '^undefined$' : `^"limited";r=${left};t=\\d+$`);
        assert.match(String(answer.headers.ratelimit), limit);
        assert.equal(answer.headers['retry-after'], undefined);
      }
      assert.equal(app.take().length, 2);
      const asJson = await ada.send(`${url}/limited/x`);
      assert.equal(asJson.headers['content-type'], 'application/json');
      assert.equal(JSON.parse(asJson.text).error.code, 'rate-limited');
      const posted = await ada.send(`${url}/limited/x`, { method: 'POST', body: 'a=1' });
      const page = await ada.visit(`${url}/limited/x`);
      assert.match(page.headers['content-type'], /^text\/html/);
      assert.match(page.text, /<h1/);
      for (const refused of [asJson, posted, page]) {
        assert.equal(refused.status, 429, refused.text);
        assert.equal(refused.headers['ratelimit-policy'], policy);
        assert.match(refused.headers.ratelimit, /^"limited";r=0;t=\d+$/);
        assert.match(refused.headers['retry-after'], /^[1-9]\d*$/);
        assert.match(refused.headers['cache-control'], /no-store/);
      }
      assert.deepEqual(app.take(), []);
      assert.equal((await ada.send(`${url}/members`)).status, 200, 'the limit is that of its route');
      const stranger = await send(`${url}/limited/x`);
      assert.equal(stranger.status, 401);
      assert.equal(stranger.headers.ratelimit, undefined);
      assert.equal(app.take().length, 1);
    });

    test('what is hidden is not there', async () => {
      const answer = await send(`${url}/hidden/x`);
      assert.equal(answer.status, 404);
      assert.equal(answer.headers['x-clerk-auth-reason'], undefined);
      assert.deepEqual(app.take(), []);
    });

    test('identity is what the gate says and nothing else', async () => {
      const forged = ['x-user-id: root', 'X-USER-ID: root', 'Remote-User: root', 'x-org-role: org:admin', 'X-Actor-Id: a'];
      const answer = await asked('/public/x', forged);
      assert.equal(answer.status, 200, answer.text);
      for (const header of [...IDENTITY, 'remote-user']) {
        for (const request of app.received) assert.deepEqual(arrived(request, header), [], header);
      }
      app.take();
      for (const spelling of ['X_User_Id', 'x_user-id', 'X.User.Id', 'Remote_User', 'x_org_role', 'X-User_Id']) {
        await asked('/public/x', [`${spelling}: root`]);
        for (const request of app.take()) {
          for (const header of [...IDENTITY, 'remote-user']) assert.deepEqual(arrived(request, header), [], spelling);
        }
      }
      const cookie = [...ada.cookies(url)].map(([key, value]) => `${key}=${value}`).join('; ');
      for (const lines of [['x-user-id: root', 'x-user-id: root2'], ['Connection: x-user-id'], ['Connection: close, X-User-Id, remote-user']]) {
        const known = await asked('/members', [`Cookie: ${cookie}`, ...lines]);
        assert.equal(known.status, 200, known.text);
        const [request] = app.take();
        assert.deepEqual([arrived(request, 'x-user-id'), arrived(request, 'remote-user')], [[ADA], [ADA]], lines.join());
      }
    });

    test('what a client says of forwarding changes nothing', async () => {
      const spoofed = [
        ['X-Forwarded-Method', 'GET'], ['X-Forwarded-Uri', '/public/x'], ['X-Forwarded-Host', 'evil.example'], ['X-Forwarded-Proto', 'https'],
        ['X-Forwarded-For', '127.0.0.1'], ['X-Original-Method', 'GET'], ['X-Original-URI', '/public/x'], ['X-Original-Host', 'evil.example'],
        ['X-Original-Proto', 'https'], ['X-Original-Client', '127.0.0.1'], ['X-Clerk-Gate-Status', '200'], ['X-Clerk-Gate-Secret', 'x'],
        ['X-Original-URL', '/public/x'], ['X-Rewrite-URL', '/public/x'], ['X-HTTP-Method-Override', 'GET'], ['X-Middleware-Subrequest', 'x'],
        ['X_Original_URI', '/public/x'], ['X_Forwarded_Uri', '/public/x'],
        ['X-Client-IP', '127.0.0.9'], ['X-Cluster-Client-IP', '127.0.0.9'], ['True-Client-IP', '127.0.0.9'], ['CF-Connecting-IP', '127.0.0.9'],
        ['X-Host', 'evil.example'], ['X-Forwarded-Scheme', 'https'], ['X-Forwarded-Ssl', 'on'],
      ];
      for (const line of spoofed) {
        const answer = await send(`${url}/members`, { headers: [line] });
        assert.ok([400, 401].includes(answer.status), `${line}: ${answer.status}`);
        const page = await new Browser().send(`${url}/members`, { headers: [...NAVIGATION, ['Cookie', '__clerk_db_jwt=x'], line] });
        if (page.status === 307) {
          const back = new URL(page.headers.location).searchParams.get('redirect_url');
          assert.equal(back, `${url}/members`, line.join());
        }
      }
      const all = await send(`${url}/members`, { headers: spoofed.slice(0, 10) });
      assert.equal(all.status, 401);
      assert.deepEqual(app.take(), []);
      for (const line of spoofed) {
        await send(`${url}/public/y`, { headers: [line] });
        for (const request of app.take()) {
          let mine = /for|host|proto$/i.test(line[0]) && /^x-forwarded/i.test(line[0]);
          // Nobody asks in these, and the gate as a proxy passes them on as well.
          mine ||= name === 'envoy-grpc' && /^x-original-(method|proto|client)$/i.test(line[0]);
          if (!mine) assert.deepEqual(arrived(request, line[0]).filter((value) => value === line[1]), [], line.join());
        }
      }
    });

    test('nobody outside is answered by a door', async () => {
      for (const path of ['/auth/nginx', '/auth/traefik', '/auth/caddy', '/auth/haproxy', '/auth/envoy/public/x', '/.clerk-gate/ask']) {
        const answer = await send(`${url}${path}`, { headers: [['X-Forwarded-Uri', '/public/x']] });
        assert.ok([401, 404].includes(answer.status), `${path}: ${answer.status}`);
        assert.equal(answer.headers['x-user-id'], undefined);
        assert.equal(answer.headers['x-clerk-gate-status'], undefined);
      }
      assert.deepEqual(app.take(), []);
    });

    test('no spelling of a protected path reaches the application', async () => {
      const targets = [
        '/public/..;/admin', '//admin', '/public/%2e%2e/admin', '/public/../admin', '/%61dmin', '/admin%2fx', '/public%2f..%2fadmin',
        '/public/..%2fadmin', '/public/%2e%2e%2fadmin', '/ADMIN/x', '/admin;x=1', '/admin/.', '/./admin', '/public//../admin', '/public/..%5cadmin',
        '/public/..\\admin', '/%2561dmin', '/admin%20', '/admin.', '/admin%00', '/public/x/%2e%2e/%2e%2e/admin', '/_gate/../admin',
        '/_gate/%2e%2e/admin', '/.clerk-gate/../admin', '/index.php/admin', '/\uff41dmin', '/admin#/public/x', '/public/x#/../../admin',
        `http://localhost:${'PORT'}/admin`, 'http://evil.example/admin',
      ];
      for (const target of targets) {
        for (const method of ['GET', 'POST']) {
          await asked(Buffer.from(target.replace('PORT', String(port))).toString('latin1'), method === 'POST' ? ['Content-Length: 0'] : [], method);
          assert.deepEqual(app.take().map((request) => request.url), [], target);
        }
      }
      assert.equal((await asked('/public/x')).status, 200);
      app.take();
    });

    test('requests that can be read in two ways reach nobody', async () => {
      for (const lines of [['Host: evil.example'], ['Content-Length: 5', 'Transfer-Encoding: chunked', '', '0']]) {
        await asked('/members', lines);
        assert.deepEqual(app.take(), [], lines.join());
      }
    });

    test('a websocket passes where its handshake may, and not elsewhere', async () => {
      const handshake = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'];
      const open = (target) => raw(port, [`GET ${target} HTTP/1.1`, `Host: localhost:${port}`, `Origin: ${url}`, ...handshake, '', ''].join('\r\n'));
      const opened = await open('/public/socket');
      assert.equal(opened.status, 101, opened.text);
      assert.match(opened.text, /hello$/);
      assert.equal(app.take().length, 1);
      const cookie = [...ada.cookies(url)].map(([key, value]) => `${key}=${value}`).join('; ');
      handshake.push('Connection: x-user-id');
      const forged = await open('/public/socket');
      for (const request of app.take()) assert.deepEqual(arrived(request, 'x-user-id'), [], forged.text);
      handshake.pop();
      const refused = raw(port, [`GET /members HTTP/1.1`, `Host: localhost:${port}`, ...handshake, 'Connection: close', '', ''].join('\r\n'));
      assert.equal((await refused).status, 401);
      assert.deepEqual(app.take(), []);
      handshake.push(`Cookie: ${cookie}`);
      assert.equal((await open('/members')).status, 101);
      assert.deepEqual(arrived(app.take()[0], 'x-user-id'), [ADA]);
    });

    test('no protocol but a websocket opens a tunnel past the gate', async () => {
      const settings = ['Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'];
      const handshake = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'];
      const after = 'GET /admin/tunnelled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
      const forms = [
        ['Upgrade: h2c'], ['Upgrade: h2c', 'Upgrade: websocket'], ['Upgrade: websocket', 'Upgrade: h2c'], ['Upgrade: h2c, websocket'],
        ['Upgrade: websocket, h2c'], ['Upgrade: notwebsocket'], ['Upgrade: h2c', 'Upgrade: websocket', ...handshake],
      ];
      for (const form of forms) {
        const head = ['GET /public/x HTTP/1.1', `Host: localhost:${port}`, `Origin: ${url}`, ...settings, ...form, '', ''].join('\r\n');
        const answer = await raw(port, head + after);
        const said = form.join(' | ');
        const asked = app.take();
        // Where the lines are two, one of them is `websocket`: it may stay, and then nothing but that is spoken.
        const websocket = asked.length === 1 && asked[0].headers.upgrade === 'websocket';
        if (!websocket) assert.doesNotMatch(answer.text, /^HTTP\/1\.1 101/m, said);
        for (const request of asked) {
          assert.equal(request.url, '/public/x', said);
          assert.ok([undefined, 'websocket'].includes(request.headers.upgrade), `${said}: ${request.headers.upgrade}`);
          assert.deepEqual(arrived(request, 'http2-settings'), [], said);
        }
        assert.deepEqual(app.tunnelled, [], said);
      }
    });

    test('a request of very many lines is no end of the gateway', async () => {
      for (const count of [60, 78, 85, 95, 96, 97, 100, 120, 300]) {
        const answer = await asked('/public/lines', Array.from({ length: count }, (_, at) => `a${at}: b`));
        if (name === 'haproxy' && count > 80) assert.ok([400, 431].includes(answer.status), `${count}: ${answer.status}`);
        if (count === 60) assert.equal(answer.status, 200, answer.text);
        assert.equal((await asked('/public/x')).status, 200, `after ${count} lines`);
        const passed = app.take().map((request) => request.url);
        assert.deepEqual(passed, answer.status === 200 ? ['/public/lines', '/public/x'] : ['/public/x'], String(count));
      }
    });

    test('pages of the gate answer under its prefix', async () => {
      const me = await ada.send(`${url}/_gate/me`);
      assert.equal(me.status, 200, me.text);
      assert.equal(JSON.parse(me.text).user_id, ADA);
      assert.deepEqual(app.take(), []);
    });

    test('malformed words at the door itself open nothing', async () => {
      if (name === 'envoy-grpc') {
        for (const [secret, status, said] of [[undefined, '7', ''], ['x', '7', ''], [SECRET, '0', 'door-metadata']]) {
          const answer = await check(door, Buffer.alloc(0), secret);
          assert.equal(answer.status, status);
          assert.ok(answer.text.includes(said) && !answer.text.includes('x-user-id'), answer.text);
        }
        return;
      }
      const at = `http://127.0.0.1:${door}/auth/${name}${name === 'envoy' ? '/public/x' : ''}`;
      for (const headers of [[], [['X-Original-URI', '/public/x']], [['X-Forwarded-Uri', '/public/x'], ['X-Forwarded-Uri', '/public/x']]]) {
        assert.equal((await send(at, { headers })).status, 403, 'whoever has no secret is nobody');
        const answer = await send(at, { headers: [...headers, ['X-Clerk-Gate-Secret', SECRET]] });
        assert.equal(answer.status, name === 'nginx' ? 401 : 400);
        assert.equal(answer.headers['x-user-id'], undefined);
      }
    });

    if (name === 'haproxy') test('an action that fails lets nobody in', async () => {
      const places = ['local client = core.httpclient()', 'local written = txn.http:req_get_headers()', 'txn:set_var("txn.clerk_gate_yes", true)'];
      for (const place of places) {
        const broken = mkdtempSync(join(TARGET, `doors-${name}-`));
        const at = await freePort();
        const file = join(home, 'clerk-gate.toml');
        const recipe = execFileSync(GATE, ['recipe', name, '-c', file, '--gateway', `127.0.0.1:${at}`], { env: ENVIRONMENT, encoding: 'utf8' });
        let behind;
        try {
          behind = await server.start({ home: broken, recipe, file, change: (script) => {
            assert.equal(script.split(place).length, 2, place);
            return script.replace(place, `error("broken")\n    ${place}`);
          } });
          await eventually('it answers', async () => {
            assert.equal((await send(`http://localhost:${at}/public/x`)).status, 503, behind.log);
          });
          assert.equal((await send(`http://localhost:${at}/admin/x`, { headers: [['txn.clerk_gate_yes', 'true']] })).status >= 401, true);
          assert.equal((await send(`http://localhost:${at}/_gate/me`)).status < 500, true, 'the pages of the gate need no action');
          assert.deepEqual(app.take(), [], place);
        } finally {
          await behind?.stop();
          rmSync(broken, { recursive: true, force: true });
        }
      }
    });

    if (name === 'haproxy') test('an answer that is none, and one that does not fit, let nobody in', async () => {
      let said = '';
      const answering = net.createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.end(said, 'latin1'));
      });
      answering.listen(0, '127.0.0.1');
      await once(answering, 'listening');
      const odd = mkdtempSync(join(TARGET, `doors-${name}-`));
      const at = await freePort();
      const file = join(home, 'clerk-gate.toml');
      const recipe = execFileSync(GATE, ['recipe', name, '-c', file, '--gateway', `127.0.0.1:${at}`], { env: ENVIRONMENT, encoding: 'utf8' });
      let behind;
      try {
        behind = await server.start({ home: odd, recipe, file, change: (script) => {
          assert.equal(script.split(`http://127.0.0.1:${door}/`).length, 2);
          return script.replace(`http://127.0.0.1:${door}/`, `http://127.0.0.1:${answering.address().port}/`);
        } });
        const yes = (permissions) => `HTTP/1.1 200 OK\r\nx-user-id: user_1\r\nx-org-permissions: ${permissions}\r\ncontent-length: 0\r\n\r\n`;
        const ask = (headers = []) => send(`http://localhost:${at}/public/x`, { headers });
        said = yes('org:a');
        await eventually('it answers', async () => assert.equal((await ask()).status, 200, behind.log));
        const [request] = app.take().slice(-1);
        assert.equal(request.headers['x-org-permissions'], 'org:a');
        for (const status of ['099 Odd', '600 Odd', '700 Odd', '999 Odd']) {
          said = `HTTP/1.1 ${status}\r\nx-user-id: user_1\r\ncontent-length: 0\r\n\r\n`;
          assert.equal((await ask()).status, 503, status);
        }
        // Whatever a client adds must not push out what is told of it.
        said = yes(`org:${'a'.repeat(50_000)}`);
        const padded = await ask([['X-A', 'b'.repeat(14_000)], ['X-B', 'b'.repeat(14_000)]]);
        assert.equal(padded.status, 503, padded.text);
        assert.deepEqual(app.take(), []);
      } finally {
        await behind?.stop();
        answering.close();
        rmSync(odd, { recursive: true, force: true });
      }
    });

    test('where nobody can tell, nobody gets in and the client hears 503', async () => {
      const closed = await freePort();
      const home503 = mkdtempSync(join(TARGET, `doors-${name}-`));
      const [port503, door503] = [await freePort(), await freePort()];
      const lost = await startGate({
        dev: { ...dev, clerk: `http://127.0.0.1:${closed}` }, home: home503, upstream: app.url,
        policy: `\n[${table}]\nlisten = "127.0.0.1:${door503}"\npeers = ["127.0.0.1"]\n`,
      });
      let behind;
      try {
        const address = `127.0.0.1:${port503}`;
        const file = join(home503, 'clerk-gate.toml');
        const args = ['recipe', name, '-c', file, '--gateway', address];
        const recipe = execFileSync(GATE, args, { env: ENVIRONMENT, encoding: 'utf8' });
        behind = await server.start({ home: home503, recipe, address, file });
        const token = ada.cookies(url).get('__session');
        await eventually('it answers', async () => {
          const answer = await send(`http://localhost:${port503}/members`, { headers: [authorized(token)] });
          assert.equal(answer.status, 503, behind.log);
          // Envoy takes whatever begins with a 5 for a failure, and says so in its own words.
          if (name === 'envoy') return;
          assert.equal(JSON.parse(answer.text).error.code, 'jwk-remote-failed-to-load');
          assert.equal(answer.headers['retry-after'], '5');
        });
        assert.deepEqual(app.take(), []);
        await lost.stop();
        const answer = await send(`http://localhost:${port503}/public/x`, { headers: [authorized(token)] });
        assert.ok(answer.status >= 500, `without a gate: ${answer.status}`);
        assert.deepEqual(app.take(), []);
      } finally {
        await behind?.stop();
        await lost.stop();
        rmSync(home503, { recursive: true, force: true });
      }
    });
  });
}
