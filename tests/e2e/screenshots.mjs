// Takes the pictures of the gate's own pages that the documents show: `make screenshots`. Each page in light, in
// dark and on a telephone goes to docs/images/, and beside them what each page was, so that a test can tell whether
// they are still like it.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import puppeteer from 'puppeteer-core';

import { openGallery } from './people/gallery.mjs';
import { LIKENESSES, likenessOf } from './people/likeness.mjs';
import { withPalette } from './people/palette.mjs';
import { ROOT } from './support.mjs';

const IMAGES = join(ROOT, 'docs/images');
const VIEWS = [
  ['light', 'light', { width: 900, height: 420 }],
  ['dark', 'dark', { width: 900, height: 420 }],
  ['phone', 'light', { width: 390, height: 560, isMobile: true, hasTouch: true }],
];

const folder = mkdtempSync(join(tmpdir(), 'gallery-'));
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--disable-dev-shm-usage', '--hide-scrollbars', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
});
let gallery;
try {
  gallery = await openGallery(folder);
  mkdirSync(IMAGES, { recursive: true });
  let total = 0;
  const likenesses = {};
  for (const { name, open } of gallery.pages) {
    const context = await browser.createBrowserContext();
    const { page, again } = await open(context);
    likenesses[name] = await likenessOf(page);
    for (const [view, scheme, viewport] of VIEWS) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.setViewport(viewport);
      await again();
      // A long page is shown as a whole, a short one with a little around it.
      const height = await page.evaluate(() => document.scrollingElement.scrollHeight);
      await page.setViewport({ ...viewport, height });
      const image = withPalette(Buffer.from(await page.screenshot()));
      writeFileSync(join(IMAGES, `${name}-${view}.png`), image);
      total += image.length;
    }
    await context.close();
  }
  writeFileSync(LIKENESSES, `${JSON.stringify(likenesses, null, 2)}\n`);
  console.log(`${gallery.pages.length * VIEWS.length} pictures, ${Math.ceil(total / 1024)} KiB`);
} finally {
  await browser.close();
  await gallery?.stop();
  rmSync(folder, { recursive: true, force: true });
}
