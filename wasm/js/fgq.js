// Packed models of fgq in WebAssembly: one instance of the runtime for each model.

/** Builds of the runtime, the fastest first, each with a module that an engine accepts if it can run the build. */
const BUILDS = [
  ['relaxed', [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11]],
  ['simd', [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]],
  ['plain', []],
];
const HEADER = [0, 97, 115, 109, 1, 0, 0, 0];

export function fastest() {
  return BUILDS.find(([, probe]) => WebAssembly.validate(new Uint8Array([...HEADER, ...probe])))[0];
}

let compiled;

/** The runtime beside this file, compiled once. */
function runtime() {
  compiled ??= compile(new URL(`fgq-${fastest()}.wasm`, import.meta.url));
  // Who tries again may have the network back.
  compiled.catch(() => { compiled = undefined; });
  return compiled;
}

export async function compile(source) {
  return WebAssembly.compile(source instanceof URL ? await fetched(source) : await bytesOf(source));
}

async function fetched(url) {
  if (url.protocol === 'file:' && globalThis.process?.versions?.node) {
    return (await import('node:fs/promises')).readFile(url);
  }
  return bytesOf(await fetch(url));
}

async function bytesOf(source) {
  if (source.ok === false) throw new Error(`${source.url}: ${source.status} ${source.statusText}`);
  if (source.arrayBuffer) return new Uint8Array(await source.arrayBuffer());
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  throw new TypeError('bytes, a Blob or a Response are needed');
}

export async function load(source, options = {}) {
  const [module, bytes] = await Promise.all([options.runtime ?? runtime(), bytesOf(source)]);
  const instance = await WebAssembly.instantiate(module, { host: { now: () => performance.now() } });
  return new Model(instance.exports, bytes);
}

const text = bytes => new TextDecoder().decode(bytes);

class Model {
  #exports;

  constructor(exports, file) {
    this.#exports = exports;
    const { widths, settings, ...description } = JSON.parse(text(this.#call('load', file)));
    Object.assign(this, description);
    this.settings = [...widths.map(String), ...settings];
  }

  logits(image) {
    return new Int32Array(this.#run('logits', image).buffer);
  }

  classify(image, { top = 5 } = {}) {
    const logits = this.logits(image);
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const powers = Array.from(logits, logit => Math.exp(this.logitScale * (logit - largest)));
    const sum = powers.reduce((a, b) => a + b);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    return order.slice(0, top).map(index => ({
      index, label: this.classes[index] ?? `class ${index}`, logit: logits[index], probability: powers[index] / sum,
    }));
  }

  setBits(bits, layer) {
    const widths = layer === undefined
      ? this.#call('set', encoded(bits))
      : this.#call('set_layer', encoded(layer), Number(bits));
    const switching = this.layers.filter(({ bits }) => bits !== undefined);
    switching.forEach((layer, at) => { layer.bits = widths[at]; });
  }

  profile(image, { runs = 10 } = {}) {
    this.#run('times', image);
    const sums = new Float64Array(this.layers.length);
    for (let run = 0; run < runs; run += 1) {
      new Float64Array(this.#run('times', image).buffer).forEach((time, at) => { sums[at] += time; });
    }
    this.layers.forEach((layer, at) => { layer.time = sums[at] / runs; });
    return sums.reduce((a, b) => a + b) / runs;
  }

  free() {
    this.#exports = undefined;
  }

  #run(name, { data, width, height }) {
    return this.#call(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), width, height);
  }

  /** The bytes that a function of the runtime makes of `input`. */
  #call(name, input, ...numbers) {
    const exports = this.#exports;
    if (!exports) throw new Error('the model was freed');
    const place = exports.room(input.length) >>> 0;
    if (place === 0) throw new Error(`no memory for ${input.length} bytes`);
    new Uint8Array(exports.memory.buffer, place, input.length).set(input);
    let succeeded;
    try {
      succeeded = exports[name](...numbers);
    } catch (fault) {
      // What a fault leaves behind is not to be used again.
      this.free();
      throw new Error(`the runtime stopped, it may be out of memory: ${fault.message}`, { cause: fault });
    }
    const output = new Uint8Array(exports.memory.buffer, exports.output() >>> 0, exports.output_len()).slice();
    if (!succeeded) throw new Error(text(output));
    return output;
  }
}

const encoded = value => new TextEncoder().encode(String(value));
