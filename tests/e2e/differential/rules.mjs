// The rules of docs/explanation/deviations.md, as far as they show in a request.
//
// A rule refuses a request before anybody asks who sent it, or has it judged as if it were another one, or
// takes what the SDK says for something else. Of the second kind each rule writes that other request: asked
// about it, the SDK has to say exactly what the gate says of the original. So no rule explains more than what
// it is about.

import { refusal } from './compare.mjs';
import { canonical, pathFault } from './paths.mjs';
import { ANSWERS, INSTANCES } from './recorded.mjs';
import { signed } from './tokens.mjs';

/** Rules under which a request is refused, whoever sent it: the status, and the reasons that they give. */
export const REFUSALS = {
  D4: (request) => (isForwardedJunk(request) ? [[400, 'host-invalid']] : []),
  D5: (request) => pathFault(request.target.split('?')[0]).map((reason) => [400, reason]),
  D16: (request) => (isServed(request) ? [] : [[421, 'host-not-served']]),
};

/** Rules under which a request is judged as another one. */
export const REWRITES = {
  D1: (request) => withCookies(request, (pair) => pair.replace(/^(__clerk_redirect_count=)(.*)$/, (same, name, count) =>
    Number(decodeURIComponent(count)) > 3 ? `${name}3` : same)),
  D2: withoutSpentNonce,
  D4: withWhatIsBelieved,
  D5: withCanonicalPath,
  D6: (request) => withTokens(request, withoutExtension),
  D7: (request) => withTokens(request, withoutEmptyClaims),
  D8: (request) => withTokens(request, (token) => (isSpeltRight(token.text) ? token : { ...token, text: 'no-token' })),
  D9: withOneReasonForNoKeys,
  D16: atPublicAddress,
  D17: withoutAddressThatIsNone,
  D18: (request) => withTokens(request, withPlainSession),
  D20: withoutPortal,
};

/** Rules under which a verdict of the SDK means another one. */
export const READINGS = {
  D13: asClerkSaysOfMachines,
  D19: withoutUserThatIsNone,
  D21: withoutScopesOfItsOwn,
};

/** The other request under a rule, or `undefined` where the rule has nothing to say. */
export function rewritten(rule, request) {
  if (!(rule in REWRITES)) return undefined;
  const other = REWRITES[rule]({ ...request, undo: request.undo ?? [] });
  const kept = ({ target, headers, settings }) => JSON.stringify([target, headers, settings.options]);
  return kept(other) === kept(request) ? undefined : other;
}

/** A location of the other request as it would be of the original. */
export function restored(location, { undo }) {
  return undo.reduceRight((text, [written, original]) => text.replaceAll(written, original), location);
}

function header(request, wanted) {
  const values = request.headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value.trim());
  return values.length === 0 ? undefined : values.join(', ');
}

function withHeader(request, name, value) {
  const others = request.headers.filter(([other]) => other.toLowerCase() !== name);
  return { ...request, headers: value === undefined ? others : [...others, [name, value]] };
}

/** Writes each pair of the Cookie lines anew. */
function withCookies(request, write) {
  const pairs = (line) => line.split(';').map((pair) => pair.replace(pair.trim(), () => write(pair.trim()))).join(';');
  return {
    ...request,
    headers: request.headers.map(([name, value]) => [name, name === 'cookie' ? pairs(value) : value]),
  };
}

/** Puts other tokens in place of tokens: a token that is signed, or one that has a text of its own. */
function withTokens(request, write) {
  return request.tokens.reduce((changed, token, which) => {
    const other = write(token);
    if (other === token) return changed;
    const text = other.text === token.text ? signed(other, token.now) : other.text;
    return {
      ...changed,
      target: changed.target.replaceAll(token.text, text),
      headers: changed.headers.map(([name, value]) => [name, value.replaceAll(token.text, text)]),
      tokens: changed.tokens.with(which, { ...other, text }),
      undo: [...changed.undo, [text, new URLSearchParams({ '': token.text }).toString().slice(1)]],
    };
  }, request);
}

/** D2: where there is a session, a nonce that brings nothing is passed over, and a handshake token with it. */
function withoutSpentNonce(request) {
  const cookies = (header(request, 'cookie') ?? '').split(/[;,]/).map((pair) => pair.trim());
  const query = new URLSearchParams(request.target.split('?').slice(1).join('?'));
  const named = (name) => cookies.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  const nonce = query.get('__clerk_handshake_nonce') || named('__clerk_handshake_nonce');
  const { cookieSuffix } = INSTANCES[request.settings.instance];
  const hasSession = Boolean(named('__session') || named(`__session_${cookieSuffix}`));
  const answer = ANSWERS.find(({ when }) => when?.query?.nonce === nonce);
  if (!nonce || !hasSession || bringsDirectives(answer)) return request;
  const hide = (text) => text.replaceAll('__clerk_handshake', 'passed_over_handshake');
  return {
    ...withCookies(request, hide),
    target: hide(request.target),
    undo: [...request.undo, ['passed_over_handshake', '__clerk_handshake']],
  };
}

function bringsDirectives({ status, headers, body }) {
  return status === 200 && headers['content-type'] === 'application/json' && 'directives' in JSON.parse(body);
}

const LOOPBACK = /^(([^.]+\.)*localhost|127\.\d+\.\d+\.\d+|\[::1\])(:[1-9]\d{0,4})?$/i;
const HOST = /^([\w-]+(\.[\w-]+)*\.?|\[[\da-f:]+\])(:[1-9]\d{0,4})?$/i;

function firstOf(value) {
  return value?.split(',')[0].trim() || undefined;
}

/** What the gate takes a request's address from: a trusted proxy's word, or the request itself. */
function believed(request) {
  const { trusting } = request.settings;
  const word = (name) => (trusting ? firstOf(header(request, name)) : undefined);
  return { host: word('x-forwarded-host') ?? header(request, 'host'), proto: word('x-forwarded-proto') };
}

function isForwardedJunk(request) {
  const { host, proto } = believed(request);
  const [, , , port] = HOST.exec(host) ?? [];
  return !HOST.test(host) || Number(port?.slice(1) ?? 1) > 65_535 || (proto !== undefined && !/^https?$/i.test(proto));
}

/** D4: a forwarded value counts as its first item, without white space, or not at all. */
function withWhatIsBelieved(request) {
  const { host, proto } = believed(request);
  const told = header(request, 'x-forwarded-host') === undefined ? undefined : host.replace(/\.(?=:|$)/, '');
  const plain = withHeader(withHeader(request, 'x-forwarded-host', told), 'x-forwarded-proto', proto);
  return withHeader(plain, 'x-forwarded-port', undefined);
}

/** D16: other hosts than the public address, or than this machine where there is none, are not served. */
function isServed(request) {
  const { host } = believed(request);
  const { public: publicUrl } = request.settings;
  const name = host.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');
  return publicUrl === undefined ? LOOPBACK.test(host.replace(/\.(?=:|$)/, '')) : new URL(publicUrl).hostname === name;
}

/** D16: the address is the public one, whatever the request says. */
function atPublicAddress(request) {
  if (request.settings.public === undefined || !isServed(request)) return request;
  const { host, protocol } = new URL(request.settings.public);
  const plain = withHeader(withHeader(request, 'x-forwarded-host', host), 'x-forwarded-proto', protocol.slice(0, -1));
  return withHeader(plain, 'host', host);
}

/** D17: an address to return to that is none is passed over. */
function withoutAddressThatIsNone(request) {
  const [path, ...query] = request.target.split('?');
  const address = new URLSearchParams(query.join('?')).get('__clerk_redirect_url');
  if (!address || URL.canParse(address)) return request;
  return {
    ...request,
    target: [path, query.join('?').replaceAll('__clerk_redirect_url', 'passed_over_redirect_url')].join('?'),
    undo: [...request.undo, ['passed_over_redirect_url', '__clerk_redirect_url']],
  };
}

/** D5: the address is built on the canonical path. */
function withCanonicalPath(request) {
  const [path, ...query] = request.target.split('?');
  return { ...request, target: [canonical(path), ...query].join('?') };
}

/** D6: a token with `crit` is as good as one of an algorithm that the keys are not made for. */
function withoutExtension(token) {
  const types = [undefined, 'JWT', 'at+jwt', 'application/at+jwt'];
  const isLike = token.header?.alg === 'RS256' && types.includes(token.header.typ);
  if (!isLike || !('crit' in token.header)) return token;
  const { crit, ...header } = token.header;
  return { ...token, alg: 'RS512', header: { ...header, alg: 'RS512' } };
}

/** D7: an empty `sub` and scopes that are no text are as good as none, a time that is none as good as a word. */
function withoutEmptyClaims(token) {
  const original = token.claims ?? (isSpeltRight(token.text) ? claimsOf(token.text) : {});
  const claims = { ...original };
  if (claims.sub === '') delete claims.sub;
  const scopes = String(claims.sub).startsWith('mch_') ? 'scopes' : 'scope';
  if (typeof claims[scopes] !== 'string') delete claims[scopes];
  const isTime = (time) => time?.$s !== undefined || (typeof time === 'number' && Math.abs(time) < 8.64e12);
  for (const name of ['exp', 'nbf', 'iat']) {
    if (claims[name] === undefined || isTime(claims[name])) continue;
    // A number is compared with others before anybody asks for its place in the calendar.
    const isCompared = name === 'iat' && typeof claims.iat === 'number';
    if (!isCompared) claims[name] = 'soon';
    else if (!(claims.nbf?.$s > 0)) claims.nbf = 'soon';
  }
  if (JSON.stringify(claims) === JSON.stringify(original)) return token;
  return { ...token, claims, raw_payload: undefined };
}

/** D20: behind a proxy, too, whoever comes from the Account Portal does not come from elsewhere. */
function withoutPortal(request) {
  const referer = header(request, 'referer') ?? '';
  const { frontendApi } = INSTANCES[request.settings.instance];
  const portal = `https://${frontendApi.replace(/^clerk\./, 'accounts.')}`;
  const isFromPortal = URL.canParse(referer) && new URL(referer).origin === portal;
  return isFromPortal && request.settings.options.proxyUrl ? withHeader(request, 'referer', undefined) : request;
}

/** D18: a session id that is none is as good as one that the SDK itself does not put into a path. */
function withPlainSession(token) {
  const sid = token.claims?.sid;
  if (typeof sid !== 'string' || /^\w*$/.test(sid)) return token;
  return { ...token, claims: { ...token.claims, sid: '../x' } };
}

/** D8: three parts of canonical base64url, the first two of them JSON objects. */
function isSpeltRight(text) {
  const parts = text.split('.');
  const isCanonical = (part) => Buffer.from(part, 'base64url').toString('base64url') === part;
  return parts.length === 3 && parts.every(isCanonical) && parts.slice(0, 2).every(isObject);
}

function claimsOf(text) {
  return valueOf(text.split('.')[1]);
}

function valueOf(part) {
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return JSON.parse(utf8.decode(Buffer.from(part, 'base64url')));
}

function isObject(part) {
  try {
    const value = valueOf(part);
    return value !== null && typeof value === 'object' && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** D9: keys that do not arrive are keys that do not arrive, and a key id is looked up among key ids alone. */
function withOneReasonForNoKeys(request) {
  const { options } = request.settings;
  const secretKey = options.secretKey.replace(/_(e500text|html|closed)$/, '_empty');
  const named = withTokens(request, (token) => {
    const { kid } = token.header ?? {};
    return typeof kid === 'string' && kid in {} ? { ...token, header: { ...token.header, kid: 'ins_unknown' } } : token;
  });
  return { ...named, settings: { ...request.settings, options: { ...options, secretKey } } };
}

const OPAQUE = { ak_: 'api_key', mt_: 'm2m_token', oat_: 'oauth_token' };

/** D13: what Clerk says of an opaque machine token counts. */
function asClerkSaysOfMachines(verdict, request) {
  if (verdict.reason === 'No token in header') return refusal('no-token-in-header');
  const [scheme, second] = (header(request, 'authorization') ?? '').split(' ', 2);
  const token = second || scheme;
  const kind = Object.entries(OPAQUE).find(([prefix]) => token.startsWith(prefix))?.[1];
  const accepted = request.settings.options.acceptsToken;
  if (kind === undefined || !(accepted === 'any' || [accepted].flat().includes(kind))) return verdict;
  const answer = ANSWERS.find(({ when }) => Object.values(when?.json ?? {}).includes(token));
  const { revoked, expired } = answer?.status === 200 ? JSON.parse(answer.body) : {};
  if (verdict.does === 'forwards' && revoked) return refusal('token-revoked');
  if (verdict.does === 'forwards' && expired) return refusal('token-expired');
  if (verdict.reason !== 'unexpected-error') return verdict;
  return refusal([400, 404, 410, 422].includes(answer?.status) ? 'token-invalid' : 'token-verification-unavailable');
}

/** D19: whom an OAuth token stands for is a user only if it is called one. */
function withoutUserThatIsNone(verdict) {
  const { 'x-user-id': user, ...rest } = verdict.identity ?? {};
  const isNone = rest['x-token-type'] === 'oauth_token' && user !== undefined && !user.startsWith('user_');
  return isNone ? { ...verdict, identity: rest } : verdict;
}

/** D21: what a machine's JWT says of its scopes, the machine said. */
function withoutScopesOfItsOwn(verdict, request) {
  const { 'x-token-scopes': scopes, ...rest } = verdict.identity ?? {};
  const [scheme, second] = (header(request, 'authorization') ?? '').split(' ', 2);
  const isOpaque = (second || scheme).startsWith('mt_');
  const isItsOwn = rest['x-token-type'] === 'm2m_token' && scopes !== undefined && !isOpaque;
  return isItsOwn ? { ...verdict, identity: rest } : verdict;
}
