// WordPress as Debian packages it, with a MariaDB of its own.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { adapted } from '../documents.mjs';
import { ENVIRONMENT, eventually, Process } from '../support.mjs';
import { PATH, startPhp } from './php.mjs';

/** Runs a program to its end, which has to be a good one. */
async function finish(command, args, options) {
  const program = new Process(command, args, options);
  const { code } = await program.ended;
  assert.equal(code, 0, program.log);
  return program.log;
}

/** Installs and starts it; `plugin` and `settings` are those of the document, `url` is the public address. */
export async function startWordpress(port, { folder, plugin, settings, url }) {
  const [data, socket, site] = ['data', 'mariadb.sock', 'site'].map((name) => join(folder, name));
  const options = { env: { ...ENVIRONMENT, PATH } };
  await finish('mariadb-install-db', [
    '--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db',
  ], options);
  const database = new Process('mariadbd', [
    '--no-defaults', `--datadir=${data}`, `--socket=${socket}`, `--pid-file=${join(folder, 'mariadb.pid')}`,
    '--skip-networking', '--innodb-buffer-pool-size=16M', '--innodb-flush-log-at-trx-commit=0',
    ...(process.getuid() === 0 ? ['--user=root'] : []),
  ], options);
  try {
    await eventually('MariaDB answers', async () => {
      await finish('mariadb', ['--no-defaults', `--socket=${socket}`, '-uroot', '-e', 'CREATE DATABASE wordpress'], options);
    });
    cpSync('/usr/share/wordpress', site, { recursive: true, dereference: true });
    mkdirSync(join(site, 'wp-content/mu-plugins'), { recursive: true });
    mkdirSync(join(site, 'wp-content/themes/plain'), { recursive: true });
    writeFileSync(join(site, 'wp-content/themes/plain/style.css'), '/* Theme Name: Plain */');
    writeFileSync(join(site, 'wp-content/themes/plain/index.php'), `<?php
$user = wp_get_current_user();
echo 'hello ', $user->exists() ? $user->user_login . ' (' . implode(', ', $user->roles) . ')' : 'stranger';
`);
    // Asked around the gate, it is to answer there and not to lead to its public address.
    writeFileSync(join(site, 'wp-content/themes/plain/functions.php'), `<?php
remove_action('template_redirect', 'redirect_canonical');
`);
    writeFileSync(join(site, 'wp-config.php'), `${adapted(settings, { 'https://app.example.com': url })}
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:${socket}');
define('DB_CHARSET', 'utf8mb4');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('WP_DEFAULT_THEME', 'plain');
$table_prefix = 'wp_';
define('ABSPATH', __DIR__ . '/');
require ABSPATH . 'wp-settings.php';
`);
    // Without the plugin, as somebody installs it before there is a gate.
    await finish('php', ['-d', 'sendmail_path=/bin/true', '-r', `
$_SERVER['HTTP_HOST'] = '${new URL(url).host}';
define('WP_INSTALLING', true);
require '${site}/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Example', 'owner', 'owner@example.com', true, '', 'a-password-of-before');
`], options);
    writeFileSync(join(site, 'wp-content/mu-plugins/gate.php'), plugin);
  } catch (error) {
    await database.stop();
    throw new Error(`${error.message}\n${database.log}`, { cause: error });
  }
  const php = startPhp(port, { folder: site });
  return {
    get log() {
      return `${php.log}\n${database.log}`;
    },
    stop: async () => {
      await php.stop();
      await database.stop();
    },
  };
}
