// Sets of options: as the SDK takes them, and as the configuration of a gate.

import { INSTANCES } from './recorded.mjs';

/** Where the applications are, as browsers see them. */
const LOCAL = 'http://localhost:3000';
const APP = 'https://app.example.com';
const SATELLITE = 'https://satellite.example';
const PRIMARY_SIGN_IN = 'https://primary.example.com/sign-in';

const ORGANIZATIONS = {
  organizationPatterns: ['/orgs/:slug', '/orgs/:slug/(.*)'],
  personalAccountPatterns: ['/me', '/me/(.*)'],
};
const ORGANIZATIONS_BY_ID = { organizationPatterns: ['/o/:id', '/o/:id/(.*)', '/orgs/:slug?'] };

/**
 * The sets. `weight` is how often one is drawn, `public` the public address that the gate is told (without
 * one it serves this machine), `trusting` whether it believes `X-Forwarded-*`, `pending` what a session with
 * tasks left counts as.
 */
export const SETTINGS = [
  // A development instance, first without anything else.
  dev('dev', {}, { weight: 30 }),
  dev('dev.distrusting', {}, { trusting: false, weight: 3 }),
  dev('dev.public', {}, { public: LOCAL, weight: 3 }),
  dev('dev.pending-out', {}, { pending: 'signed-out', weight: 3 }),
  dev('dev.pem', { jwtKey: INSTANCES.dev_a.jwtKey }, { weight: 3 }),
  dev('dev.parties', { authorizedParties: [LOCAL, 'http://localhost:8080'] }, { weight: 4 }),
  dev('dev.parties.elsewhere', { authorizedParties: ['https://listed.example'] }, { weight: 2 }),
  dev('dev.audience', { audience: ['api', 'other-api'] }, { weight: 2 }),
  dev('dev.skew-10', { clockSkewInMs: 10_000 }, { weight: 2 }),
  dev('dev.organizations', { organizationSyncOptions: ORGANIZATIONS }, { weight: 8 }),
  dev('dev.organizations-by-id', { organizationSyncOptions: ORGANIZATIONS_BY_ID }, { weight: 4 }),
  dev('dev.proxy', { proxyUrl: 'https://app.example.com/__clerk' }, { weight: 2 }),
  dev('dev.proxy.slashes', { proxyUrl: 'http://proxy.example.com/api///' }, { weight: 2 }),
  dev('dev.sign-in', { signInUrl: 'https://accounts.app.example/sign-in' }, { weight: 2 }),
  ...[undefined, false, true].map((satelliteAutoSync) =>
    dev(`dev.satellite.${satelliteAutoSync}`, {
      isSatellite: true, domain: 'satellite.example', signInUrl: PRIMARY_SIGN_IN, satelliteAutoSync,
    }, { weight: 4 })),

  // A production instance.
  prod('prod', {}, { weight: 30 }),
  prod('prod.distrusting', {}, { trusting: false, weight: 3 }),
  prod('prod.port', {}, { public: 'https://app.example.com:8443', weight: 2 }),
  prod('prod.pending-out', {}, { pending: 'signed-out', weight: 3 }),
  prod('prod.pem', { jwtKey: INSTANCES.prod_a.jwtKey }, { weight: 3 }),
  prod('prod.parties', { authorizedParties: [APP] }, { weight: 4 }),
  prod('prod.parties.several', { authorizedParties: ['https://first.example', APP] }, { weight: 4 }),
  prod('prod.audience', { audience: 'api' }, { weight: 3 }),
  prod('prod.audience.several', { audience: ['api', 'other-api'] }, { weight: 3 }),
  prod('prod.skew-none', { clockSkewInMs: 0 }, { weight: 2 }),
  prod('prod.skew-10', { clockSkewInMs: 10_000 }, { weight: 2 }),
  prod('prod.skew-60', { clockSkewInMs: 60_000 }, { weight: 2 }),
  prod('prod.organizations', { organizationSyncOptions: ORGANIZATIONS }, { weight: 4 }),
  prod('prod.proxy', { proxyUrl: 'https://app.example.com/__clerk' }, { weight: 2 }),
  prod('prod.proxy.path', { proxyUrl: '/__clerk' }, { weight: 2 }),
  prod('prod.sign-in', { signInUrl: 'https://accounts.app.example/sign-in' }, { weight: 2 }),
  ...[undefined, false, true].map((satelliteAutoSync) =>
    prod(`prod.satellite.${satelliteAutoSync}`, {
      isSatellite: true, domain: 'satellite.example', signInUrl: PRIMARY_SIGN_IN, satelliteAutoSync,
    }, { weight: 4, public: SATELLITE })),
  prod('prod.satellite.proxy', {
    isSatellite: true, domain: 'satellite.example', signInUrl: PRIMARY_SIGN_IN,
    proxyUrl: 'https://satellite.example/__clerk',
  }, { weight: 2, public: SATELLITE }),

  // Machine tokens, alone and beside sessions.
  ...['api_key', 'm2m_token', 'oauth_token', 'any'].map((acceptsToken) =>
    dev(`dev.accepts.${acceptsToken}`, { acceptsToken }, { weight: 4 })),
  dev('dev.accepts.keys-sessions', { acceptsToken: ['api_key', 'session_token'] }, { weight: 3 }),
  dev('dev.accepts.keys-machines', { acceptsToken: ['api_key', 'm2m_token'] }, { weight: 3 }),
  dev('dev.accepts.audience', { acceptsToken: 'oauth_token', audience: 'https://api.example.com' }, { weight: 2 }),
  dev('dev.accepts.any-audience', { acceptsToken: 'any', audience: ['https://other.example.com', 'api'] }, {
    weight: 2,
  }),
  dev('dev.accepts.pem', { acceptsToken: 'any', jwtKey: INSTANCES.dev_a.jwtKey }, { weight: 2 }),
  dev('dev.accepts.of-machine', { acceptsToken: 'm2m_token', machineSecretKey: 'ak_machine_secret_conformance' }, {
    weight: 2,
  }),
  prod('prod.accepts.any', { acceptsToken: 'any' }, { weight: 4 }),
  prod('prod.accepts.several', { acceptsToken: ['oauth_token', 'session_token'] }, { weight: 3 }),

  // Key endpoints that bring no keys. The SDK tries each of them for seconds.
  ...['empty', 'e500', 'e401', 'e500text', 'html', 'closed'].map((failure) =>
    dev(`dev.jwks-${failure}`, { secretKey: `sk_test_conformance_jwks_${failure}` }, { weight: 0.05 })),
  ...['empty', 'e401', 'closed'].map((failure) =>
    prod(`prod.jwks-${failure}`, { secretKey: `sk_live_conformance_jwks_${failure}` }, { weight: 0.05 })),
];

function dev(name, options, rest) {
  return settings(name, 'dev_a', options, { public: undefined, site: LOCAL, ...rest });
}

function prod(name, options, rest) {
  const site = rest.public ?? APP;
  return settings(name, 'prod_a', options, { public: APP, site, ...rest });
}

function settings(name, instance, options, rest) {
  const { publishableKey, secretKey } = INSTANCES[instance];
  return {
    name,
    instance,
    trusting: true,
    pending: 'signed-in',
    ...rest,
    options: { publishableKey, secretKey, ...options },
  };
}

/** The configuration of a gate that is set as the SDK is. */
export function configuration(settings, { apiUrl, upstreamUrl }) {
  const { options } = settings;
  const sync = options.organizationSyncOptions ?? {};
  return [
    line('listen', '127.0.0.1:0'),
    line('public-url', settings.public),
    line('trusted-proxies', settings.trusting ? ['127.0.0.1'] : []),
    line('debug-headers', true),
    '[clerk]',
    line('publishable-key', options.publishableKey),
    line('secret-key', options.secretKey),
    line('machine-secret-key', options.machineSecretKey),
    line('api-url', apiUrl),
    // What is asked is to depend on the request alone, and not on how many came before.
    line('api-budget', 1_000_000),
    line('jwt-key', options.jwtKey),
    options.jwtKey === undefined ? line('jwks-from', 'backend-api') : '',
    line('issuer', 'any'),
    line('authorized-parties', options.authorizedParties),
    line('audience', options.audience === undefined ? undefined : [options.audience].flat()),
    line('clock-skew', options.clockSkewInMs === undefined ? undefined : `${options.clockSkewInMs}ms`),
    line('treat-pending-as-signed-out', settings.pending === 'signed-out'),
    line('is-satellite', options.isSatellite),
    line('domain', options.domain),
    line('satellite-auto-sync', options.satelliteAutoSync),
    line('sign-in-url', options.signInUrl),
    line('proxy-url', options.proxyUrl),
    '[clerk.organization-sync]',
    line('organization-patterns', sync.organizationPatterns),
    line('personal-account-patterns', sync.personalAccountPatterns),
    '[session]',
    line('continuity', 'faithful'),
    '[upstream]',
    line('url', upstreamUrl),
    '[limits]',
    line('head-size', '256KiB'),
    '[admin]',
    line('listen', 'off'),
    '[[route]]',
    line('path', '/**'),
    options.acceptsToken === undefined
      ? line('require', 'signed-in')
      : `require = { ${line('token', options.acceptsToken)} }`,
    line('on-signed-out', '401'),
    '',
  ].filter((text) => text !== '').join('\n');
}

/** A line of TOML; JSON's texts, lists and booleans are TOML's too. */
function line(key, value) {
  return value === undefined ? '' : `${key} = ${JSON.stringify(value)}`;
}
