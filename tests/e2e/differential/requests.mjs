// Requests of chance over the dimensions of the recorded rows. A request is text with places for what
// depends on the time, so that it can be signed for any second: `{{#0}}` is its first token, `{{s:-60}}` a
// time.

import { Chance } from './chance.mjs';
import { handshakeToken, isNearABound, machineToken, sessionToken } from './claims.mjs';
import { INSTANCES } from './recorded.mjs';
import { SETTINGS } from './settings.mjs';
import { filled, signed } from './tokens.mjs';
import {
  ACCEPTS, CLIENT_TIMES, COUNTS, DESTINATIONS, EXTRAS, FORWARDED_HOSTS, FORWARDED_JUNK, FORWARDED_PROTOS, HOSTS,
  JUNK_COOKIES, NONCES, NO_TOKENS, ODD_CLIENT_TIMES, ODD_COUNTS, ODD_PATHS, OPAQUE, PAGE, PATHS, QUERIES, REFERERS,
  RETURNS,
} from './values.mjs';

/** The request with this number. */
export function requestOf(seed, index) {
  const chance = new Chance(seed, index);
  const settings = chance.weighted(SETTINGS.map((one) => [one.weight, one]));
  const draft = new Draft(chance, settings);
  const { method, headers: shape } = draft.shape();
  const [place, forwarded] = draft.place();
  const target = draft.target();
  const headers = [
    ['host', place], ...forwarded, ...shape, ...draft.referer(), ...draft.authorization(), ...draft.cookies(),
  ];
  const nearABound = draft.tokens.some((token) => isNearABound(token, settings));
  return { seed, index, settings, method, target, headers, tokens: draft.tokens, nearABound };
}

/** The request as it is sent at a time. */
export function written(request, now) {
  const texts = request.tokens.map((token) => signed(token, now));
  const fill = (text) => filled(text, now).replace(/\{\{#(\d+)\}\}/g, (_, which) => texts[Number(which)]);
  return {
    settings: request.settings,
    method: request.method,
    target: fill(request.target),
    headers: request.headers.map(([name, value]) => [name, fill(value)]),
    tokens: request.tokens.map((token, which) => ({ ...token, text: texts[which], now })),
  };
}

/** One request in the making. */
class Draft {
  tokens = [];

  constructor(chance, settings) {
    this.chance = chance;
    this.settings = settings;
    this.isDevelopment = settings.instance === 'dev_a';
    this.takesMachines = settings.options.acceptsToken !== undefined;
    this.suffix = INSTANCES[settings.instance].cookieSuffix;
  }

  /** The place of a token in a text. */
  token(token) {
    this.tokens.push(token);
    return `{{#${this.tokens.length - 1}}}`;
  }

  /** Method and the headers that say what kind of request it is. */
  shape() {
    const { chance } = this;
    const kind = chance.weighted([
      [55, () => ['GET', [['accept', PAGE], ['sec-fetch-dest', 'document'], ['sec-fetch-mode', 'navigate']]]],
      [8, () => ['GET', [['accept', '*/*'], ['sec-fetch-dest', 'empty'], ['sec-fetch-mode', 'cors']]]],
      [6, () => ['GET', [['accept', 'text/html']]]],
      [5, () => ['GET', []]],
      [4, () => ['POST', [['accept', PAGE], ['sec-fetch-dest', 'document']]]],
      [22, () => [
        chance.pick(['GET', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']),
        [
          ...(chance.maybe(0.8) ? [['accept', chance.pick(ACCEPTS)]] : []),
          ...(chance.maybe(0.6) ? [['sec-fetch-dest', chance.pick(DESTINATIONS)]] : []),
          ...(chance.maybe(0.3) ? [['sec-fetch-mode', chance.pick(['navigate', 'cors', 'no-cors', ''])]] : []),
        ],
      ]],
    ])();
    const extras = chance.maybe(0.1) ? [chance.pick(EXTRAS)] : [];
    return { method: kind[0], headers: [...kind[1], ...extras] };
  }

  /** The host, and what a proxy in front says of the address. */
  place() {
    const { chance, settings: { site, public: publicUrl, trusting } } = this;
    const { host, protocol } = new URL(site);
    if (publicUrl !== undefined) {
      const proto = [['x-forwarded-proto', protocol.slice(0, -1)]];
      if (!chance.maybe(0.04)) return [host, proto];
      this.displaced = true;
      return chance.pick([
        [host, []], [host, [['x-forwarded-proto', 'http']]], [host.toUpperCase(), proto],
        [host, [...proto, ['x-forwarded-host', chance.pick(['public.example', host, 'localhost:3000', 'not a host'])]]],
        ['other.example', proto], [host, [['forwarded', 'host=public.example;proto=http'], ...proto]],
      ]);
    }
    if (!chance.maybe(trusting ? 0.15 : 0.4)) return [host, []];
    this.displaced = true;
    const forwarded = [];
    if (chance.maybe(0.6)) {
      const hosts = chance.maybe(0.75) ? FORWARDED_HOSTS : FORWARDED_JUNK;
      forwarded.push(['x-forwarded-host', chance.pick(hosts)]);
    }
    if (chance.maybe(0.5)) forwarded.push(['x-forwarded-proto', chance.pick(FORWARDED_PROTOS)]);
    if (chance.maybe(0.1)) forwarded.push(['x-forwarded-port', '8443']);
    return [chance.maybe(0.3) ? chance.pick(HOSTS) : host, forwarded];
  }

  /** The request target. */
  target() {
    const { chance } = this;
    const path = chance.maybe(0.07) ? chance.pick(ODD_PATHS) : chance.pick(PATHS);
    const query = chance.pick(QUERIES);
    const parameters = [];
    if (chance.maybe(0.06)) parameters.push(`__clerk_handshake=${this.handshake()}`);
    if (chance.maybe(0.05)) parameters.push(`__clerk_handshake_nonce=${chance.pick([...NONCES, ''])}`);
    if (chance.maybe(0.04)) parameters.push(`__clerk_db_jwt=${chance.pick(['dvb_query', '', 'a%20b'])}`);
    const isSatellite = this.settings.options.isSatellite === true;
    if (chance.maybe(isSatellite ? 0.4 : 0.03)) {
      parameters.push(`__clerk_synced=${chance.pick(['true', 'false', 'odd', ''])}`);
    }
    if (chance.maybe(0.03)) parameters.push(`__clerk_redirect_url=${chance.pick(RETURNS)}`);
    if (parameters.length === 0) return path + query;
    const more = chance.shuffled(parameters).join('&');
    return `${path}${query === '' ? '?' : `${query}&`}${more}`;
  }

  handshake() {
    const { chance } = this;
    return chance.maybe(0.9) ? this.token(handshakeToken(chance, this.settings)) : chance.pick(['garbage', '']);
  }

  /** Where the browser comes from. Of an address that is no longer what it seems, nowhere. */
  referer() {
    return !this.displaced && this.chance.maybe(0.1) ? [['referer', this.chance.pick(REFERERS)]] : [];
  }

  /** The Authorization header. */
  authorization() {
    const { chance } = this;
    if (!chance.maybe(this.takesMachines ? 0.8 : 0.14)) return [];
    const token = () => this.bearer();
    return chance.weighted([
      [60, () => [['authorization', `Bearer ${token()}`]]],
      [6, () => [['authorization', token()]]],
      [2, () => [['authorization', `bearer ${token()}`]]],
      [2, () => [['authorization', `Bearer  ${token()}`]]],
      [2, () => [['authorization', `  Bearer ${token()} `]]],
      [2, () => [['authorization', `Bearer\t${token()}`]]],
      [2, () => [['authorization', `Bearer ${token()}, Basic dXNlcjpwYXNz`]]],
      [2, () => [['authorization', `${chance.pick(['BEARER', 'Digest', 'Token', 'Basic'])} ${token()}`]]],
      [3, () => [['authorization', 'Basic dXNlcjpwYXNz']]],
      [3, () => [['authorization', chance.pick(['', 'Bearer', 'Bearer ', 'Bearer other', ' ', 'Bearer , '])]]],
      [1, () => [['authorization', `Bearer ${token()}`], ['authorization', `Bearer ${token()}`]]],
      [1, () => [['authorization', `Bearer ${token()}`], ['authorization', 'Basic x']]],
      [1, () => [['AUTHORIZATION', `Bearer ${token()}`]]],
    ])();
  }

  bearer() {
    const { chance } = this;
    const many = this.takesMachines ? 10 : 1;
    return chance.weighted([
      [80, () => this.token(sessionToken(chance, this.settings))],
      [8, () => chance.pick(NO_TOKENS)],
      [6 * many, () => chance.pick(OPAQUE)],
      [6 * many, () => this.token(machineToken(chance, this.settings))],
    ])();
  }

  /** Every Cookie line. */
  cookies() {
    const { chance, suffix } = this;
    const pairs = [];
    const put = (name, value) => pairs.push(`${name}=${value}`);
    if (this.isDevelopment ? chance.maybe(0.88) : chance.maybe(0.05)) put('__clerk_db_jwt', 'dvb_plain');
    if (chance.maybe(0.06)) put(`__clerk_db_jwt_${suffix}`, chance.pick(['dvb_suffixed', '']));
    if (chance.maybe(0.78)) put('__session', this.session());
    if (chance.maybe(0.82)) put('__client_uat', this.clientTime());
    if (chance.maybe(0.12)) put(`__session_${suffix}`, this.session());
    if (chance.maybe(0.14)) put(`__client_uat_${suffix}`, this.clientTime());
    if (chance.maybe(0.03)) put(`__session_${this.otherSuffix()}`, this.session());
    if (chance.maybe(0.03)) put(`__client_uat_${this.otherSuffix()}`, this.clientTime());
    if (chance.maybe(0.45)) put(`__refresh_${suffix}`, 'rt_conformance');
    if (chance.maybe(0.03)) put('__refresh', 'rt_plain');
    if (chance.maybe(0.05)) put('__clerk_handshake', this.handshake());
    if (chance.maybe(0.05)) put('__clerk_handshake_nonce', chance.pick(NONCES));
    if (chance.maybe(0.12)) put('__clerk_redirect_count', chance.pick(chance.maybe(0.75) ? COUNTS : ODD_COUNTS));
    if (chance.maybe(0.08)) pairs.push(chance.pick(JUNK_COOKIES));
    if (chance.maybe(0.03)) put('__session', this.session());
    if (pairs.length === 0) return [];
    const order = chance.maybe(0.2) ? chance.shuffled(pairs) : pairs;
    if (chance.maybe(0.03) && order.length > 1) {
      return [['cookie', order.slice(0, 1).join('; ')], ['cookie', order.slice(1).join('; ')]];
    }
    return [['cookie', order.join(chance.weighted([[40, '; '], [1, ';'], [1, ' ;  ']]))]];
  }

  session() {
    const { chance } = this;
    return chance.maybe(0.93) ? this.token(sessionToken(chance, this.settings)) : chance.pick(NO_TOKENS);
  }

  clientTime() {
    return this.chance.pick(this.chance.maybe(0.93) ? CLIENT_TIMES : ODD_CLIENT_TIMES);
  }

  otherSuffix() {
    const others = Object.values(INSTANCES).map(({ cookieSuffix }) => cookieSuffix);
    return this.chance.pick([...others.filter((suffix) => suffix !== this.suffix), this.suffix.toLowerCase()]);
  }
}
