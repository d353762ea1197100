// Gates, one for each set of options, before an application that writes down what it receives.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';

import { ENVIRONMENT, eventually, GATE, Process, within } from '../support.mjs';
import { configuration } from './settings.mjs';

/** The header by which the application tells requests apart. */
const PROBE = 'x-probe';

/** Gates that are started when they are first asked. */
export class Gates {
  #gates = new Map();
  #received = new Map();
  #count = 0;

  /** Starts the application; gates of the folder talk to `backend`. */
  static async start(folder, backend) {
    const gates = new Gates();
    gates.folder = folder;
    gates.backend = backend;
    gates.application = http.createServer({ maxHeaderSize: 512 * 1024 }, (request, response) => {
      const probe = request.headers[PROBE];
      gates.#received.set(probe, [...(gates.#received.get(probe) ?? []), request.headers]);
      request.resume();
      response.end('application');
    });
    // Gates keep connections for as long as they like.
    gates.application.keepAliveTimeout = 0;
    gates.application.listen(0, '127.0.0.1');
    await once(gates.application, 'listening');
    return gates;
  }

  /** What a gate says to a request: the answer, and what the application received of it. */
  async ask(settings, request) {
    const gate = await this.#gate(settings);
    this.#count += 1;
    const probe = String(this.#count);
    const sent = http.request({
      agent: gate.agent,
      host: '127.0.0.1',
      port: gate.port,
      method: request.method,
      path: request.target,
      setHost: false,
      headers: [...request.headers, [PROBE, probe]].flat(),
    });
    sent.end();
    const [answer] = await within(30_000, once(sent, 'response'), () => `${settings.name} does not answer`);
    let text = '';
    answer.setEncoding('utf8');
    for await (const piece of answer) text += piece;
    const received = this.#received.get(probe) ?? [];
    this.#received.delete(probe);
    return { status: answer.statusCode, headers: answer.headers, text, received };
  }

  /** How many gates have been started. */
  get started() {
    return this.#gates.size;
  }

  /** Stops everything; an error if a gate did not end well. */
  async stop() {
    const gates = await Promise.all(this.#gates.values());
    for (const gate of gates) gate.agent.destroy();
    const endings = await Promise.all(gates.map((gate) => gate.process.stop()));
    this.application.close();
    this.application.closeAllConnections();
    endings.forEach(({ code, signal }, which) => {
      if (code !== 0) throw new Error(`a gate ended with ${code ?? signal}:\n${gates[which].process.log.slice(-4000)}`);
    });
  }

  #gate(settings) {
    if (!this.#gates.has(settings.name)) this.#gates.set(settings.name, this.#startGate(settings));
    return this.#gates.get(settings.name);
  }

  async #startGate(settings) {
    const live = settings.options.publishableKey.startsWith('pk_live_');
    const file = join(this.folder, `${settings.name}.toml`);
    writeFileSync(file, configuration(settings, {
      apiUrl: live ? this.backend.liveUrl : this.backend.url,
      upstreamUrl: `http://127.0.0.1:${this.application.address().port}`,
    }), { mode: 0o600 });
    const process = new Process(GATE, ['run', '-c', file], {
      env: { ...ENVIRONMENT, SSL_CERT_FILE: this.backend.certificate },
    });
    const port = await eventually(`${settings.name} is ready`, async () => {
      const ready = /"message":"ready","address":"127\.0\.0\.1:(\d+)"/.exec(process.log);
      if (!ready) throw new Error(process.log);
      return Number(ready[1]);
    });
    // Idle connections end here before they end there.
    return { process, port, agent: new http.Agent({ keepAlive: true, timeout: 5_000 }) };
  }
}
