// What the tests share: stored vectors, pictures, PNG files.
import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';

export const fixture = name => readFileSync(new URL(`../../fixtures/${name}`, import.meta.url));

/** The tensors of a safetensors file: bytes and shape of each, by name. */
export function tensors(name) {
  const file = fixture(name);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length));
  return tensor => {
    const { shape, data_offsets: [from, to] } = header[tensor];
    return { shape, bytes: Uint8Array.from(file.subarray(8 + length + from, 8 + length + to)) };
  };
}

/** A picture whose grey or coloured pixels are these. */
export function picture(pixels, channels, height, width) {
  const colour = (pixel, place) => place === 3 ? 255 : pixels[channels * pixel + (channels === 1 ? 0 : place)];
  const data = Uint8ClampedArray.from({ length: 4 * width * height }, (_, at) => colour(at >> 2, at & 3));
  return { data, width, height };
}

/** Pixels without structure. */
export function noise(channels, height, width) {
  let state = 1;
  const next = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) >>> 24;
  return picture(Uint8Array.from({ length: channels * height * width }, next), channels, height, width);
}

function chunk(kind, data) {
  const body = Buffer.concat([Buffer.from(kind), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body) >>> 0, 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/** A PNG file of red, green and blue. */
export function png({ data, width, height }) {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const row = y => [0, ...data.subarray(4 * width * y, 4 * width * (y + 1)).filter((_, at) => at % 4 !== 3)];
  const rows = Buffer.from(Array.from({ length: height }, (_, y) => row(y)).flat());
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), chunk('IHDR', head),
    chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}
