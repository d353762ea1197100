// Session tokens of chance: good ones, those of the recorded rows, and ones with claims at their edges.

import { TOKENS } from './recorded.mjs';

/** Ids that sessions are renewed with, one for each answer of the Backend API. */
const RENEWALS = {
  dev_a: [
    'ok', 'oksuffixed', 'okboth', 'oknosession', 'okbadsig', 'okcleared', 'okpending', 'okgarbage', 'e401', 'e422',
    'e500', 'unexpected', 'e500text', 'charset', 'nocontent',
  ],
  prod_a: [
    'ok', 'oknosession', 'okempty', 'okexpired', 'okcleared', 'okpending', 'okgarbage', 'e401', 'unexpected',
    'e500text', 'charset', 'html', 'nocontent', 'closed',
  ],
};

const CATEGORIES = [
  'cl_B7d4PD111AAA', 'cl_I7d4PD111III', 'cl_B7d4PD222AAA', 'cl_B7d4PD333AAA', 'cl_unknown', '', null, 7, undefined,
];
const KEY_IDS = ['ins_unknown', '', null, 7, undefined, '__proto__', 'constructor', 'toString'];
const TYPES = ['JWT', 'jwt', 'JOSE', 'at+jwt', 'application/at+jwt', 'AT+JWT', '', null, 7, undefined];
/** `alg` in the header, and how the token is really signed. */
const ALGORITHMS = [
  ['RS384', 'RS384'], ['RS512', 'RS512'], ['PS256', 'PS256'], ['HS256', 'HS256-pem'], ['HS256', 'HS256-jwk-n'],
  ['none', 'none'], ['None', 'none'], ['rs256', 'RS256'], ['RS512', 'RS256'], ['', 'RS256'], [undefined, 'RS256'],
  [null, 'RS256'], [['RS256'], 'RS256'],
];
const SUBJECTS = [
  undefined, '', null, 7, ['user_1'], 'mch_2conformance', 'user_other', ' user_blank ', 'user_ünïcode', 'user_50%',
  'user\tcontrol', 'org_2conformanceOrg000000001', 'x'.repeat(300),
];
const SESSIONS = [undefined, '', null, 7, 'sess_other', '../../v1/users', 'sess_ü', 'sess/x'];
const OPERATORS = [
  { sub: 'user_admin', iss: 'https://dashboard.clerk.com' }, {}, { sub: '' }, { sub: 7 }, null, 'user_admin', 'none',
];
const ORGANIZATIONS = [
  { id: 'org_2conformanceOrg000000001', slg: 'acme', rol: 'admin', per: 'read,write', fpm: '3' },
  { id: 'org_2conformanceOrg000000001', slg: 'acme', rol: 'org:admin' },
  { id: 'org_other', slg: 'globex' },
  { id: 'org_other' },
  { id: '', slg: 'acme', rol: 'admin' },
  { slg: 'acme', rol: 'member' },
  { id: 'org_x', slg: 'a,b', rol: 'member', per: 'read, write', fpm: '3' },
  { id: 'org_x', slg: 'acme', rol: 'member', per: 'read', fpm: 'x' },
  { id: 'org_x', slg: 'acme', rol: 'member', per: 'read,write', fpm: '1,2,3' },
  {}, null,
];
const ORGANIZATION_1 = {
  org_id: 'org_2conformanceOrg000000001', org_slug: 'acme', org_role: 'org:admin',
  org_permissions: ['org:things:read', 'org:things:write'],
};

/** A token of chance for a cookie or header of an instance. */
export function sessionToken(chance, settings) {
  const { instance } = settings;
  return chance.weighted([
    [48, () => valid(instance)],
    [6, () => TOKENS[`${instance}/valid-older`]],
    [5, () => organized(chance, instance)],
    [14, () => renewable(chance, instance)],
    [18, () => TOKENS[chance.pick(NAMES[instance])]],
    [24, () => edged(chance, settings)],
    [2, () => valid(chance.pick(['dev_b', 'prod_b']))],
  ])();
}

/** A token that carries the result of a handshake. */
export function handshakeToken(chance, { instance }) {
  return TOKENS[chance.pick(NAMES[instance].filter((name) => name.includes('/handshake-')))];
}

/** A machine's token in the form of a JWT. */
export function machineToken(chance, settings) {
  const { instance } = settings;
  const recorded = TOKENS[chance.pick(NAMES.dev_a.filter((name) => /\/(m2m|oauth)-/.test(name)))];
  if (chance.maybe(0.5)) return recorded;
  const kind = chance.pick(['m2m', 'oauth']);
  const base = TOKENS[`dev_a/${kind}-valid`];
  const { iss } = valid(instance).claims;
  const token = {
    ...base,
    signed_with: instance,
    header: { ...base.header, kid: valid(instance).header.kid },
    claims: { ...base.claims, iss },
  };
  const changes = chance.weighted([[2, 0], [6, 1], [3, 2]]);
  for (let change = 0; change < changes; change += 1) {
    chance.pick([...CHANGES, ...MACHINE_CHANGES, ...MACHINE_CHANGES])(token, chance, settings);
  }
  return token;
}

/** Whether a time in a token lies so near to a bound that the present second counts. */
export function isNearABound(token, { options }) {
  const skew = (options.clockSkewInMs ?? 5_000) / 1_000;
  const { exp, nbf, iat } = token.claims ?? {};
  const near = (seconds) => seconds >= -0.5 && seconds <= 3;
  return [exp?.$s, exp?.$s + skew, nbf?.$s - skew, iat?.$s - skew].some(near);
}

const NAMES = {};
for (const name of Object.keys(TOKENS)) (NAMES[name.split('/')[0]] ??= []).push(name);

function valid(instance) {
  return TOKENS[`${instance}/valid`];
}

function renewable(chance, instance) {
  const session = `sess_refresh_${instance}_${chance.pick(RENEWALS[instance])}`;
  const { claims, ...rest } = TOKENS[`${instance}/expired`];
  return { ...rest, claims: { ...claims, sid: session } };
}

function organized(chance, instance) {
  const { claims, ...rest } = valid(instance);
  return { ...rest, claims: { ...claims, o: chance.pick(ORGANIZATIONS), fea: 'o:things' } };
}

/** A good token that is changed in one to three places. */
function edged(chance, settings) {
  const base = chance.maybe(0.8) ? valid(settings.instance) : renewable(chance, settings.instance);
  const token = { ...base, header: { ...base.header }, claims: { ...base.claims } };
  const changes = chance.weighted([[6, 1], [3, 2], [1, 3]]);
  for (let change = 0; change < changes; change += 1) chance.pick(CHANGES)(token, chance, settings);
  return token;
}

const CHANGES = [
  (token, chance, settings) => (token.claims.exp = time(chance, settings, 'exp')),
  (token, chance, settings) => (token.claims.nbf = time(chance, settings, 'nbf')),
  (token, chance, settings) => (token.claims.iat = time(chance, settings, 'iat')),
  ({ claims }, chance) => (claims.sub = chance.pick(SUBJECTS)),
  ({ claims }, chance) => (claims.sid = chance.pick(SESSIONS)),
  ({ claims }, chance, { instance }) => (claims.iss = chance.pick(issuers(instance))),
  ({ claims }, chance, settings) => (claims.azp = chance.pick(parties(settings))),
  ({ claims }, chance) => (claims.aud = chance.pick(AUDIENCES)),
  ({ claims }, chance) => (claims.sts = chance.pick(['active', 'pending', 'snoozed', '', null, 7, undefined])),
  ({ claims }, chance) => (claims.act = chance.pick(OPERATORS)),
  ({ claims }, chance) => (claims.fva = chance.pick([[0, 0], [-1, -1], [1], [], 'x', null, undefined])),
  ({ claims }, chance) => Object.assign(claims, version(chance)),
  ({ claims }, chance) => Object.assign(claims, { pla: chance.pick(['u:pro', 'o:team,u:pro', '', 7]) }),
  ({ header }, chance) => (header.cat = chance.pick(CATEGORIES)),
  ({ header }, chance) => (header.kid = chance.pick(KEY_IDS)),
  ({ header }, chance) => (header.typ = chance.pick(TYPES)),
  ({ header }, chance) => (header.crit = chance.pick([['b64'], [], null, 'x'])),
  ({ header }, chance) => Object.assign(header, { jku: 'https://evil.example/jwks', x5u: chance.pick(['x', null]) }),
  (token, chance) => ([token.header.alg, token.alg] = chance.pick(ALGORITHMS)),
  (token, chance) => (token.signed_with = chance.pick(['rogue', 'dev_b', 'prod_b', 'prod_a_next'])),
  (token, chance) => (token.altered = chance.pick(ALTERATIONS)),
  otherKey,
];

const MACHINE_CHANGES = [
  ({ claims }, chance) => (claims.scopes = chance.pick([undefined, '', ' ', 'a', 'a  b', ['a', 'b'], null, 7])),
  ({ claims }, chance) => (claims.scope = chance.pick([undefined, '', ' ', 'a', 'a  b', ['a', 'b'], null, 7])),
  ({ claims }, chance) => (claims.scp = chance.pick([[], ['a'], ['a b', ''], 'a b', ['a', 7], null, 7])),
  ({ claims }, chance) => (claims.aud = chance.pick(AUDIENCES)),
  ({ claims }, chance) => (claims.jti = chance.pick([undefined, '', null, 7, 'mt_x'])),
  ({ claims }, chance) => (claims.client_id = chance.pick([undefined, '', null, 7, 'client_ü'])),
  ({ claims }, chance) => (claims.act = chance.pick(OPERATORS)),
  ({ claims }, chance) => (claims.sub = chance.pick(['mch_', 'mch_other', 'user_other', 'org_x', ...SUBJECTS])),
  ({ header }, chance) => (header.typ = chance.pick(['at+jwt', 'application/at+jwt', 'AT+JWT', 'JWT', undefined])),
  ({ header }, chance) => (header.cat = chance.pick(CATEGORIES)),
];

const ALTERATIONS = [
  'flip-signature-bit', 'swap-subject', 'padded-parts', 'lower-case-header', 'four-parts', 'dirty-signature-tail',
  'empty-signature', 'zero-signature', 'trailing-dot', 'truncated', 'blank-inside',
];
const AUDIENCES = [
  'api', 'other-api', 'API', '', [], ['api'], ['x', 'other-api'], ['x', 7], [7], null, 7, undefined,
  'https://api.example.com', ['https://api.example.com'], ['https://api.example.com', ''],
];

/** The second key of an instance, said to be itself or the first. */
function otherKey(token, chance, { instance }) {
  if (instance !== 'prod_a') return;
  token.signed_with = 'prod_a_next';
  token.header.kid = chance.pick(['ins_conformance_prod_a_next', 'ins_conformance_prod_a']);
}

/** A time of chance, a few seconds away from where it begins or ends to count. */
function time(chance, settings, claim) {
  const odd = [undefined, null, '', 'soon', '1780000000', 0, -1, 1.5, 8.64e12, 8.64e12 + 1, 1e300, [], {}, true];
  if (chance.maybe(0.4)) return chance.pick(odd);
  const seconds = [
    -100_000, -86_390, -3_600, -70, -61, -50, -30, -11, -9, -6, -4, -2, 4, 7, 9, 12, 30, 58, 64, 600, 90_000,
  ];
  const far = seconds.filter(($s) => !isNearABound({ claims: { [claim]: { $s } } }, settings));
  return { $s: chance.pick(far) };
}

function issuers(instance) {
  const { iss } = valid(instance).claims;
  return [
    undefined, '', null, 7, iss.toUpperCase(), iss.replace('https:', 'http:'), `${iss}/`, iss.replace('https://', ''),
    'https://clerk.satellite.example', 'https://app.example.com/__clerk', 'https://evil.example', `https://${iss}`,
  ];
}

function parties({ site }) {
  return [
    undefined, '', null, 7, [site], `${site}/`, site.toUpperCase(), site.replace('https:', 'http:'),
    'https://first.example', 'https://listed.example', 'https://evil.example', 'http://localhost:8080',
    'HTTP://LOCALHOST:3000',
  ];
}

/** Claims of other versions, alone and mixed. */
function version(chance) {
  const v = chance.pick([1, 2, 3, '2', null, undefined]);
  return chance.weighted([
    [3, { v }],
    [3, { v, ...ORGANIZATION_1 }],
    [2, { v, ...ORGANIZATION_1, org_permissions: chance.pick([undefined, [], 'org:x', ['a,b'], [7], null]) }],
    [1, { v, ...ORGANIZATION_1, org_id: undefined }],
    [1, { v, org_id: '', org_role: 'org:admin' }],
    [3, { v, o: chance.pick(ORGANIZATIONS), fea: chance.pick(['o:things', 'o:things,o:billing', '', undefined]) }],
  ]);
}
