// The verdicts of both sides in the same words, and where they differ.

/** Reasons with which the gate says that it is its own trouble, not the sender's. */
const OWN_TROUBLE = ['jwk-remote-failed-to-load', 'secret-key-invalid', 'token-verification-unavailable'];
/** Reasons of the gate where the SDK throws. */
const BROKEN = ['handshake-invalid', ...OWN_TROUBLE];

/** What a gate should do where the SDK says this. */
export function expected(state, settings) {
  const { status, reason, location, cookies, cacheControl, auth } = state;
  if (status === 'threw') return { does: 'throws' };
  if (location !== null) return { does: 'redirects', reason, location, cookies, cacheControl };
  if (status === 'signed-in') {
    if (auth.threw !== undefined) return refusal('unexpected-error', cookies);
    if (!auth.userId && auth.sessionStatus === 'pending' && settings.pending === 'signed-out') {
      return refusal('session-pending', cookies);
    }
    return { does: 'forwards', identity: identityOf(auth), cookies };
  }
  return refusal(reason, cookies);
}

/** What a gate does. */
export function observed({ status, headers, received }, state) {
  const cookies = headers['set-cookie'] ?? [];
  const reason = headers['x-clerk-auth-reason'] ?? null;
  if (received.length > 1) return { does: `forwards ${received.length} times` };
  if (received.length === 1) {
    const isSession = received[0]['x-token-type'] === 'session_token';
    const compared = IDENTITY.filter((name) => isSession || !SESSION_ONLY.includes(name));
    const identity = Object.fromEntries(compared.flatMap((name) =>
      name in received[0] ? [[name, received[0][name]]] : []));
    // Cookies of a session must not be kept for the next visitor.
    const isKept = cookies.length > 0 && !/\bno-store\b/.test(headers['cache-control']);
    return { does: isKept ? 'forwards for caches to keep' : 'forwards', identity, cookies };
  }
  if (status === 307) {
    return { does: 'redirects', reason, location: headers.location, cookies, cacheControl: headers['cache-control'] };
  }
  if (state.status === 'threw' && BROKEN.includes(reason)) return { does: 'throws' };
  return { does: 'refuses', status, reason, cookies };
}

/** Where two verdicts differ, a line for each. */
export function differences(sdk, gate) {
  const names = new Set([...Object.keys(sdk), ...Object.keys(gate)]);
  return [...names].flatMap((name) => {
    const [theirs, ours] = [sdk[name], gate[name]].map((value) => JSON.stringify(sorted(value)));
    return theirs === ours ? [] : [`${name}:\n    sdk:  ${theirs}\n    gate: ${ours}`];
  });
}

/** Whether somebody is let in. */
export function letsIn(verdict) {
  return verdict.does.startsWith('forwards');
}

const IDENTITY = [
  'x-user-id', 'x-session-id', 'x-org-id', 'x-org-slug', 'x-org-role', 'x-org-permissions', 'x-actor-id',
  'x-token-type', 'x-token-subject', 'x-token-scopes', 'x-client-id',
];
/** Who acts for the subject of an OAuth token is not in the SDK's object. */
const SESSION_ONLY = ['x-actor-id'];

/** A refusal for this reason. */
export function refusal(reason, cookies = []) {
  return { does: 'refuses', status: OWN_TROUBLE.includes(reason) ? 503 : 401, reason, cookies };
}

/** The identity headers of an auth object, as `docs/reference/headers.md` has them. */
function identityOf(auth) {
  const headers = auth.tokenType === 'session_token' ? ofSession(auth) : ofMachine(auth);
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => isText(value)).map(([name, value]) =>
    [name, legal(value)]));
}

function ofMachine({ userId, orgId, tokenType, subject, scopes, clientId }) {
  return {
    'x-user-id': userId,
    'x-org-id': orgId,
    'x-token-type': tokenType,
    'x-token-subject': subject,
    'x-token-scopes': separated([scopes].flat(), ' ', '%20').join(' '),
    'x-client-id': clientId,
  };
}

function ofSession({ userId, sessionId, orgId, orgSlug, orgRole, orgPermissions, actor, tokenType }) {
  const permissions = Array.isArray(orgPermissions) ? separated(orgPermissions, ',', '%2C').join(',') : undefined;
  const organization = isText(orgId)
    ? { 'x-org-id': orgId, 'x-org-slug': orgSlug, 'x-org-role': orgRole, 'x-org-permissions': permissions }
    : {};
  return {
    'x-user-id': userId,
    'x-session-id': sessionId,
    ...organization,
    'x-actor-id': actor ? (isText(actor.sub) ? actor.sub : 'unknown') : undefined,
    'x-token-type': tokenType,
  };
}

/** The items of a list, in which what separates them is encoded. */
function separated(list, separator, encoded) {
  return list.filter(isText).map((item) =>
    (item.includes(separator) ? item.replaceAll('%', '%25').replaceAll(separator, encoded) : item));
}

function isText(value) {
  return typeof value === 'string' && value !== '';
}

/** What is no visible ASCII, or has a space at an end, is percent-encoded. */
function legal(value) {
  if (/^[!-~]([ -~]*[!-~])?$/.test(value)) return value;
  return [...Buffer.from(value)].map((byte) =>
    byte <= 0x20 || byte >= 0x7f || byte === 0x25
      ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
      : String.fromCharCode(byte)).join('');
}

function sorted(value) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}
