// The digits of the fixture as folders of PNG files, one class of them with a hostile name.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';

const [, , fixture, out] = process.argv;
const HOSTILE = '9<script>document.title="hacked"<&script>"\'';
const file = readFileSync(fixture);
const header = Number(file.readBigUInt64LE(0));
const tensors = JSON.parse(file.subarray(8, 8 + header));
const tensor = name => {
  const [from, to] = tensors[name].data_offsets;
  return file.subarray(8 + header + from, 8 + header + to);
};

function chunk(kind, data) {
  const body = Buffer.concat([Buffer.from(kind), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body) >>> 0, 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

function png(pixels) {
  const head = Buffer.from([0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0]);
  const rows = Array.from({ length: 8 }, (_, y) => [0, ...pixels.subarray(8 * y, 8 * y + 8)]).flat();
  const parts = [chunk('IHDR', head), chunk('IDAT', deflateSync(Buffer.from(rows))), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), ...parts]);
}

for (const [part, count] of [['train', 200], ['test', 400]]) {
  const [images, labels] = [tensor(`${part}_images`), tensor(`${part}_labels`)];
  for (let at = 0; at < count; at++) {
    const folder = `${out}/${part}/${labels[at] === 9 ? HOSTILE : labels[at]}`;
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/${String(at).padStart(3, '0')}<b>.png`, png(images.subarray(64 * at, 64 * at + 64)));
  }
}
