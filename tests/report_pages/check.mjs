// Looks at pages as people do, and takes their pictures.
import { readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [, , shots, ...pages] = process.argv;
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const failures = [];

async function check(path, width, colorScheme) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const name = `${basename(path, '.html')} ${width} ${colorScheme}`;
  const fail = text => failures.push(`${name}: ${text}`);
  page.on('pageerror', error => fail(`error: ${error}`));
  page.on('console', message => message.type() === 'error' && fail(`console: ${message.text()}`));
  page.on('request', request => /^(file|data):/.test(request.url()) || fail(`fetches ${request.url()}`));
  await page.goto(pathToFileURL(resolve(path)).href);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  for (const { id, impact, nodes } of violations) {
    const where = nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ');
    if (['serious', 'critical'].includes(impact)) fail(`axe ${impact}: ${id}: ${where}`);
    else console.log(`${name}: axe ${impact}: ${id}: ${where}`);
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (overflow > 0) fail(`${overflow} pixels too wide`);
  if ((await page.title()).includes('hacked')) fail('a hostile name ran');
  await page.screenshot({ path: `${shots}/${name.replaceAll(' ', '-')}.png`, fullPage: true });
  await context.close();
}

// With the page's own policy: its script runs, sorts and searches.
async function use(path) {
  const page = await browser.newPage();
  const fail = text => failures.push(`${basename(path)}: ${text}`);
  page.on('console', message => message.type() === 'error' && fail(`console: ${message.text()}`));
  await page.goto(pathToFileURL(resolve(path)).href);
  for (const sheet of await page.locator('.sheet').all()) {
    const rows = sheet.locator('tbody tr');
    const head = sheet.locator('thead th').last();
    const values = () => rows.locator('td:last-child').evaluateAll(cells => cells.map(cell => Number(cell.dataset.value)));
    const sorted = (numbers, sign) => numbers.every((number, at) => at === 0 || sign * (number - numbers[at - 1]) >= 0);
    await head.locator('button').click();
    if (await head.getAttribute('aria-sort') !== 'descending' || !sorted(await values(), -1)) fail('does not sort down');
    await head.locator('button').click();
    if (await head.getAttribute('aria-sort') !== 'ascending' || !sorted(await values(), 1)) fail('does not sort up');
    await sheet.locator('input').fill('no row says this');
    if (await rows.locator('visible=true').count() !== 0) fail('does not search');
    if (!(await sheet.locator('[role=status]').textContent()).startsWith('0 of ')) fail('does not count');
    await sheet.locator('input').fill('');
    if (await rows.locator('visible=true').count() !== await rows.count()) fail('does not show all again');
  }
  await page.pdf({ path: `${shots}/${basename(path, '.html')}.pdf`, format: 'A4' });
  await page.close();
}

for (const path of pages) {
  for (const width of [1280, 400]) for (const scheme of ['light', 'dark']) await check(path, width, scheme);
  await use(path);
}
await browser.close();
failures.forEach(failure => console.error(failure));
console.log(`${pages.length} pages, ${failures.length} failures`);
process.exit(failures.length > 0 ? 1 : 0);
