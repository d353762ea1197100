// Applications of the older kind behind the gate, each with the configuration and the code of its document: PHP,
// Django, Rails and WordPress, as they are packaged, learn who somebody is from the gate and from nobody else.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { blocksOf, tablesOf } from './documents.mjs';
import { startDjango } from './legacy/django.mjs';
import { nginxWith, PATH, startFpm, startPhp } from './legacy/php.mjs';
import { startRails } from './legacy/rails.mjs';
import { startWordpress } from './legacy/wordpress.mjs';
import { Browser, ENVIRONMENT, eventually, freePort, Process, send, startDev, startGate } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const MEL = 'user_2Mel00000000000000000000001';
const [PHP, DJANGO, RAILS, WORDPRESS] = [
  'docs/how-to/in-front-of-php.md',
  'docs/how-to/in-front-of-django.md',
  'docs/how-to/in-front-of-rails.md',
  'docs/how-to/in-front-of-wordpress.md',
].map(blocksOf);
/** A public page where the document opens none, so that strangers are seen. */
const OPEN = '\n[[route]]\npath = "/"\nrequire = "public"\n';
/** How somebody writes a header that only the gate may write. */
const FORGED = [
  ['as it is', [['X-User-Id', ADA]]],
  ['in small letters', [['x-user-id', ADA]]],
  ['with underscores', [['X_User_Id', ADA]]],
  ['twice', [['X-User-Id', ADA], ['X-User-Id', ADA]]],
  ['named in Connection', [['Connection', 'close, x-user-id'], ['X-User-Id', ADA]]],
  ['with a role', [['X-User-Id', ADA], ['X-Org-Role', 'org:admin'], ['X_Org_Role', 'org:admin']]],
];

let home;
let dev;

before(async () => {
  // A short path: sockets are kept below it.
  home = mkdtempSync(join(tmpdir(), 'legacy-'));
  dev = await startDev();
});

after(async () => {
  await dev?.stop();
  if (home) rmSync(home, { recursive: true, force: true });
});

/** Asserts that Mel gets a 403 for each of these paths, and the application nothing of it. */
async function keptOut({ gate, mel, application }, paths) {
  for (const path of paths) {
    assert.equal((await mel.visit(`${gate.url}${path}?refused`)).status, 403, path);
  }
  // What came before this would stand in the log before it.
  await mel.visit(`${gate.url}/?asked`);
  await eventually('the application tells what it was asked', async () => assert.match(application.log, /\/\?asked/));
  assert.doesNotMatch(application.log, /\?refused/);
}

/**
 * What holds for each of them. `start(port, url)` starts the application, which says `hello` and who somebody is at
 * `/`; `more` are the tests of one kind alone.
 */
function behind(name, { policy, start, more }) {
  describe(name, () => {
    const here = {};

    before(async () => {
      const port = await freePort();
      const [gatePort, folder] = [await freePort(), join(home, name.replaceAll(/\W/g, '-'))];
      mkdirSync(folder);
      here.application = await start(port, { folder, url: `http://localhost:${gatePort}` });
      here.around = `http://127.0.0.1:${port}`;
      await eventually(`${name} answers`, async () => {
        const answer = await send(`${here.around}/`);
        assert.ok(answer.status < 500, `${answer.status} ${answer.text}\n${here.application.log}`);
      }, 60_000);
      here.gate = await startGate({ dev, home: folder, upstream: here.around, policy, port: gatePort });
      [here.ada, here.mel] = [new Browser(), new Browser()];
      for (const [person, browser] of [['ada', here.ada], ['mel', here.mel]]) {
        const page = await browser.visit(`${here.gate.url}/_gate/sign-in?redirect_url=/`);
        await browser.submit(page, `name="person" value="${person}"`);
      }
    });

    after(async () => {
      await Promise.allSettled([here.gate?.stop(), here.application?.stop()]);
    });

    const hello = async (browser, who, options) => {
      const answer = await browser.visit(`${here.gate.url}/`, options);
      assert.equal(answer.status, 200, `${answer.text}\n${here.application.log}`);
      assert.match(answer.text, new RegExp(`hello ${who}\\b`), answer.text);
      return answer.text;
    };

    test('strangers are strangers, and who signed in is known', async () => {
      await hello(new Browser(), 'stranger');
      await hello(here.ada, ADA);
      await hello(here.mel, MEL);
    });

    test('without the gate, the header would be believed', async () => {
      const answer = await send(`${here.around}/`, { headers: [['X-User-Id', ADA], ['X-Forwarded-Proto', 'http']] });
      assert.match(answer.text, new RegExp(`hello ${ADA}\\b`), answer.text);
    });

    for (const [how, headers] of FORGED) {
      test(`a user forged ${how} does not arrive`, async () => {
        assert.doesNotMatch(await hello(new Browser(), 'stranger', { headers }), /user_|admin|anything/);
        assert.doesNotMatch(await hello(here.mel, MEL, { headers }), /user_2Ada|org:admin|administrator|anything/);
      });
    }

    more?.(here);

    test('who signs out is a stranger, whatever cookies the application gave them', async () => {
      const page = await here.ada.visit(`${here.gate.url}/_gate/sign-out`);
      await here.ada.submit(page, 'Sign out');
      await hello(here.ada, 'stranger');
      await hello(here.mel, MEL);
    });
  });
}

for (const [index, server] of blocksOf('docs/how-to/migrate-from-nginx-auth-request.md').nginx.entries()) {
  test(`nginx takes configuration ${index + 1} of those who come from it`, async () => {
    const folder = mkdtempSync(join(home, 'nginx-'));
    const options = { env: { ...ENVIRONMENT, PATH } };
    const nginx = new Process('nginx', ['-t', '-p', folder, '-e', 'stderr', '-c', nginxWith(folder, server)], options);
    const { code } = await nginx.ended;
    assert.equal(code, 0, nginx.log);
  });
}

behind('php with its own server', {
  policy: tablesOf(PHP.toml[0]),
  start: (port, { folder }) => {
    writeFileSync(join(folder, 'index.php'), PHP.php[0]);
    return startPhp(port, { folder, script: join(folder, 'index.php') });
  },
  more: (here) => {
    test('the role is known, and a path for admins is one in every way that PHP reads it', async () => {
      assert.match((await here.ada.visit(`${here.gate.url}/`)).text, /may do anything/);
      assert.doesNotMatch((await here.mel.visit(`${here.gate.url}/`)).text, /anything/);
      const ways = ['/admin', '/admin.php', '/admin.php/x', '/ADMIN.PHP', '/index.php/admin', '/admin;x/', '/%61dmin'];
      await keptOut(here, ways);
      assert.equal((await here.ada.visit(`${here.gate.url}/admin`)).status, 200);
    });
  },
});

behind('php behind nginx and FPM', {
  policy: tablesOf(PHP.toml[0]),
  start: (port, { folder }) => {
    mkdirSync(join(folder, 'app'));
    writeFileSync(join(folder, 'app/index.php'), PHP.php[0]);
    writeFileSync(join(folder, 'app/remote.php'), '<?= json_encode($_SERVER["REMOTE_USER"]) ?>');
    return startFpm(port, { folder, server: PHP.nginx[0] });
  },
  more: (here) => {
    test('applications that read REMOTE_USER have it from the gate', async () => {
      assert.equal((await here.mel.visit(`${here.gate.url}/remote.php`)).text, `"${MEL}"`);
      const forged = [['X-User-Id', ADA], ['Remote-User', ADA], ['Remote_User', ADA]];
      assert.equal((await here.mel.visit(`${here.gate.url}/remote.php`, { headers: forged })).text, `"${MEL}"`);
    });
  },
});

behind('django', {
  policy: tablesOf(DJANGO.toml[0]) + OPEN,
  start: (port, { folder }) => startDjango(port, {
    folder: join(folder, 'project'), middleware: DJANGO.python[0], settings: DJANGO.python[1],
  }),
  more: (here) => {
    test('an admin works in its administration, and a member does not', async () => {
      const form = await here.ada.visit(`${here.gate.url}/admin/auth/group/add/`);
      assert.equal(form.status, 200, form.text);
      const token = /name="csrfmiddlewaretoken" value="([^"]+)"/.exec(form.text)[1];
      const body = new URLSearchParams({ csrfmiddlewaretoken: token, name: 'friends of Ada', _save: 'Save' }).toString();
      const headers = [
        ['Content-Type', 'application/x-www-form-urlencoded'],
        ['Origin', here.gate.url],
        ['Referer', `${here.gate.url}/admin/auth/group/add/`],
      ];
      const saved = await here.ada.visit(`${here.gate.url}/admin/auth/group/add/`, { method: 'POST', headers, body });
      assert.match(saved.text, /friends of Ada/);

      await keptOut(here, ['/admin/', '/admin/auth/user/', '/ADMIN/']);
    });

    test('Django itself keeps a member out who comes without the role', async () => {
      const headers = [['X-User-Id', MEL], ['X-Org-Role', 'org:member'], ['X-Forwarded-Proto', 'http']];
      const answer = await send(`${here.around}/admin/`, { headers });
      assert.equal(answer.status, 302);
      assert.match(answer.headers.location, /login/);
    });
  },
});

behind('rails', {
  policy: tablesOf(RAILS.toml[0]) + OPEN,
  start: (port, { folder }) => startRails(port, { folder: join(folder, 'app'), program: RAILS.ruby[0] }),
  more: (here) => {
    test('forms work, and what somebody noted is gone for the next one', async () => {
      const form = await here.mel.visit(`${here.gate.url}/`);
      assert.doesNotMatch(form.text, /anything/);
      const token = /name="authenticity_token" value="([^"]+)"/.exec(form.text)[1];
      const note = (origin) => here.mel.visit(`${here.gate.url}/notes`, {
        method: 'POST',
        headers: [['Content-Type', 'application/x-www-form-urlencoded'], ['Origin', origin]],
        body: new URLSearchParams({ authenticity_token: token, note: 'tea' }).toString(),
      });
      assert.equal((await note('https://elsewhere.example')).status, 422);
      assert.match((await note(here.gate.url)).text, /noted: tea/);

      // The browser keeps the cookie of Rails while Ada comes in Mel's place.
      const kept = [...here.mel.cookies(here.gate.url)].filter(([name]) => /session/.test(name) && !name.startsWith('__'));
      assert.equal(kept.length, 1);
      const cookie = [['Cookie', [...here.ada.cookies(here.gate.url), ...kept].map((pair) => pair.join('=')).join('; ')]];
      const page = await send(`${here.gate.url}/`, { headers: cookie });
      assert.match(page.text, new RegExp(`hello ${ADA}, who may do anything`));
      assert.doesNotMatch(page.text, /tea/);
    });
  },
});

behind('wordpress', {
  policy: tablesOf(WORDPRESS.toml[0]),
  start: (port, { folder, url }) => startWordpress(port, {
    folder, plugin: WORDPRESS.php[0], settings: WORDPRESS.php[1], url,
  }),
  more: (here) => {
    test('an admin is an administrator, and a member a subscriber whom the gate keeps out', async () => {
      assert.match((await here.ada.visit(`${here.gate.url}/`)).text, /\(administrator\)/);
      assert.match((await here.mel.visit(`${here.gate.url}/`)).text, /\(subscriber\)/);
      const desk = await here.ada.visit(`${here.gate.url}/wp-admin/`);
      assert.equal(desk.status, 200, desk.text);
      assert.match(desk.text, /id="wpadminbar"/);
      await keptOut(here, ['/wp-admin/', '/wp-admin/users.php', '/WP-ADMIN/users.php']);
    });

    test('the REST API wants a nonce, which a page of the administration has', async () => {
      const me = `${here.gate.url}/index.php?rest_route=/wp/v2/users/me`;
      assert.equal((await here.ada.send(me)).status, 401);
      const desk = await here.ada.visit(`${here.gate.url}/wp-admin/`);
      const nonce = /createNonceMiddleware\( "(\w+)"/.exec(desk.text)?.[1] ?? /"nonce":"(\w+)"/.exec(desk.text)[1];
      const known = await here.ada.send(me, { headers: [['X-WP-Nonce', nonce]] });
      assert.equal(known.status, 200, known.text);
      assert.equal((await here.mel.send(me, { headers: [['X-WP-Nonce', nonce]] })).status, 403);
    });

    test('its own ways to sign in are closed', async () => {
      const password = { log: 'owner', pwd: 'a-password-of-before' };
      const headers = [['Content-Type', 'application/x-www-form-urlencoded'], ['Origin', here.gate.url]];
      const stranger = new Browser();
      const login = await stranger.send(`${here.gate.url}/wp-login.php`, {
        method: 'POST', headers, body: new URLSearchParams(password).toString(),
      });
      assert.equal(login.status, 302);
      assert.match(login.headers.location, /^\/_gate\/sign-in/);
      const call = '<methodCall><methodName>wp.getUsersBlogs</methodName><params>'
        + Object.values(password).map((value) => `<param><value><string>${value}</string></value></param>`).join('')
        + '</params></methodCall>';
      const remote = await stranger.send(`${here.gate.url}/xmlrpc.php`, {
        method: 'POST', headers: [['Content-Type', 'text/xml']], body: call,
      });
      assert.match(remote.text, /<int>405<\/int>/);
      const basic = Buffer.from(Object.values(password).join(':')).toString('base64');
      const around = await send(`${here.around}/index.php?rest_route=/wp/v2/users/me`, {
        headers: [['Authorization', `Basic ${basic}`]],
      });
      assert.equal(around.status, 401);
    });
  },
});
