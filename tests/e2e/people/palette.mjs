// Makes a small picture of a screenshot: 256 colours, listed once, and one byte for each point.

import { deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
/** Bytes of a point, by the kind of colour that the header tells. */
const DEPTHS = { 2: 3, 6: 4 };

/** The same PNG with a palette. It takes what Chromium writes: 8 bits a channel, not interlaced. */
export function withPalette(png) {
  const { width, height, depth, rows } = read(png);
  const counts = new Map();
  const each = (act) => {
    for (let at = 0; at < rows.length; at += depth) {
      act((rows[at] << 16) | (rows[at + 1] << 8) | rows[at + 2], at / depth);
    }
  };
  each((colour) => counts.set(colour, (counts.get(colour) ?? 0) + 1));
  const palette = [...counts].sort(([, a], [, b]) => b - a).slice(0, 256).map(([colour]) => colour);
  const indices = new Map(palette.map((colour, index) => [colour, index]));
  for (const colour of counts.keys()) {
    if (!indices.has(colour)) indices.set(colour, nearest(palette, colour));
  }
  const points = Buffer.alloc((width + 1) * height);
  each((colour, point) => {
    const row = Math.floor(point / width);
    points[row * (width + 1) + 1 + (point % width)] = indices.get(colour);
  });
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const colours = Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  const chunks = [
    ['IHDR', header],
    ['PLTE', colours],
    ['IDAT', deflateSync(points, { level: 9 })],
    ['IEND', Buffer.alloc(0)],
  ];
  return Buffer.concat([SIGNATURE, ...chunks.map(([name, data]) => chunk(name, data))]);
}

/** The points of a picture, row after row. */
function read(png) {
  let header;
  const packed = [];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const name = png.toString('latin1', at + 4, at + 8);
    const data = png.subarray(at + 8, at + 8 + length);
    if (name === 'IHDR') header = data;
    if (name === 'IDAT') packed.push(data);
    at += length + 12;
  }
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const depth = DEPTHS[header[9]];
  if (header[8] !== 8 || !depth || header[12] !== 0) throw new Error('this is no PNG as Chromium writes them');
  const bytes = inflateSync(Buffer.concat(packed));
  const rows = Buffer.alloc(width * height * depth);
  const line = width * depth;
  for (let row = 0; row < height; row += 1) {
    const filter = bytes[row * (line + 1)];
    for (let at = 0; at < line; at += 1) {
      const here = row * line + at;
      const left = at >= depth ? rows[here - depth] : 0;
      const above = row > 0 ? rows[here - line] : 0;
      const corner = at >= depth && row > 0 ? rows[here - line - depth] : 0;
      rows[here] = bytes[row * (line + 1) + 1 + at] + predicted(filter, left, above, corner);
    }
  }
  return { width, height, depth, rows };
}

/** What a filter expects of a byte (PNG specification, section 9.2). */
function predicted(filter, left, above, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const whole = left + above - corner;
  const [a, b, c] = [Math.abs(whole - left), Math.abs(whole - above), Math.abs(whole - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

function nearest(palette, colour) {
  const distance = (other) =>
    [16, 8, 0].reduce((sum, shift) => sum + (((colour >> shift) & 255) - ((other >> shift) & 255)) ** 2, 0);
  let best = 0;
  for (let index = 1; index < palette.length; index += 1) {
    if (distance(palette[index]) < distance(palette[best])) best = index;
  }
  return best;
}

function chunk(name, data) {
  const whole = Buffer.concat([Buffer.from(name, 'latin1'), data]);
  const framed = Buffer.alloc(whole.length + 8);
  framed.writeUInt32BE(data.length, 0);
  framed.set(whole, 4);
  framed.writeUInt32BE(crc32(whole), whole.length + 4);
  return framed;
}

function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}
