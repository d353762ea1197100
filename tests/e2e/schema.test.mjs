// The JSON Schema that the program prints, as a validator and an editor's checker of other people's understand it: it takes
// what comes with the program and refuses what `check` refuses for its shape.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';

import { ENVIRONMENT, GATE, ROOT, TARGET } from './support.mjs';

const CASES = join(ROOT, 'tests/cases/config');
/** What `check` says of values that a schema can tell are wrong. */
const OF_SHAPE = [
  /^error: there is no key /,
  /\bthis is (a text|a number|a whole number|a list|a table|a date|`true` or `false`)$/m,
  /^error: `[a-z-]+` is from -?\d+ to \d+\n/,
  /^error: `[a-z-]+` is a list of tables\n/,
  /^error: `[a-z-]+` cannot be used: it is (a span of time|a size) such as /,
  /^error: `[a-z-]+` cannot be used: it is `[a-z\d_.-]+`(, `[a-z\d_.-]+`)* or `[a-z\d_.-]+`\n/,
  /^error: `reverified` is `strict_mfa`/,
  /^error: `by` is `user`/,
  /^error: `[^`]*` is no (requirement|kind of token)\n/,
  /^error: route `[^`]*` (has no `path`|does not say what it requires)\n/,
  /^error: `\[(hand-over|proxy-protocol|shadow)\]` has no `[a-z-]+`/,
  /^error: a (test needs `request`|template needs `name`|site needs `host`)\n/,
  /^error: a tier of limit `[^`]*` does not say for whom it is\n/,
  /^error: `(claim|by)` needs `[a-z]+`\n/,
  /^error: `reverified` needs /,
  /^error: this file is for version \d+ /,
  /^error: this number is too large\n/,
];

let home;
let schema;
const files = {};
const kinds = { shipped: [], cases: [] };
let judged;

function text(kind, name, content) {
  files[name] = content;
  kinds[kind].push(name);
}

/** Files with this ending below a folder. */
function below(folder, ending) {
  return readdirSync(join(ROOT, folder), { recursive: true })
    .filter((name) => name.endsWith(ending) && !name.includes('node_modules'))
    .map((name) => join(folder, name));
}

/** What `check` complains about in the file itself, a paragraph each. */
function complaints(name) {
  const said = readFileSync(join(CASES, `${basename(name, '.toml')}.expected`), 'utf8');
  const here = (one) => [undefined, basename(name)].includes(/--> ([^\s:]+)/.exec(one)?.[1]);
  return said.split(/\n\n(?=error: |warning: )/).filter((one) => one.startsWith('error: ') && here(one));
}

before(() => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'schema-'));
  schema = join(home, 'clerk-gate.schema.json');
  writeFileSync(schema, execFileSync(GATE, ['schema'], { env: ENVIRONMENT }));
  for (const name of [...below('config', '.toml'), ...below('examples', 'clerk-gate.toml')]) {
    text('shipped', name, readFileSync(join(ROOT, name), 'utf8'));
  }
  for (const name of [...below('docs', '.md'), 'README.md']) {
    const blocks = [...readFileSync(join(ROOT, name), 'utf8').matchAll(/^```toml\n(.*?)^```$/gms)];
    blocks.forEach(([, block], at) => text('shipped', `${name} ${at}`, block));
  }
  for (const name of below('tests/cases/config', '.toml')) {
    text('cases', name, readFileSync(join(ROOT, name), 'utf8'));
  }
  const python = join(TARGET, 'venv/bin/python');
  const said = execFileSync(python, [join(ROOT, 'tests/e2e/schema.py'), schema], {
    input: JSON.stringify(files),
    env: ENVIRONMENT,
    maxBuffer: 1 << 26,
  });
  judged = JSON.parse(said);
});

after(() => {
  if (home) rmSync(home, { recursive: true });
});

test('the schema that comes with the program is the one that it prints', () => {
  const shipped = readFileSync(join(ROOT, 'config/clerk-gate.schema.json'), 'utf8');
  assert.equal(readFileSync(schema, 'utf8'), shipped);
});

test('it takes every configuration that comes with the program and every one in the documents', () => {
  assert.ok(kinds.shipped.length >= 25, `${kinds.shipped.length} texts`);
  for (const name of kinds.shipped) assert.deepEqual(judged.files[name], [], name);
});

test('it takes every configuration that check takes', () => {
  const taken = kinds.cases.filter((name) => complaints(name).length === 0);
  assert.ok(taken.length >= 40, `${taken.length} cases`);
  for (const name of taken) assert.deepEqual(judged.files[name], [], name);
});

test('it refuses every configuration that check refuses for its shape', () => {
  const refused = kinds.cases.filter((name) => complaints(name).some((said) => OF_SHAPE.some((shape) => shape.test(said))));
  assert.ok(refused.length >= 22, `${refused.length} cases`);
  for (const name of refused) assert.ok(judged.files[name]?.length > 0, name);
});

test('it refuses no configuration but for its shape', () => {
  const refused = kinds.cases.filter((name) => judged.files[name]?.length > 0);
  assert.ok(refused.length >= 22, `${refused.length} cases`);
  for (const name of refused) {
    const said = complaints(name);
    assert.ok(said.some((one) => OF_SHAPE.some((shape) => shape.test(one))), `${name}: ${judged.files[name]}\n${said.join('\n')}`);
  }
});

test('every default that it gives is a value that it takes', () => {
  assert.ok(judged.defaults >= 40, `${judged.defaults} defaults`);
  assert.deepEqual(judged.wrong_defaults, []);
});

for (const [what, line, complaint] of [
  ['a right file', '', undefined],
  ['a misspelt key', 'upstream.ulr = "http://127.0.0.1:3000"', /ulr/],
  ['a word that is none', 'log.format = "yaml"', /yaml/],
  ['a number that is too large', 'limits.head-count = 1000000', /1000000/],
]) {
  test(`an editor's checker that reads the comment in the first line says of ${what} what is to be said`, () => {
    const path = join(home, 'clerk-gate.toml');
    const right = 'clerk.publishable-key = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"\nupstream.url = "http://127.0.0.1:3000"\n';
    writeFileSync(path, `#:schema ./clerk-gate.schema.json\n${right}${line}\n`);
    const taplo = join(TARGET, 'venv/bin/taplo');
    const { status, stderr } = spawnSync(taplo, ['lint', path], { cwd: home, env: ENVIRONMENT, encoding: 'utf8' });
    if (complaint === undefined) {
      assert.equal(status, 0, stderr);
    } else {
      assert.notEqual(status, 0, stderr);
      assert.match(stderr, complaint);
    }
  });
}
