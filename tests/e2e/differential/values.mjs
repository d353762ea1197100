// What requests of chance are made of: values of the dimensions of the recorded rows, and odd ones beside them.

import { ANSWERS } from './recorded.mjs';

/** What a browser accepts of a page. */
export const PAGE = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
/** What programs accept. */
export const ACCEPTS = [
  'text/html', PAGE, '*/*', 'application/json', 'application/xhtml+xml,text/html', 'TEXT/HTML', 'text/html-sandboxed',
  'image/avif,image/webp,*/*',
];
/** What a request is said to be for. */
export const DESTINATIONS = ['', 'Document', 'empty', 'frame', 'iframe', 'image', 'script', 'websocket', 'document'];
/** Headers that change nothing, or should not. */
export const EXTRAS = [
  ['sec-purpose', 'prefetch'], ['sec-purpose', 'prefetch;prerender'], ['rsc', '1'], ['next-url', '/'],
  ['origin', 'https://elsewhere.example'], ['origin', 'http://localhost:3000'], ['origin', 'https://app.example.com'],
  ['access-control-request-method', 'GET'], ['x-requested-with', 'XMLHttpRequest'], ['x-user-id', 'user_forged'],
  ['x-session-id', 'sess_forged'], ['x-token-type', 'session_token'], ['x-clerk-auth-status', 'signed-in'],
];
/** Where a browser says it comes from. */
export const REFERERS = [
  'about:blank', 'null', 'not a url', '', 'android-app://com.example/', 'http://app.example.com/x',
  'http://localhost:9999/', 'https://accounts.evil.example/', 'https://accounts.foo.bar-13.lcl.dev/',
  'https://accounts.example.com/sign-in', 'https://app.example.com/page', 'https://app.example.com:9999/',
  'https://brave-badger-7.accounts.dev/', 'https://brave-badger-7.clerk.accounts.dev/', 'https://clerk.example.com/',
  'https://happy-hornet-42.accounts.dev/sign-in', 'https://happy-hornet-42.clerk.accounts.dev/v1',
  'http://localhost:3000/', 'https://satellite.example/x', 'https://user:pw@app.example.com/x',
  'https://primary.example.com/sign-in',
];
/** Ordinary paths. */
export const PATHS = [
  '/', '/dashboard', '/hello', '/about/us', '/sign-in', '/orgs', '/orgs/acme', '/orgs/globex', '/orgs/ACME/',
  '/orgs/globex/settings/billing', '/orgs/', '/me', '/me/settings', '/o/org_2conformanceOrg000000001', '/o/org_other',
  '/@user', '/~a*()!', '/a:b@c', '/a;jsessionid=1/b', '/%C3%BC', '/a%20b',
];
/** Paths that servers read in several ways, or not at all. */
export const ODD_PATHS = [
  '//evil.example/path', '///evil.example/path', '/a//b', '/a/../b/./c', '/a/%2e%2e/b', '/%c3%bc', '/a[b]{c}',
  '/\\evil.example/path', '/a%00b', '/a%zz', '/a%20b/%2Fc', '/a/..%2fb', '/a%5Cb', '/%61bout', '/a/./', '/a%C0%AFb',
  '/a//../b', '/a%2500', '/a%252Fb', '/a%7Eb', '/a%3Bb', '/..', '/a|b', '/a^b', '/a%41%', '/a%26b',
];
/** Queries. */
export const QUERIES = [
  '', '', '', '?', '?a=1', '?tab=1&b=2', '?foo=bar', '?q=%C3%BC', '?q=1+2&r=%2B', '?&&b', '?x=%20y', '?a=%zz',
  "?q='~!", '?redirect_url=https%3A%2F%2Fevil.example', '?__clerk_hs_reason=r', '?__dev_session=old&b=1', '?a=1&a=2',
  '?d[e]={f}', '?__clerk_help=x&a=1',
];
/** Addresses that a satellite wants to be told. */
export const RETURNS = [
  '', '%2Fback', 'https%3A%2F%2Fsatellite.example%2F', 'https%3A%2F%2Fsatellite.example%2Fback%23top',
  'https%3A%2F%2Fsatellite.example%2Fback%3Fx%3D1%26__clerk_synced%3Dfalse', 'https%3A%2F%2Fevil.example%2F',
  'javascript%3Aalert(1)', 'not%20a%20url',
];
/** Names of this machine. */
export const HOSTS = [
  'LOCALHOST:3000', 'localhost:8080', 'localhost', 'app.localhost:3000', '127.0.0.1:3000', '[::1]:3000',
];
/** Hosts as a proxy tells them. */
export const FORWARDED_HOSTS = [
  'localhost:3000', 'app.localhost', 'APP.localhost:8443', '127.0.0.1', 'localhost:443', 'localhost:80', '[::1]:8443',
  'first.localhost,second.example', 'first.localhost, second.example',
];
/** Hosts as no proxy tells them. */
export const FORWARDED_JUNK = [
  '', ',second.localhost', 'not a host', 'public%2Elocalhost', 'localhost.', 'localhost/evil', 'user:pass@localhost',
  'public.example', 'localhost:0', 'localhost:99999', ' ,x', '2130706433',
];
/** Schemes as proxies and others tell them. */
export const FORWARDED_PROTOS = [
  'https', 'http', 'https,http', 'https, http', 'HTTPS', 'https , http', '', 'gopher', 'wss', ' https',
];
/** Values of `__client_uat`. */
export const CLIENT_TIMES = [
  '0', '1', '{{s:-3600}}', '{{s:-3600}}', '{{s:-3600}}', '{{s:-3600}}', '{{s:-5}}', '{{s:-10}}',
  '{{s:-11}}', '{{s:-9}}', '{{s:+0}}', '{{s:+600}}',
];
/** Values that it never has. */
export const ODD_CLIENT_TIMES = [
  'soon', '99999999999', '-5', '{{s:-3600}}abc', '0x5', '+5', '"{{s:-3600}}"', '000', '%31', '', ' 7', '1.9',
  '1e9', '-0', '99999999999999999999', 'Infinity', '0x',
];
/** Values of the redirect counter. */
export const COUNTS = ['0', '1', '2', '3', '4', '5', '30'];
/** Values that it never has. */
export const ODD_COUNTS = [
  '-1', '03', '3.0', '0x3', '3abc', 'x', '%33', '1e0', '', ' 3', '3e0', 'Infinity', '1e999', '0b11', '2.5',
  '-3', '.3e1',
];
/** What stands where a token is expected. */
export const NO_TOKENS = [
  'not-a-jwt', '', '..', 'a.b.c', 'abc def.ghi.jkl', 'ak_user', 'mt_ok', 'oat_ok', 'e30.e30.', '"', 'a b',
  'x'.repeat(5_000),
];
/** Cookies that are none, or none of Clerk's. */
export const JUNK_COOKIES = [
  'a=%E0%A4%A', 'junk', '$Version=1', '=', '=x', 'a=\u00fc', '__sessionfoo=1', '__session2=x',
  '__client_uat_x={{s:-3600}}', '__CLIENT_UAT={{s:-3600}}', 'theme=dark', '__clerk_x=1', '  ', '__session_=x',
];
/** Every nonce that the Backend API has an answer to. */
export const NONCES = ANSWERS.filter(({ id }) => id.startsWith('nonce-')).map(({ when }) => when.query.nonce);
/** Machines' tokens that say nothing themselves: those that the Backend API knows of, and odd ones. */
export const OPAQUE = [
  ...ANSWERS.flatMap(({ when }) => Object.values(when?.json ?? {})),
  ...['ak_', 'mt_', 'oat_'].flatMap((prefix) => [prefix, `${prefix}unlisted`, `${prefix}x/../y`, `${prefix}\u00fc`]),
  `ak_${'x'.repeat(2_000)}`, 'AK_user', 'akuser',
];
