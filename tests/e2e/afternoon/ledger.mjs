// Stands between the gate and Clerk's Backend API, passes everything on as it is, and keeps count.

import { once } from 'node:events';
import http from 'node:http';

/** The calls that are counted apart. */
const KINDS = [
  ['refresh', 'POST', /^\/v1\/sessions\/[^/]+\/refresh$/],
  ['token', 'POST', /^\/v1\/sessions\/[^/]+\/tokens$/],
  ['session', 'GET', /^\/v1\/sessions\/[^/]+$/],
];

/** Starts passing calls on to `api`. */
export async function startLedger(api) {
  const calls = [];
  const { hostname, port } = new URL(api);
  const server = http.createServer((inbound, outbound) => {
    const { method, url: path, headers } = inbound;
    const { pathname } = new URL(path, api);
    const [kind = 'other'] = KINDS.find(([, verb, pattern]) => verb === method && pattern.test(pathname)) ?? [];
    const call = { at: Date.now(), kind };
    calls.push(call);
    const onwards = http.request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      call.status = answer.statusCode;
      outbound.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(outbound);
    });
    onwards.on('error', () => outbound.destroy());
    outbound.on('close', () => onwards.destroy());
    inbound.pipe(onwards);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    calls,
    /** How many of a kind went well. */
    count: (kind) => calls.filter((call) => call.kind === kind && call.status === 200).length,
    /** The most that were made within any span of so many milliseconds. */
    most(span) {
      const within = calls.map(({ at }) => calls.filter((other) => other.at >= at && other.at < at + span).length);
      return Math.max(0, ...within);
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
