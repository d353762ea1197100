// Django, in a project as `startproject` makes it.

import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { adapted } from '../documents.mjs';
import { ENVIRONMENT, Process, TARGET } from '../support.mjs';

const PYTHON = join(TARGET, 'venv/bin/python');

/** Makes a project, adds what the document says, and starts it. */
export async function startDjango(port, { folder, middleware, settings }) {
  mkdirSync(folder);
  const options = { cwd: folder, env: ENVIRONMENT };
  const finish = async (...args) => {
    const program = new Process(PYTHON, args, options);
    const { code } = await program.ended;
    assert.equal(code, 0, program.log);
  };
  await finish('-m', 'django', 'startproject', 'site_of_ours', '.');
  writeFileSync(join(folder, 'gate.py'), middleware);
  appendFileSync(join(folder, 'site_of_ours/settings.py'), adapted(settings, { '"app.example.com"': '"localhost", "127.0.0.1"' }));
  appendFileSync(join(folder, 'site_of_ours/urls.py'), `
from django.http import HttpResponse

urlpatterns += [path("", lambda request: HttpResponse(f"hello {request.user.username or 'stranger'}"))]
`);
  await finish('manage.py', 'migrate', '--verbosity', '0');
  return new Process(PYTHON, ['manage.py', 'runserver', '--noreload', `127.0.0.1:${port}`], options);
}
