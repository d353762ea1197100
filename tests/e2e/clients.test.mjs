// Clients that people use, against a real gate that ends TLS itself: curl, wget, git and a browser, in HTTP/1.1 and in
// HTTP/2. What they see is the application's; what they may not see they do not.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join, normalize } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import puppeteer from 'puppeteer-core';
import { WebSocketServer } from 'ws';

import { ENVIRONMENT, freePort, startDev, startGate, TARGET, within } from './support.mjs';

const MEL = 'user_2Mel00000000000000000000001';
const PAGE = `<!doctype html><title>page</title><script>
  window.heard = new Promise((resolve) => {
    const socket = new WebSocket(location.origin.replace('http', 'ws') + '/mine/talk');
    socket.onopen = () => socket.send('hello');
    socket.onmessage = ({ data }) => { resolve(data); socket.close(); };
    socket.onclose = ({ code }) => resolve('closed with ' + code);
  });
</script>`;

let home;
let dev;
let gate;
let application;
let url;
const received = [];

before(async () => {
  mkdirSync(join(TARGET, 'tmp'), { recursive: true });
  home = mkdtempSync(join(TARGET, 'tmp/clients-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', join(home, 'key.pem'), '-out', join(home, 'cert.pem')],
  { stdio: 'pipe' });
  repository();
  application = await startApplication();
  dev = await startDev();
  const port = await freePort();
  gate = await startGate({
    dev,
    home,
    port,
    upstream: `http://127.0.0.1:${application.address().port}`,
    policy: `
[[tls.certificate]]
cert-file = "${join(home, 'cert.pem')}"
key-file  = "${join(home, 'key.pem')}"

[[route]]
name    = "files"
path    = "/files/**"
require = "public"
`,
  });
  url = `https://localhost:${port}`;
});

after(async () => {
  await gate?.stop();
  await dev?.stop();
  application?.close();
  application?.closeAllConnections();
  rmSync(home, { recursive: true, force: true });
});

/** A repository as any web server can serve it: files. */
function repository() {
  const git = (...args) => execFileSync('git', args, { env: identity(), stdio: 'pipe' });
  const work = join(home, 'work');
  git('init', '-q', work);
  writeFileSync(join(work, 'hello.txt'), 'hello\n');
  git('-C', work, 'add', '.');
  git('-C', work, 'commit', '-qm', 'one');
  git('clone', '-q', '--bare', work, join(home, 'files/repo.git'));
  git('-C', join(home, 'files/repo.git'), 'update-server-info');
}

function identity() {
  const who = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@example.com', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@example.com' };
  return { ...ENVIRONMENT, ...who, GIT_CONFIG_NOSYSTEM: '1', GIT_SSL_CAINFO: join(home, 'cert.pem'), HOME: home, GIT_TERMINAL_PROMPT: '0' };
}

/** An application that serves files, pages and a websocket, and keeps what it received. */
async function startApplication() {
  const server = http.createServer((request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    received.push({ path, user: request.headers['x-user-id'], proto: request.headers['x-forwarded-proto'] });
    const file = join(home, normalize(path));
    if (path.startsWith('/files/') && existsSync(file) && statSync(file).isFile()) return createReadStream(file).pipe(response);
    if (path.startsWith('/mine')) {
      response.setHeader('content-type', 'text/html');
      return response.end(PAGE);
    }
    response.statusCode = 404;
    return response.end('the application has none');
  });
  const talk = new WebSocketServer({ server, path: '/mine/talk' });
  talk.on('connection', (socket, request) => {
    received.push({ path: request.url, user: request.headers['x-user-id'], proto: request.headers['x-forwarded-proto'] });
    socket.on('message', (text) => socket.send(`${text} ${request.headers['x-user-id']}`));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** What a program says on its standard output. */
async function says(command, ...args) {
  const { stdout } = await within(30_000, promisify(execFile)(command, args, { env: identity() }), `${command} does not end`);
  return stdout;
}

for (const [version, flag] of [['1.1', '--http1.1'], ['2', '--http2']]) {
  const curl = (...args) => says('curl', '-sS', '--cacert', join(home, 'cert.pem'), flag, ...args);

  test(`curl gets a file in HTTP/${version}`, async () => {
    const told = await curl('-w', '%{http_version} %{http_code}', `${url}/files/work-is-not-served`);
    assert.equal(told, `the application has none${version} 404`);
    const file = await curl('-w', '%{http_version} %{http_code}', `${url}/files/repo.git/HEAD`);
    assert.match(file, new RegExp(`^ref: refs/heads/\\w+\n${version} 200$`));
    assert.equal(received.at(-1).proto, 'https');
  });

  test(`curl is refused in HTTP/${version}`, async () => {
    received.length = 0;
    const told = await curl('-w', '\n%{http_version} %{http_code}', '-H', 'x-user-id: user_forged', `${url}/mine`);
    const [body, status] = told.split('\n');
    assert.equal(status, `${version} 401`);
    assert.ok(JSON.parse(body).error.code, body);
    assert.deepEqual(received, []);
  });

  test(`git clones in HTTP/${version}`, async () => {
    const to = join(home, `clone-${version}`);
    const http = version === '2' ? 'HTTP/2' : 'HTTP/1.1';
    await says('git', '-c', `http.version=${http}`, 'clone', '-q', `${url}/files/repo.git`, to);
    assert.ok(existsSync(join(to, 'hello.txt')));
  });
}

test('wget gets a file', async () => {
  const text = await says('wget', '-q', '-O', '-', `--ca-certificate=${join(home, 'cert.pem')}`, `${url}/files/repo.git/HEAD`);
  assert.match(text, /^ref: /);
});

test('a browser signs in, and talks over a websocket, in HTTP/2', async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    acceptInsecureCerts: true,
    args: ['--disable-dev-shm-usage', '--ignore-certificate-errors', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
  try {
    received.length = 0;
    const page = await browser.newPage();
    page.setDefaultTimeout(15_000);
    await page.goto(`${url}/mine`);
    assert.equal(new URL(page.url()).pathname, '/sign-in');
    assert.deepEqual(received, [], 'nothing arrives before somebody has signed in');
    await Promise.all([page.waitForNavigation(), page.click('form:has(input[value=mel]) button')]);
    assert.equal(new URL(page.url()).origin, url);
    assert.equal(await page.evaluate(() => window.heard), `hello ${MEL}`);
    const protocol = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
    assert.equal(protocol, 'h2');
    for (const { user, proto, path } of received.filter((one) => one.path.startsWith('/mine'))) {
      assert.deepEqual([user, proto], [MEL, 'https'], path);
    }
  } finally {
    await browser.close();
  }
});
