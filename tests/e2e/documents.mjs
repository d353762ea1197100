// Takes programs and configurations out of the documents, as they are printed there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from './support.mjs';

/** The blocks of a document that run here, by language; those that are tagged `external` are not among them. */
export function blocksOf(document) {
  const text = readFileSync(join(ROOT, document), 'utf8');
  const blocks = {};
  for (const [, language, block] of text.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    (blocks[language] ??= []).push(block);
  }
  return blocks;
}

/** The tables of a configuration: all but what a test has to say itself, such as keys and addresses. */
export function tablesOf(toml) {
  const at = toml.search(/^\[/m);
  assert.ok(at >= 0, toml);
  return toml.slice(at);
}

/** The same text with each of these pieces replaced; each has to be there. */
export function adapted(text, pieces) {
  let result = text;
  for (const [piece, other] of Object.entries(pieces)) {
    assert.ok(result.includes(piece), `there is no ${piece} in\n${text}`);
    result = result.replaceAll(piece, other);
  }
  return result;
}
