// Clerk's Backend API as the rows presume it, over HTTP for the SDK and over TLS for gates with a live key,
// which go nowhere else. Tokens in the answers are signed anew whenever the clock is set.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';

import { ANSWERS } from './recorded.mjs';
import { renewed } from './tokens.mjs';

/** A double of the Backend API on ports of its own. */
export class Backend {
  #now = 0;
  #bodies = new Map();
  #servers = [];

  /** Starts it; the certificate goes into `folder`. */
  static async start(folder) {
    const backend = new Backend();
    const [key, certificate] = [join(folder, 'backend.key'), join(folder, 'backend.pem')];
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
      '-subj', '/CN=backend', '-addext', 'subjectAltName=IP:0.0.0.0',
      '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', certificate,
    ], { stdio: 'pipe' });
    const answer = (request, response) => backend.#answer(request, response);
    const limits = { maxHeaderSize: 512 * 1024 };
    const plain = http.createServer(limits, answer);
    const tls = https.createServer({ ...limits, key: readFileSync(key), cert: readFileSync(certificate) }, answer);
    backend.#servers = [plain, tls];
    const [plainPort, tlsPort] = await Promise.all([plain, tls].map(async (server) => {
      // A connection that a client keeps does not end under its next call.
      server.keepAliveTimeout = 0;
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server.address().port;
    }));
    backend.certificate = certificate;
    backend.url = `http://127.0.0.1:${plainPort}`;
    // This machine by another name: a live key does not go to a loopback address.
    backend.liveUrl = `https://0.0.0.0:${tlsPort}`;
    return backend;
  }

  /** Sets the time, in seconds, for which tokens in answers are signed. */
  setClock(now) {
    this.#now = now;
    this.#bodies.clear();
  }

  stop() {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }

  async #answer(request, response) {
    let text = '';
    request.setEncoding('utf8');
    for await (const piece of request) text += piece;
    const url = new URL(request.url, 'http://backend');
    const asked = {
      method: request.method,
      path: url.pathname,
      authorization: request.headers.authorization,
      query: url.searchParams,
      json: text === '' ? {} : JSON.parse(text),
    };
    const found = ANSWERS.find((one) => fits(one, asked));
    if (found.close) {
      request.socket.destroy();
      return;
    }
    response.writeHead(found.status, found.headers);
    response.end(this.#body(found));
  }

  #body({ id, body }) {
    if (!this.#bodies.has(id)) {
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      this.#bodies.set(id, renewed(text, this.#now));
    }
    return this.#bodies.get(id);
  }
}

function fits({ method, path, when = {} }, asked) {
  const same = (wanted, given) => wanted === undefined || wanted === '*' || wanted === given;
  const pairs = (wanted, given) => Object.entries(wanted ?? {}).every(([name, value]) => given(name) === value);
  return same(method, asked.method)
    && same(path, asked.path)
    && same(when.authorization, asked.authorization)
    && pairs(when.query, (name) => asked.query.get(name))
    && pairs(when.json, (name) => asked.json[name]);
}
