'use strict';
const $ = id => document.getElementById(id);
const element = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const stored = id => Uint8Array.from(atob($(id).textContent.trim()), letter => letter.charCodeAt(0));
const grouped = number => number.toLocaleString('en').replaceAll(',', '\u202f');

// A module from a Blob would be refused to a page that was opened as a file.
const worker = new Worker(`data:text/javascript,${encodeURIComponent($('worker').textContent)}`, { type: 'module' });
const waiting = new Map();
let calls = 0;
const ask = (call, argument) => new Promise((resolve, reject) => {
  calls += 1;
  waiting.set(calls, { resolve, reject });
  worker.postMessage({ id: calls, call, argument });
});
worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};
worker.onerror = event => say(`The worker does not start: ${event.message ?? 'it is blocked'}`, true);

const say = (text, isWrong = false) => {
  $('status').textContent = text;
  $('status').classList.toggle('wrong', isWrong);
};

/** The pictures on show: name, pixels and card of each. */
let pictures = [];

function showModel(model) {
  $('name').textContent = model.name;
  const fact = (name, value, unit) => element('div', {}, element('dt', { textContent: name }),
    element('dd', {}, element('strong', { textContent: value }), element('span', { textContent: unit })));
  $('facts').replaceChildren(
    fact('Input', model.input.slice(1).join(' × '), model.input[0] === 1 ? 'grey' : `${model.input[0]} channels`),
    fact('Classes', String(model.classes.length || model.layers.at(-1).output[0]), model.classes.length ? 'with names' : 'without names'),
    fact('File', grouped(model.size.total), 'bytes'),
    fact('Kernels', model.kernels, 'of this browser'));
  showSize(model.size);
  showLayers(model);
  for (const id of ['model', 'size', 'layers']) $(id).hidden = false;
}

const KINDS = { codes: 'codes of weights', scales: 'scales of groups', requantization: 'biases and multipliers', tables: 'tables', metadata: 'graph, names, header' };

function showSize(size) {
  const kinds = Object.entries(KINDS);
  $('stack').replaceChildren(...kinds.map(([kind], at) => {
    const part = element('i', { className: `k${at}` });
    part.style.width = `${100 * size[kind] / size.total}%`;
    return part;
  }));
  $('kinds').replaceChildren(...kinds.flatMap(([kind, name], at) => [
    element('dt', {}, element('i', { className: `key k${at}` }), name),
    element('dd', { textContent: `${grouped(size[kind])} bytes, ${(100 * size[kind] / size.total).toFixed(1)}%` }),
  ]));
}

function showLayers({ layers }) {
  const longest = Math.max(...layers.map(({ time }) => time ?? 0));
  const cell = (text, value) => {
    const made = element('td', { textContent: text, className: value === undefined ? 'words' : '' });
    if (value !== undefined) made.dataset.value = value;
    return made;
  };
  $('rows').replaceChildren(...layers.map(({ name, kind, precision = '', bits, output, size, time }) => {
    const last = cell(time === undefined ? '' : time.toFixed(3), time ?? NaN);
    if (time > 0) {
      last.classList.add('bar');
      last.style.setProperty('--part', `${100 * time / longest}%`);
    }
    const weights = bits === undefined ? precision : `${precision}, now ${bits}`;
    return element('tr', {}, cell(name), cell(kind), cell(weights), cell(output.join(' × '), output.reduce((a, b) => a * b)),
      cell(grouped(size.total), size.total), last);
  }));
  const sorted = heads.find(head => head.getAttribute('aria-sort') !== 'none');
  if (sorted) sort(heads.indexOf(sorted), sorted.getAttribute('aria-sort') === 'ascending' ? 1 : -1);
}

const heads = Array.from(document.querySelectorAll('thead th'));

function sort(at, sign) {
  const byText = heads[at].classList.contains('words');
  const number = row => Number(row.cells[at].dataset.value);
  const compare = (a, b) => byText
    ? sign * a.cells[at].textContent.localeCompare(b.cells[at].textContent, 'en', { numeric: true })
    : Number.isNaN(number(a)) - Number.isNaN(number(b)) || sign * (number(a) - number(b)) || 0;
  $('rows').append(...Array.from($('rows').rows).sort(compare));
  heads.forEach((head, other) => {
    head.setAttribute('aria-sort', other !== at ? 'none' : sign > 0 ? 'ascending' : 'descending');
  });
}

heads.forEach((head, at) => head.querySelector('button').addEventListener('click', () => {
  const now = head.getAttribute('aria-sort');
  sort(at, now === 'none' ? (head.classList.contains('words') ? 1 : -1) : now === 'ascending' ? -1 : 1);
}));

function showSettings(settings) {
  $('setting').replaceChildren(...settings.map(setting => element('option', { textContent: setting, value: setting })));
  $('setting-label').hidden = settings.length === 0;
}

async function load(file) {
  say('Loading …');
  const model = await ask('load', file);
  showSettings(model.settings);
  // At first every layer has its full width.
  const widths = model.settings.filter(setting => /^\d+$/.test(setting));
  $('setting').value = widths.at(-1) ?? '';
  showModel(model);
  say(`${model.name} is loaded.`);
}

/** Largest side of a picture's thumbnail, in pixels. */
const THUMBNAIL = 192;

async function thumbnail(name, image) {
  const scale = Math.min(1, THUMBNAIL / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map(side => Math.max(1, Math.round(scale * side)));
  const canvas = element('canvas', { width, height, className: scale === 1 ? 'small-picture' : '' });
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', name);
  canvas.getContext('2d').drawImage(await createImageBitmap(image, { resizeWidth: width, resizeHeight: height }), 0, 0);
  return canvas;
}

async function add(name, image) {
  const canvas = await thumbnail(name, image);
  const answer = element('div');
  $('cards').append(element('figure', {}, canvas, element('figcaption', {}, element('b', { textContent: name }), answer)));
  $('answers').hidden = false;
  pictures.push({ name, image, answer });
}

/** Answers for all pictures on show, then the time of each layer on the last one. */
async function classify() {
  if (pictures.length === 0) return;
  let wrong = 0;
  for (const { image, answer } of pictures) {
    try {
      const { top, logits } = await ask('classify', image);
      answer.replaceChildren(list(top), element('details', {}, element('summary', { textContent: 'Logits' }),
        element('code', { textContent: logits.join(' ') })));
    } catch (error) {
      wrong += 1;
      answer.replaceChildren(element('p', { className: 'wrong', textContent: error.message }));
    }
  }
  const count = pictures.length - wrong;
  if (count > 0) await profile();
  const one = count === 1 ? 'picture is' : 'pictures are';
  say(`${count} ${one} classified${wrong > 0 ? `, ${wrong} cannot be` : ''}.`, wrong > 0);
}

async function profile() {
  const { image } = pictures.findLast(({ answer }) => answer.querySelector('ol'));
  const { total, runs, model } = await ask('profile', image);
  $('profile').textContent = `${total.toFixed(2)} ms for a picture, the mean of ${runs} on one thread, without decoding and resizing.`;
  showLayers(model);
}

function list(top) {
  return element('ol', {}, ...top.map(({ label, probability }) => {
    const line = element('li', { className: 'bar' }, element('span', { textContent: label }),
      element('span', { textContent: `${(100 * probability).toFixed(1)}%` }));
    line.style.setProperty('--part', `${100 * probability}%`);
    return line;
  }));
}

function clear() {
  pictures = [];
  $('cards').replaceChildren();
}

async function take(files) {
  const models = files.filter(({ name }) => name.endsWith('.fgq'));
  const images = files.filter(file => !models.includes(file));
  if (models.length > 0) await load(models.at(-1));
  if (images.length > 0) clear();
  for (const file of images) {
    try {
      await add(file.name, await ask('pixels', file));
    } catch {
      throw new Error(`${file.name} is neither a model (.fgq) nor a picture`);
    }
  }
  await classify();
}

async function samples() {
  clear();
  const digits = stored('digits');
  for (let at = 0; at < digits.length / 64; at += 1) {
    const grey = digits.subarray(64 * at, 64 * at + 64);
    await add(`digit ${at}`, new ImageData(Uint8ClampedArray.from({ length: 256 }, (_, place) => place % 4 === 3 ? 255 : grey[place >> 2]), 8, 8));
  }
  await classify();
}

// One thing after another, so that answers are those of the model on show.
let last = Promise.resolve();
const then = work => {
  document.body.setAttribute('aria-busy', 'true');
  last = last.then(work).catch(error => say(error.message, true)).finally(() => document.body.removeAttribute('aria-busy'));
};

$('files').addEventListener('change', () => {
  const files = Array.from($('files').files);
  $('files').value = '';
  then(() => take(files));
});
$('samples').addEventListener('click', () => then(samples));
$('setting').addEventListener('change', () => {
  const setting = $('setting').value;
  then(async () => { showModel(await ask('setBits', setting)); await classify(); });
});
const over = isOver => event => {
  event.preventDefault();
  $('drop').classList.toggle('over', isOver);
};
addEventListener('dragover', over(true));
addEventListener('dragleave', over(false));
addEventListener('drop', event => {
  over(false)(event);
  const files = Array.from(event.dataTransfer.files);
  then(() => take(files));
});

then(async () => {
  const builds = Object.fromEntries(['relaxed', 'simd', 'plain'].map(build => [build, stored(`wasm-${build}`)]));
  await ask('start', builds);
  await load(new Blob([stored('digits-model')]));
  say('The model of handwritten digits is loaded. Drop another one, or pictures.');
});
