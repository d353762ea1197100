// Rails as Debian packages it, with Puma.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ENVIRONMENT, Process } from '../support.mjs';

/** Starts the application of the document. */
export function startRails(port, { folder, program }) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.ru'), program);
  const env = { ...ENVIRONMENT, SECRET_KEY_BASE: 'a'.repeat(64), RAILS_ENV: 'production' };
  return new Process('puma', ['-t', '1:4', '-b', `tcp://127.0.0.1:${port}`, 'config.ru'], { cwd: folder, env });
}
