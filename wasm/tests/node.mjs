// The package in Node.js, with every build of the runtime: logits of fixtures/runtime, bit for bit, and what goes wrong.
//     node tests/node.mjs PACKAGE
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import v8 from 'node:v8';
import { fixture, noise, picture, png, tensors } from './common.mjs';

// Older versions have relaxed SIMD behind a flag; newer ones have no such flag.
if (Number(process.versions.node.split('.')[0]) < 22) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');

const VECTORS = ['every_operator', 'global_sum', 'codes', 'int4', 'precisions', 'normalization', 'planes', 'bits'];
const folder = resolve(process.argv[2]);
const { compile, fastest, load } = await import(pathToFileURL(join(folder, 'fgq.js')));
const DIGITS = readFileSync(new URL('../page/digits.fgq', import.meta.url));

/** Pictures of a model's vectors, and the stored tensor of its logits. */
function vectors(name, model, logits = 'logits') {
  const stored = tensors(`runtime/${name}.expected.safetensors`);
  const [channels, height, width] = model.input;
  const { bytes } = stored('pixels');
  const size = channels * height * width;
  const images = Array.from({ length: bytes.length / size }, (_, at) =>
    picture(bytes.subarray(size * at, size * (at + 1)), channels, height, width));
  return { images, expected: Array.from(new Int32Array(stored(logits).bytes.buffer)), stored };
}

/** Stored logits of a model, of all images. */
async function logitsAreThose(runtime, kernels) {
  let count = 0;
  for (const name of VECTORS) {
    const model = await load(fixture(`runtime/${name}.fgq`), { runtime });
    assert.equal(model.kernels, kernels);
    const { images, expected } = vectors(name, model);
    assert.deepEqual(images.flatMap(image => Array.from(model.logits(image))), expected, name);
    count += images.length;
  }
  return count;
}

async function widthsAreThose(runtime) {
  for (const name of ['planes', 'bits']) {
    const model = await load(fixture(`runtime/${name}.fgq`), { runtime });
    const { images, expected, stored } = vectors(name, model, 'switched');
    const widths = stored('widths');
    const switching = model.layers.filter(({ bits }) => bits !== undefined).map(({ name }) => name);
    assert.equal(switching.length, widths.shape[1]);
    const found = [];
    for (let row = 0; row < widths.shape[0]; row += 1) {
      const wanted = Array.from(widths.bytes.subarray(switching.length * row, switching.length * (row + 1)));
      wanted.forEach((width, at) => model.setBits(width, switching[at]));
      assert.deepEqual(model.layers.map(({ bits }) => bits).filter(bits => bits !== undefined), wanted);
      found.push(...images.flatMap(image => Array.from(model.logits(image))));
    }
    assert.deepEqual(found, expected, name);
  }
}

/** No file stops the runtime, whatever it is; all others are errors that say why. */
async function filesAreHostile(runtime) {
  const errors = async bytes => {
    try {
      (await load(bytes, { runtime })).free();
    } catch (error) {
      assert.doesNotMatch(error.message, /the runtime stopped/);
      assert.ok(error.message.length > 10, error.message);
      return 1;
    }
    return 0;
  };
  for (const bytes of [new Uint8Array(0), Buffer.from('no model'), Buffer.alloc(4096, 0xff)]) assert.equal(await errors(bytes), 1);
  let state = 7;
  const below = limit => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) % limit;
  let count = 0;
  for (const name of VECTORS) {
    const file = fixture(`runtime/${name}.fgq`);
    for (let round = 0; round < 40; round += 1) {
      const damaged = Buffer.from(file);
      for (let change = 0; change <= round % 5; change += 1) damaged[below(damaged.length)] = below(256);
      count += await errors(round % 4 === 3 ? damaged.subarray(0, below(damaged.length)) : damaged);
    }
  }
  assert.ok(count > 200, `${count} damaged files were refused`);
}

async function errorsAreTheLibrarys(runtime) {
  const model = await load(fixture('runtime/every_operator.fgq'), { runtime });
  const fits = noise(3, 9, 11);
  assert.throws(() => model.logits(noise(3, 5, 5)), /image of 5x5 where 9x11 is needed/);
  assert.throws(() => model.logits({ ...fits, width: 12 }), /are no picture of 9x12/);
  assert.throws(() => model.logits({ ...fits, width: 0x7fffffff, height: 0x7fffffff }), /no picture/);
  assert.throws(() => model.setBits(2), /does not switch/);
  assert.equal(model.logits(fits).length, model.layers.at(-1).output.reduce((a, b) => a * b));
  model.free();
  assert.throws(() => model.logits(fits), /the model was freed/);
  await assert.rejects(load('digits.fgq', { runtime }), TypeError);
}

async function digitsAreClassified(runtime) {
  const model = await load(new Blob([DIGITS]), { runtime });
  assert.deepEqual([model.name, model.input, model.classes.length], ['digits', [1, 8, 8], 10]);
  assert.equal(model.size.total, DIGITS.length);
  assert.deepEqual(model.settings, ['1', '2', '3', 'all-1', 'all-2', 'all-3', 'balanced', 'economy']);
  const digits = tensors('digits/digits.safetensors');
  const [{ bytes: pixels }, { bytes: labels }] = [digits('test_images'), digits('test_labels')];
  const images = Array.from(labels, (_, at) => picture(pixels.subarray(64 * at, 64 * at + 64), 1, 8, 8));
  for (const [setting, least] of [['1', 480], ['economy', 480], [3, 490]]) {
    model.setBits(setting);
    const right = images.filter((image, at) => model.classify(image, { top: 1 })[0].index === labels[at]).length;
    assert.ok(right >= least, `${right} of ${labels.length} digits are right at ${setting}`);
  }
  const guesses = model.classify(images[0]);
  const all = model.classify(images[0], { top: 10 });
  assert.deepEqual(guesses, all.slice(0, 5));
  assert.deepEqual(guesses[0].label, String(labels[0]));
  assert.ok(all.every(({ logit }, at) => at === 0 || logit <= all[at - 1].logit));
  assert.ok(Math.abs(all.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-12);
  const total = model.profile(images[0], { runs: 200 });
  assert.ok(total > 0 && Math.abs(model.layers.reduce((sum, { time }) => sum + time, 0) - total) < 1e-9);
}

/** The command's answers for a file whose picture has to be resized. */
async function answersAreTheCommands(runtime) {
  const work = mkdtempSync(join(tmpdir(), 'fgq-'));
  try {
    const image = noise(3, 37, 53);
    writeFileSync(join(work, 'noise.png'), png(image));
    writeFileSync(join(work, 'digits.fgq'), DIGITS);
    const answer = execFileSync(process.env.FGQ, ['classify', '--json', 'digits.fgq', 'noise.png'], { cwd: work });
    const model = await load(DIGITS, { runtime });
    const guesses = model.classify(image);
    JSON.parse(answer).images[0].top.forEach(({ class: index, name, probability }, at) => {
      assert.deepEqual([guesses[at].index, guesses[at].label], [index, name]);
      assert.ok(Math.abs(100 * guesses[at].probability - probability) < 1e-9);
    });
  } finally {
    rmSync(work, { recursive: true });
  }
}

assert.ok(['relaxed', 'simd'].includes(fastest()));
for (const build of ['relaxed', 'simd', 'plain']) {
  const file = readFileSync(join(folder, `fgq-${build}.wasm`));
  if (!WebAssembly.validate(file)) {
    console.error(`NOT TESTED: the build '${build}', which this Node.js does not run`);
    continue;
  }
  const runtime = await compile(file);
  const kernels = (await load(DIGITS, { runtime })).kernels;
  // Engines on other CPUs than x86-64 take codes for signed numbers.
  assert.ok({ relaxed: ['relaxed-simd', 'simd128'], simd: ['simd128'], plain: ['portable'] }[build].includes(kernels), kernels);
  const images = await logitsAreThose(runtime, kernels);
  await widthsAreThose(runtime);
  await errorsAreTheLibrarys(runtime);
  await digitsAreClassified(runtime);
  await filesAreHostile(runtime);
  if (process.env.FGQ) await answersAreTheCommands(runtime);
  console.log(`${build}: ${images} images have the same logits with the kernels '${kernels}'.`);
}
if (!process.env.FGQ) console.error('NOT TESTED: the answers of the command; FGQ does not name it');
