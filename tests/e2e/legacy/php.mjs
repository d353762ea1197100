// PHP, with its own server and behind nginx with PHP-FPM.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { adapted } from '../documents.mjs';
import { ENVIRONMENT, Process } from '../support.mjs';

/** Where Debian keeps programs that are no user's. */
export const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/** `php -S`, which serves a folder, or one script; of that it tells what it was asked, as it does of a folder. */
export function startPhp(port, { folder, script }) {
  const telling = join(folder, 'telling.php');
  if (script) {
    writeFileSync(telling, `<?php
file_put_contents('php://stderr', $_SERVER['REQUEST_URI'] . PHP_EOL);
require '${script}';
`);
  }
  return new Process('php', ['-S', `127.0.0.1:${port}`, '-t', folder, ...(script ? [telling] : [])]);
}

/** Writes a configuration of nginx that has this in its `http`, for somebody who may start it; tells where. */
export function nginxWith(folder, http) {
  mkdirSync(join(folder, 'nginx'));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, `
daemon off;
worker_processes 1;
pid ${join(folder, 'nginx.pid')};
error_log stderr warn;
${process.getuid() === 0 ? 'user root;' : ''}
events { worker_connections 64; }
http {
  access_log off;
  ${temporary.map((one) => `${one}_temp_path ${join(folder, 'nginx', one)};`).join('\n  ')}
${http}
}
`);
  return file;
}

/** The server of the document, with nginx and PHP-FPM as somebody who may start both. */
export function startFpm(port, { folder, server }) {
  const [socket, root] = [join(folder, 'fpm.sock'), join(folder, 'app')];
  writeFileSync(join(folder, 'fpm.conf'), `
[global]
daemonize = no
error_log = ${join(folder, 'fpm.log')}
[www]
listen = ${socket}
listen.mode = 0666
pm = static
pm.max_children = 2
clear_env = yes
`);
  const own = adapted(server, {
    '127.0.0.1:3000': `127.0.0.1:${port}`,
    '/var/www/app': root,
    'unix:/run/php/php-fpm.sock': `unix:${socket}`,
    'include fastcgi_params': 'include /etc/nginx/fastcgi_params',
  });
  const configuration = nginxWith(folder, own);
  const options = { env: { ...ENVIRONMENT, PATH } };
  const asRoot = process.getuid() === 0 ? ['-R'] : [];
  const version = execFileSync('php', ['-r', 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;'], { encoding: 'utf8' });
  const fpm = new Process(`php-fpm${version}`, ['-F', '-n', ...asRoot, '-y', join(folder, 'fpm.conf')], options);
  const nginx = new Process('nginx', ['-p', folder, '-e', 'stderr', '-c', configuration], options);
  return {
    get log() {
      return `${fpm.log}\n${nginx.log}`;
    },
    stop: async () => {
      await nginx.stop();
      await fpm.stop();
    },
  };
}
