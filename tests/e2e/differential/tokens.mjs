// Tokens, signed for the present second. A token is described as in `tokens.json`: header, claims with
// times as `{"$s": -60}`, or raw text, the key that signs, and what is done to it afterwards.

import { constants, createHmac, createPrivateKey, sign as signWith } from 'node:crypto';

import { KEYS, RECORDED_AT, TOKENS } from './recorded.mjs';

const PRIVATE = new Map(
  Object.entries(KEYS)
    .filter(([, key]) => key.private_pem)
    .map(([name, key]) => [name, createPrivateKey(key.private_pem)]),
);
const HASHES = { RS256: 'sha256', RS384: 'sha384', RS512: 'sha512', PS256: 'sha256' };
const MAX_KEPT = 20_000;

const base64url = (data) => Buffer.from(data).toString('base64url');
const kept = new Map();

/** The text of a token at a time, which is given in seconds. */
export function signed(token, now) {
  const { header, raw_header: rawHeader, raw_payload: rawPayload, claims } = token;
  const head = rawHeader ?? JSON.stringify(header);
  const body = rawPayload === undefined ? JSON.stringify(at(claims, now)) : raw(rawPayload, now);
  return altered(withSignature(token, `${base64url(head)}.${base64url(body)}`), token.altered);
}

/** Text, or bytes in hexadecimal. */
function raw(payload, now) {
  return typeof payload === 'string' ? filled(payload, now) : Buffer.from(payload.$hex, 'hex');
}

/** A value with its times written out. */
export function at(value, now) {
  if (typeof value === 'string') return filled(value, now);
  if (Array.isArray(value)) return value.map((item) => at(item, now));
  if (value === null || typeof value !== 'object') return value;
  if ('$s' in value) return now + value.$s;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, at(item, now)]));
}

/** A text with its times and tokens written out: `{{s:-60}}`, `{{t:dev_a/valid}}`. */
export function filled(text, now) {
  return text
    .replace(/\{\{s:([+-]?\d+)\}\}/g, (_, seconds) => String(now + Number(seconds)))
    .replace(/\{\{t:([^}]+)\}\}/g, (_, name) => signed(TOKENS[name], now));
}

/** A text in which every token of the rows is signed anew. */
export function renewed(text, now) {
  return text
    .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, (jwt) => {
      const name = NAMES.get(jwt);
      return name === undefined ? jwt : signed(TOKENS[name], now);
    })
    .replaceAll(/\b17[78]\d{7}\b/g, (seconds) => String(Number(seconds) - RECORDED_AT + now));
}

const NAMES = new Map(Object.entries(TOKENS).map(([name, token]) => [token.jwt, name]));

function withSignature({ alg, signed_with: key }, text) {
  const known = `${alg} ${key} ${text}`;
  if (!kept.has(known)) {
    if (kept.size >= MAX_KEPT) kept.clear();
    kept.set(known, `${text}.${signatureOf(alg, key, text)}`);
  }
  return kept.get(known);
}

function signatureOf(alg, key, text) {
  if (alg === 'none' || !key) return '';
  if (alg.startsWith('HS256')) {
    const secret = alg === 'HS256-pem' ? KEYS[key].public_pem : Buffer.from(KEYS[key].private_jwk.n, 'base64url');
    return createHmac('sha256', secret).update(text).digest('base64url');
  }
  const padding = alg === 'PS256'
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : {};
  return signWith(HASHES[alg], Buffer.from(text), { key: PRIVATE.get(key), ...padding }).toString('base64url');
}

function altered(token, how) {
  const [head, body, signature] = token.split('.');
  switch (how) {
    case undefined:
      return token;
    case 'flip-signature-bit': {
      const bytes = Buffer.from(signature, 'base64url');
      bytes[bytes.length >> 1] ^= 1;
      return `${head}.${body}.${bytes.toString('base64url')}`;
    }
    case 'swap-subject': {
      const claims = { ...JSON.parse(Buffer.from(body, 'base64url')), sub: 'user_intruder' };
      return `${head}.${base64url(JSON.stringify(claims))}.${signature}`;
    }
    case 'padded-parts':
      return [head, body, signature].map((part) => part.padEnd(Math.ceil(part.length / 4) * 4, '=')).join('.');
    case 'lower-case-header':
      return `${head.toLowerCase()}.${body}.${signature}`;
    case 'four-parts':
      return `${token}.${signature.slice(0, 8)}`;
    case 'dirty-signature-tail':
      return token.slice(0, -1) + String.fromCharCode(token.charCodeAt(token.length - 1) + 1);
    case 'empty-signature':
      return `${head}.${body}.`;
    case 'zero-signature':
      return `${head}.${body}.${'A'.repeat(signature.length)}`;
    case 'trailing-dot':
      return `${token}.`;
    case 'truncated':
      return token.slice(0, -4);
    case 'blank-inside':
      return `${head}. ${body}.${signature}`;
    default:
      throw new Error(`nobody knows how to make ${how}`);
  }
}
