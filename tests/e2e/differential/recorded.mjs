// What was recorded of Clerk's SDK, as far as it says who the instances are, with which keys tokens are
// signed, and what the Backend API answers.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../support.mjs';

function table(name) {
  return JSON.parse(readFileSync(join(ROOT, 'tests/cases/recorded', `${name}.json`), 'utf8'));
}

const tokens = table('tokens');

/** When the rows were recorded, in seconds since the epoch. */
export const RECORDED_AT = tokens.now;
/** Every token of the rows: how it is made, by name. */
export const TOKENS = tokens.tokens;
/** Keys that tokens are signed with, by name. */
export const KEYS = table('keys');
/** The instances, by name. */
export const INSTANCES = table('instances');
/** The answers of the Backend API; the first that fits is given. */
export const ANSWERS = table('fake_api').answers;
