// The page as one file: node page/make.mjs PACKAGE PAGE.html
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const [, , folder, page] = process.argv;
const here = name => readFileSync(new URL(name, import.meta.url));
const base64 = bytes => Buffer.from(bytes).toString('base64');
const block = (id, text) => `<script type="text/plain" id="${id}">${text}</script>`;
const script = here('page.js').toString();
const worker = `${readFileSync(`${folder}/fgq.js`)}${here('worker.js')}`;

/** The first test image of each digit. */
function digits() {
  const file = here('../../fixtures/digits/digits.safetensors');
  const header = Number(file.readBigUInt64LE(0));
  const tensors = JSON.parse(file.subarray(8, 8 + header));
  const [images, labels] = ['test_images', 'test_labels'].map(name => file.subarray(8 + header + tensors[name].data_offsets[0]));
  return Buffer.concat(Array.from({ length: 10 }, (_, digit) => {
    const at = labels.indexOf(digit);
    return images.subarray(64 * at, 64 * at + 64);
  }));
}

const builds = ['relaxed', 'simd', 'plain'].map(build =>
  block(`wasm-${build}`, base64(gzipSync(readFileSync(`${folder}/fgq-${build}.wasm`), { level: 9 }))));
const hash = createHash('sha256').update(script).digest('base64');
// WebAssembly is compiled in a worker whose script the page holds; nothing is fetched.
const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}' 'wasm-unsafe-eval'; worker-src data:; `
  + "base-uri 'none'; form-action 'none'";
if (`${script}${worker}`.includes('</')) throw new Error('a script that ends its own element');
const parts = {
  policy,
  style: `${here('../../src/report/style.css')}${here('page.css')}`,
  version: JSON.parse(readFileSync(`${folder}/package.json`)).version,
  data: [...builds, block('digits-model', base64(here('digits.fgq'))), block('digits', base64(digits())), block('worker', worker)].join('\n'),
  script,
};
writeFileSync(page, here('page.html').toString().replace(/\{(\w+)\}/g, (_, name) => parts[name]));
