// The time of a model's run in Chromium, by the page itself, and of the same by `fgq bench` on one thread, in turns.
//     CHROMIUM=… FGQ=… node time.mjs PAGE.html MODEL.fgq [ROUNDS]
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { noise, png } from './common.mjs';

const [, , file, model, rounds = 5] = process.argv;
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const page = await browser.newPage();
await page.goto(pathToFileURL(resolve(file)).href);

const settled = async said => {
  const text = () => page.evaluate(() => document.body.hasAttribute('aria-busy') ? '' : document.querySelector('#status').textContent);
  while (!(await text()).includes(said)) await page.waitForTimeout(100);
};
const picture = { name: 'noise.png', mimeType: 'image/png', buffer: png(noise(3, 224, 224)) };
const inChromium = async () => {
  await page.setInputFiles('#files', picture);
  await page.waitForTimeout(100);
  await settled('1 picture is classified');
  return Number.parseFloat(await page.textContent('#profile'));
};
const native = () => JSON.parse(execFileSync(process.env.FGQ, ['bench', '--json', '--quiet', '--threads', '1', model]));

await settled('digits is loaded');
await page.setInputFiles('#files', model);
await settled('is loaded');
const pairs = [];
for (let round = 0; round < rounds; round += 1) {
  const { kernels, median_ms: ms, layers } = native();
  pairs.push([await inChromium(), ms, layers.reduce((sum, { median_us: us }) => sum + us / 1000, 0)]);
  const [chromium, whole, parts] = pairs.at(-1).map(ms => ms.toFixed(1));
  console.log(`Chromium ${chromium} ms, ${kernels} ${whole} ms (its layers ${parts} ms)`);
}
const least = at => Math.min(...pairs.map(pair => pair[at]));
console.log(`least: ${least(0).toFixed(1)} ms and ${least(1).toFixed(1)} ms: ${(least(0) / least(1)).toFixed(2)} times as long`);
await browser.close();
