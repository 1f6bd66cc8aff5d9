// The time of a model's run in Chromium, by the page itself, and of the same by `fgq bench` on one thread, in turns.
//     CHROMIUM=… FGQ=… node time.mjs PAGE.html MODEL.fgq [ROUNDS]
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { noise, png } from './common.mjs';

const [, , file, model, count = 5] = process.argv;
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const page = await browser.newPage();
await page.goto(pathToFileURL(resolve(file)).href);

const settled = async said => {
  const text = () => page.evaluate(() => document.body.hasAttribute('aria-busy') ? '' : document.querySelector('#status').textContent);
  while (!(await text()).includes(said)) await page.waitForTimeout(100);
};
const picture = { name: 'noise.png', mimeType: 'image/png', buffer: png(noise(3, 224, 224)) };
/** Milliseconds of the whole run and of each layer. */
const inChromium = async () => {
  await page.setInputFiles('#files', picture);
  await page.waitForTimeout(100);
  await settled('1 picture is classified');
  const layers = await page.locator('#rows td:last-child').evaluateAll(cells => cells.map(cell => Number(cell.dataset.value)));
  return { whole: Number.parseFloat(await page.textContent('#profile')), layers };
};
const native = () => {
  const bench = JSON.parse(execFileSync(process.env.FGQ, ['bench', '--json', '--quiet', '--threads', '1', model]));
  return { whole: bench.median_ms, layers: bench.layers.map(({ median_us: us }) => us / 1000), kernels: bench.kernels };
};

await settled('digits is loaded');
await page.setInputFiles('#files', model);
await settled('is loaded');
const rounds = [];
for (let round = 0; round < count; round += 1) {
  rounds.push([await inChromium(), native()]);
  const [there, here] = rounds.at(-1);
  console.log(`Chromium ${there.whole.toFixed(1)} ms, ${here.kernels} ${here.whole.toFixed(1)} ms`);
}
// On a machine with other work, rounds are interrupted; single layers seldom are.
const least = (side, of) => Math.min(...rounds.map(round => of(round[side])));
const layers = side => rounds[0][side].layers.map((_, at) => least(side, ({ layers }) => layers[at])).reduce((a, b) => a + b);
for (const [what, [there, here]] of [['runs', [0, 1].map(side => least(side, ({ whole }) => whole))], ['layers, added up', [0, 1].map(layers)]]) {
  console.log(`least of ${what}: ${there.toFixed(1)} ms and ${here.toFixed(1)} ms, ${(there / here).toFixed(2)} times as long`);
}
await browser.close();
