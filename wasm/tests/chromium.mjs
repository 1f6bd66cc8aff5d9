// The page in headless Chromium, opened as a file: models and pictures dropped, logits of the native runtime, keyboard,
// light and dark, wide and narrow. Screenshots come to SHOTS.
//     CHROMIUM=… NATIVE=… node chromium.mjs PAGE.html REPOSITORY SHOTS
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { noise, png } from './common.mjs';

const [, , file, root, shots] = process.argv;
const url = pathToFileURL(resolve(file)).href;
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const problems = [];

async function open(options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.on('pageerror', error => problems.push(`error: ${error}`));
  page.on('console', message => ['error', 'warning'].includes(message.type()) && problems.push(`console: ${message.text()}`));
  page.on('request', request => /^(file|data|blob):/.test(request.url()) || problems.push(`fetches ${request.url()}`));
  await page.goto(url);
  await status(page, /digits is loaded/);
  return page;
}

/** Waits until a check of the page succeeds; its own waiting needs `eval`, which the page's policy forbids. */
async function until(page, what, check, argument) {
  for (let round = 0; round < 600; round += 1) {
    if (await page.evaluate(check, argument)) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`not in a minute: ${what}; ${await page.textContent('#status')}`);
}

/** Waits for what the page says when it has nothing more to do. */
function status(page, pattern) {
  const says = source => !document.body.hasAttribute('aria-busy') && new RegExp(source).test(document.querySelector('#status').textContent);
  return until(page, pattern, says, pattern.source);
}

/** Drops files as people do. */
async function drop(page, files) {
  const transfer = await page.evaluateHandle(files => {
    const transfer = new DataTransfer();
    files.forEach(([name, bytes]) => transfer.items.add(new File([Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0))], name)));
    return transfer;
  }, files.map(([name, bytes]) => [name, bytes.toString('base64')]));
  await page.dispatchEvent('#drop', 'drop', { dataTransfer: transfer });
}

const logits = page => page.locator('#cards code').first().textContent();

function native(model, setting, image) {
  const picture = join(shots, 'picture.rgba');
  writeFileSync(picture, image.data);
  return execFileSync(process.env.NATIVE, [model, setting, String(image.width), String(image.height), picture]).toString().trim();
}

async function logitsAreTheNativeRuntimes() {
  const page = await open();
  const digits = join(root, 'wasm/page/digits.fgq');
  const large = noise(3, 37, 53);
  await drop(page, [['noise.png', png(large)]]);
  await status(page, /1 picture is classified/);
  assert.equal(await logits(page), native(digits, '3', large));
  for (const setting of ['1', 'economy']) {
    await page.selectOption('#setting', setting);
    await status(page, /1 picture is classified/);
    assert.equal(await logits(page), native(digits, setting, large));
  }
  const coloured = join(root, 'fixtures/runtime/every_operator.fgq');
  const small = noise(3, 9, 11);
  // Model and picture at once.
  await drop(page, [['noise.png', png(small)], ['every_operator.fgq', readFileSync(coloured)]]);
  await status(page, /1 picture is classified/);
  assert.equal(await logits(page), native(coloured, '', small));
  assert.equal(await page.isVisible('#setting'), false);
  await page.close();
}

async function errorsAreShown() {
  const page = await open();
  await drop(page, [['broken.fgq', Buffer.from('no model')]]);
  await status(page, /not a packed model/);
  await drop(page, [['text.txt', Buffer.from('no picture')]]);
  await status(page, /text.txt is neither a model .* nor a picture/);
  await drop(page, [['every_operator.fgq', readFileSync(join(root, 'fixtures/runtime/every_operator.fgq'))], ['noise.png', png(noise(3, 5, 5))]]);
  await status(page, /0 pictures are classified, 1 cannot be/);
  assert.match(await page.textContent('#cards'), /image of 5x5 where 9x11 is needed/);
  await page.close();
}

/** By Tab, Enter, Space and arrows alone. */
async function keyboardIsEnough() {
  const page = await open();
  // Early, for a busy browser may be asked for a file before it knows that somebody listens.
  const chooser = page.waitForEvent('filechooser');
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  const reach = async wanted => {
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press('Tab');
      if (await focused() === wanted) return;
    }
    assert.fail(`${wanted} is not reached by the keyboard`);
  };
  await reach('files');
  const outline = await page.evaluate(() => getComputedStyle(document.querySelector('#drop')).outlineStyle);
  assert.equal(outline, 'solid');
  await page.keyboard.press('Space');
  await (await chooser).setFiles({ name: 'noise.png', mimeType: 'image/png', buffer: png(noise(3, 20, 20)) });
  await status(page, /1 picture is classified/);
  await reach('samples');
  await page.keyboard.press('Enter');
  await status(page, /10 pictures are classified/);
  const first = await page.locator('#cards li span').first().textContent();
  assert.equal(first, '0');
  await reach('setting');
  await page.keyboard.press('ArrowUp');
  assert.equal(await page.inputValue('#setting'), '2');
  await status(page, /10 pictures are classified/);
  assert.match(await page.textContent('#rows'), /now 2/);
  await reach('Logits');
  await page.keyboard.press('Enter');
  assert.ok(await page.isVisible('#cards code'));
  await reach('ms');
  await page.keyboard.press('Enter');
  const times = await page.locator('#rows td:last-child').evaluateAll(cells => cells.map(cell => Number(cell.dataset.value)));
  assert.ok(times.some(time => time > 0) && times.every((time, at) => at === 0 || time <= times[at - 1]), `${times}`);
  await page.close();
}

async function anyoneCanRead(width, colorScheme) {
  const page = await open({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
  await page.click('#samples');
  await status(page, /10 pictures are classified/);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  for (const { id, impact, nodes } of violations) problems.push(`${width} ${colorScheme}: axe ${impact}: ${id}: ${nodes[0].html.slice(0, 160)}`);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (overflow > 0) problems.push(`${width} ${colorScheme}: ${overflow} pixels too wide`);
  await page.screenshot({ path: join(shots, `page-${width}-${colorScheme}.png`), fullPage: true });
  await page.close();
}

await logitsAreTheNativeRuntimes();
await errorsAreShown();
await keyboardIsEnough();
for (const width of [1280, 400]) for (const scheme of ['light', 'dark']) await anyoneCanRead(width, scheme);
await browser.close();
problems.forEach(problem => console.error(problem));
assert.equal(problems.length, 0);
console.log('The page has the logits of the native runtime.');
