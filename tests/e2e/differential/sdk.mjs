// What Clerk's own SDK says to a request.

import { createClerkClient } from '@clerk/backend';

const clients = new Map();

// It tells about clocks and handshakes that fail, which is what half of the requests are for.
console.error = () => {};
console.warn = () => {};

/** The state of a request under options: what `authenticateRequest` makes of it. */
export async function ask(settings, request, apiUrl) {
  const client = clientOf(settings, apiUrl);
  const host = request.headers.find(([name]) => name.toLowerCase() === 'host')[1];
  const headers = new Headers();
  for (const [name, value] of request.headers) headers.append(name, value);
  const { publishableKey, secretKey, ...options } = settings.options;
  try {
    const asked = new Request(`http://${host}${request.target}`, { method: request.method, headers });
    return outcome(settings, await client.authenticateRequest(asked, options));
  } catch (error) {
    return { status: 'threw', error: `${error.name}: ${error.message}` };
  }
}

function clientOf(settings, apiUrl) {
  const { publishableKey, secretKey } = settings.options;
  const name = `${publishableKey} ${secretKey} ${apiUrl}`;
  if (!clients.has(name)) {
    clients.set(name, createClerkClient({ publishableKey, secretKey, apiUrl, telemetry: { disabled: true } }));
  }
  return clients.get(name);
}

function outcome(settings, state) {
  const auth = state.status === 'signed-in' ? authOf(settings, state) : null;
  return {
    status: state.status,
    reason: state.reason,
    location: state.headers.get('location'),
    cookies: state.headers.getSetCookie(),
    cacheControl: state.headers.get('cache-control'),
    auth,
  };
}

/** The auth object, or that there is none to be had. */
function authOf(settings, state) {
  try {
    return { ...state.toAuth({ treatPendingAsSignedOut: settings.pending === 'signed-out' }) };
  } catch (error) {
    return { threw: error.message };
  }
}
