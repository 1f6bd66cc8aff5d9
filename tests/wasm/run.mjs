// The logits of fixtures/runtime in WebAssembly, bit for bit: node run.mjs MODULE.wasm
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]));
const { memory, room, open, run } = instance.exports;

function place(bytes) {
  const start = room(bytes.length);
  new Uint8Array(memory.buffer, start, bytes.length).set(bytes);
  return start;
}

function tensors(path) {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length));
  const data = ([from, to]) => bytes.subarray(8 + length + from, 8 + length + to);
  return (name) => data(header[name].data_offsets);
}

const folder = fileURLToPath(new URL("../../fixtures/runtime/", import.meta.url));
let images = 0;
for (const name of ["every_operator", "global_sum", "codes", "int4", "precisions", "normalization", "planes", "bits"]) {
  const model = readFileSync(`${folder}${name}.fgq`);
  const expected = tensors(`${folder}${name}.expected.safetensors`);
  const size = open(place(model), model.length);
  const [pixels, logits] = [expected("pixels"), expected("logits")];
  const classes = (logits.length / 4) / (pixels.length / size);
  for (let image = 0; image * size < pixels.length; image += 1) {
    const start = run(place(pixels.subarray(image * size, (image + 1) * size)), size);
    const found = new Int32Array(memory.buffer, start, classes);
    const right = found.every((logit, index) => logit === logits.readInt32LE(4 * (image * classes + index)));
    if (start === 0 || !right) throw new Error(`${name}: image ${image} has other logits`);
    images += 1;
  }
}
if (open(place(Buffer.from("no model")), 8) !== 0 || run(0, 0) !== 0) throw new Error("no model was accepted");
if (images === 0) throw new Error("no image was run");
console.log(`${images} images have the same logits in WebAssembly.`);
