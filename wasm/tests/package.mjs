// The installed package, by its name: node package.mjs MODEL.fgq
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { load } from 'fgq';

const model = await load(readFileSync(process.argv[2]));
const [, height, width] = model.input;
const [guess] = model.classify({ data: new Uint8ClampedArray(4 * width * height), width, height });
assert.equal(guess.label, model.classes[guess.index]);
model.free();
console.log(`The installed package runs with the kernels '${model.kernels}'.`);
