// One model at a time, apart from the page; runs after fgq.js in one module.
let model;
let build;

const gunzipped = bytes => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();

/** What a picture's file shows. */
async function pixels(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

const described = () => ({ ...model });

const calls = {
  async start(builds) {
    build = await compile(await gunzipped(builds[fastest()]));
  },
  async load(file) {
    const next = await load(file, { runtime: build });
    model?.free();
    model = next;
    return described();
  },
  pixels,
  classify(image) {
    return { top: model.classify(image), logits: model.logits(image) };
  },
  setBits(setting) {
    model.setBits(setting);
    return described();
  },
  profile(image) {
    // Browsers make clocks coarse: short times are means of many.
    const runs = Math.round(Math.min(1000, Math.max(10, 200 / model.profile(image, { runs: 1 }))));
    return { total: model.profile(image, { runs }), runs, model: described() };
  },
};

let last = Promise.resolve();
self.onmessage = ({ data: { id, call, argument } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await calls[call](argument) });
    } catch (error) {
      self.postMessage({ id, error: error.message });
    }
  });
};
