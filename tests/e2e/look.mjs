// What holds for how every page looks and is worked with, whoever wrote it.

import assert from 'node:assert/strict';

/** Asserts what holds for every page, and tells how bright its ground is, from 0 to 1. */
export async function looksRight(page, width) {
  const found = await page.evaluate(() => {
    const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = (colour) => {
      const [r, g, b] = channels(colour)
        .slice(0, 3)
        .map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const transparent = (colour) => channels(colour)[3] === 0;
    const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? 'rgb(18, 18, 18)' : 'rgb(255, 255, 255)';
    const ground = (element) => {
      for (let one = element; one; one = one.parentElement) {
        const colour = getComputedStyle(one).backgroundColor;
        if (!transparent(colour)) return colour;
      }
      return canvas;
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      const box = element.getBoundingClientRect();
      const shown = box.width > 1 && box.height > 1 && box.bottom > 0 && getComputedStyle(element).visibility === 'visible';
      if (!own || !shown) continue;
      const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) faint.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    const named = (input) => input.labels?.length || input.getAttribute('aria-label') || input.type === 'hidden';
    return {
      faint,
      ground: luminance(ground(document.body)),
      headings: document.querySelectorAll('h1').length,
      language: document.documentElement.lang,
      title: document.title,
      unnamed: [...document.querySelectorAll('input, textarea, select')].filter((input) => !named(input)).length,
      width: document.scrollingElement.scrollWidth,
    };
  });
  assert.ok(found.width <= width, `no horizontal scroll at ${width}: the page is ${found.width} wide`);
  assert.deepEqual(found.faint, [], 'every text stands out from its ground');
  assert.equal(found.headings, 1);
  assert.equal(found.language, 'en');
  assert.ok(found.title.length > 0);
  assert.equal(found.unnamed, 0, 'every field has a name');
  return found;
}

/** The kinds of things that one does something with. */
const CONTROLS = ['button', 'link', 'textbox', 'checkbox', 'radio', 'combobox'];

/** Asserts that whoever hears a page is told what each control does, and tells how many there are. */
export async function namesEveryControl(page) {
  const tree = await page.accessibility.snapshot({ interestingOnly: false });
  const all = [];
  const collect = (node) => {
    if (CONTROLS.includes(node.role)) all.push(node);
    (node.children ?? []).forEach(collect);
  };
  collect(tree);
  const nameless = all.filter(({ name }) => !name?.trim());
  assert.deepEqual(nameless, [], 'every control has a name');
  const names = all.map(({ role, name }) => `${role} ${name}`);
  assert.deepEqual(names.filter((name, index) => names.indexOf(name) !== index), [], 'and one of its own');
  return all.length;
}

/**
 * Asserts that the Tab key alone leads to every control, in the order of the page, and that one sees where one is.
 */
export async function isWalkedByTab(page) {
  const expected = await page.$$eval('a[href], button, input:not([type=hidden]), select, textarea', (all) => {
    all.forEach((element, index) => element.setAttribute('data-walked', `${index}`));
    return all.map((_, index) => `${index}`);
  });
  await page.evaluate(() => document.activeElement?.blur());
  const walked = [];
  for (let step = 0; step < expected.length; step += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      return {
        name: element.getAttribute('data-walked'),
        outlined: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && !/, 0\)$/.test(outlineColor),
        shown: box.top >= 0 && box.bottom <= innerHeight,
      };
    });
    walked.push(at.name);
    assert.ok(at.outlined, `one sees that control ${at.name} of ${page.url()} has the focus`);
    assert.ok(at.shown, `control ${at.name} of ${page.url()} is scrolled to`);
  }
  assert.deepEqual(walked, expected, 'the Tab key leads to every control, in order');
}
