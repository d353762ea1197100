// The application: Node-RED from its package, told what to be by `flows.json` alone. There is no line of Clerk
// in either; the flows note what each request said of its user, and tell it at `/seen`.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { eventually, freePort, Process, ROOT, send } from '../support.mjs';

const PACKAGE = dirname(createRequire(import.meta.url).resolve('node-red/package.json'));
const FLOWS = join(ROOT, 'tests/e2e/afternoon/flows.json');

/** Starts it on a free port, with a home that is gone when it stops. */
export async function startApplication() {
  // Beside no `package.json` of ours: its settings file is taken for what that says modules are.
  const home = mkdtempSync(join(tmpdir(), 'node-red-'));
  const port = await freePort();
  const settings = { httpAdminRoot: 'false', uiHost: '127.0.0.1', uiPort: port };
  const program = new Process(process.execPath, [
    join(PACKAGE, 'red.js'),
    ...['--userDir', home, '--no-telemetry'],
    ...Object.entries(settings).flatMap(([name, value]) => ['-D', `${name}=${value}`]),
    FLOWS,
  ]);
  const url = `http://127.0.0.1:${port}`;
  const seen = async () => JSON.parse((await send(`${url}/seen`)).text);
  await eventually('the application is ready', async () => {
    assert.deepEqual(await seen(), [], program.log);
  });
  return {
    url,
    /** What each request said of its user, in order. */
    seen,
    async stop() {
      await program.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
