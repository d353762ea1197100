// What a page was when its picture was taken: a digest of all that it is made of, style included, without what is
// another thing each time. Letters on another machine make other pictures; the page itself is the same.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../support.mjs';

/** Beside the pictures: the name of each page, with its digest. */
export const LIKENESSES = join(ROOT, 'docs/images/likenesses.json');

/** What stands there. */
export const likenesses = () => JSON.parse(readFileSync(LIKENESSES, 'utf8'));

/** The digest of a page as it is shown now. */
export async function likenessOf(page) {
  const lasting = (await page.content())
    .replace(/<time datetime="[^"]*">[^<]*<\/time>/g, '<time></time>')
    .replace(/\b(sess|dvb)_\w+/g, '$1')
    .replace(/\b[0-9a-f]{32}\b/g, 'request')
    .replace(/\b\d+\.\d\d&nbsp;ms\b/g, 'ms')
    .replace(/(localhost|127\.0\.0\.1)(:|%3A)\d+/g, '$1');
  return createHash('sha256').update(lasting).digest('hex');
}
