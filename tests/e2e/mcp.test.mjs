// An MCP server behind the gate: it has no code about who may use it, and MCP clients find their own way
// to a token. Server and client are those of the official SDK; the authorisation server is the stand-in.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { createClerkClient } from '@clerk/backend';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

import { Browser, send, startDev, startGate, TARGET } from './support.mjs';

const ADA = 'user_2Ada00000000000000000000001';
const POLICY = `
[[route]]
name    = "mcp"
path    = "/mcp/**"
require = { token = "oauth_token", scope = "profile" }
`;
/** Where the client waits for its code; nobody listens there, the test reads the address. */
const CALLBACK = 'http://localhost:9/callback';

let home;
let dev;
let server;
let gate;
let gateUrl;
/** What the client of the second test keeps. */
const notebook = {};
/** What has reached the MCP server. */
let received = [];

before(async () => {
  mkdirSync(TARGET, { recursive: true });
  home = mkdtempSync(join(TARGET, 'mcp-'));
  dev = await startDev();
  await startServer();
  const upstream = `http://127.0.0.1:${server.address().port}`;
  gate = await startGate({ dev, home, upstream, policy: POLICY });
  gateUrl = gate.url;
});

beforeEach(() => (received = []));

after(async () => {
  await Promise.allSettled([gate?.stop(), dev?.stop()]);
  server?.closeAllConnections();
  server?.close();
  if (home) rmSync(home, { recursive: true });
});

/** An MCP server with one tool, which tells whom the gate says it works for. */
async function startServer() {
  server = http.createServer(async (request, response) => {
    received.push({ method: request.method, url: request.url, headers: request.headers });
    const mcp = new McpServer({ name: 'notes', version: '1.0.0' });
    mcp.registerTool('whoami', { description: 'Who am I?' }, ({ requestInfo }) => {
      const { 'x-user-id': user, 'x-client-id': client, 'x-token-scopes': scopes } = requestInfo.headers;
      return { content: [{ type: 'text', text: JSON.stringify({ user, client, scopes }) }] };
    });
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    response.on('close', () => mcp.close());
    await mcp.connect(transport);
    await transport.handleRequest(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}

/** What an MCP client keeps, and where it would send its person. */
class Keeper {
  constructor(metadata = {}) {
    this.redirectUrl = CALLBACK;
    this.clientMetadata = {
      client_name: 'A notebook',
      redirect_uris: [CALLBACK],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      ...metadata,
    };
  }

  state() { return 'state-of-the-client'; }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(url) { this.sentTo = url; }
}

/** Opens the page to which a client sends its person, lets Ada agree, and returns what the client is told. */
async function agree(address) {
  const browser = new Browser();
  const page = await browser.visit(address.href);
  assert.equal(page.status, 200, page.text);
  const form = page.text.split('<form').find((one) => one.includes('name="person" value="ada"'));
  const fields = [...form.matchAll(/name="([^"]+)" value="([^"]*)"/g)].map(([, name, value]) => [name, text(value)]);
  const answer = await browser.send(`${dev.clerk}/oauth/authorize`, {
    method: 'POST',
    headers: [['Content-Type', 'application/x-www-form-urlencoded'], ['Origin', dev.clerk]],
    body: new URLSearchParams(fields).toString(),
  });
  assert.equal(answer.status, 303, answer.text);
  const back = new URL(answer.headers.location);
  assert.equal(back.origin + back.pathname, CALLBACK);
  return back.searchParams;
}

/** The text that a page's attribute stands for. */
function text(html) {
  return html.replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code))).replace(/&amp;/g, '&');
}

function transportOf(keeper) {
  return new StreamableHTTPClientTransport(new URL(`${gateUrl}/mcp`), { authProvider: keeper });
}

const newClient = () => new Client({ name: 'notebook', version: '1.0.0' });

/** A request as an MCP client begins. */
function initialize(headers = []) {
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'n', version: '1' } };
  return send(`${gateUrl}/mcp`, {
    method: 'POST',
    headers: [
      ['Content-Type', 'application/json'],
      ['Accept', 'application/json, text/event-stream'],
      ...headers,
    ],
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }),
  });
}

test('a client without a token is told where to go, and the server learns nothing of it', async () => {
  const answer = await initialize();
  assert.equal(answer.status, 401);
  const challenge = answer.headers['www-authenticate'];
  const address = /resource_metadata="([^"]+)"/.exec(challenge)?.[1];
  assert.equal(address, `${gateUrl}/.well-known/oauth-protected-resource/mcp`, challenge);
  assert.deepEqual(JSON.parse((await send(address)).text), {
    resource: `${gateUrl}/mcp`,
    authorization_servers: [dev.clerk],
    bearer_methods_supported: ['header'],
    scopes_supported: ['profile'],
  });
  assert.deepEqual(received, []);
});

test('a client finds the authorisation server, registers, gets a token and calls a tool', async () => {
  const keeper = new Keeper();
  const first = transportOf(keeper);
  await assert.rejects(newClient().connect(first), UnauthorizedError);
  assert.deepEqual(received, [], 'nothing arrives before there is a token');
  assert.ok(keeper.client.client_id.startsWith('client_'), 'it has registered');
  assert.equal(keeper.sentTo.origin, dev.clerk);
  assert.equal(keeper.sentTo.searchParams.get('code_challenge_method'), 'S256');
  assert.equal(keeper.sentTo.searchParams.get('scope'), 'profile', 'it asks for what the resource needs');
  assert.equal(keeper.sentTo.searchParams.get('resource'), `${gateUrl}/mcp`);

  const told = await agree(keeper.sentTo);
  assert.equal(told.get('state'), 'state-of-the-client');
  await first.finishAuth(told.get('code'));
  assert.match(keeper.kept.access_token, /^oat_/);

  const client = newClient();
  await client.connect(transportOf(keeper));
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map(({ name }) => name), ['whoami']);
  const { content } = await client.callTool({ name: 'whoami', arguments: {} });
  assert.deepEqual(JSON.parse(content[0].text), {
    user: ADA,
    client: keeper.client.client_id,
    scopes: 'profile',
  });
  await client.close();
  Object.assign(notebook, { token: keeper.kept.access_token, id: keeper.client.client_id });
  assert.ok(received.length >= 3, 'the server was used');
  for (const { headers } of received) {
    assert.equal(headers['x-user-id'], ADA);
    assert.equal(headers['x-token-type'], 'oauth_token');
  }
});

test('Clerk\'s SDK reads the same from the token', async () => {
  const clerk = createClerkClient({
    apiUrl: dev.clerk,
    publishableKey: dev.publishable_key,
    secretKey: dev.secret_key,
    telemetry: { disabled: true },
  });
  const asked = new Request(`${gateUrl}/mcp`, { headers: { authorization: `Bearer ${notebook.token}` } });
  const state = await clerk.authenticateRequest(asked, { acceptsToken: 'oauth_token' });
  assert.ok(state.isAuthenticated, `${state.reason}: ${state.message}`);
  const { userId, clientId, scopes } = state.toAuth();
  assert.deepEqual({ userId, clientId, scopes }, { userId: ADA, clientId: notebook.id, scopes: ['profile'] });
});

test('a token without the scope is refused, and the client is told which one is missing', async () => {
  const keeper = new Keeper();
  const first = transportOf(keeper);
  await assert.rejects(newClient().connect(first), UnauthorizedError);
  const narrow = new URL(keeper.sentTo);
  narrow.searchParams.set('scope', 'email');
  await first.finishAuth((await agree(narrow)).get('code'));

  const answer = await initialize([['Authorization', `Bearer ${keeper.kept.access_token}`]]);
  assert.equal(answer.status, 403);
  assert.equal(JSON.parse(answer.text).error.code, 'scope-missing');
  assert.match(answer.headers['www-authenticate'], /error="insufficient_scope", scope="profile"/);

  // The SDK's client goes and asks its person for more.
  keeper.sentTo = undefined;
  await assert.rejects(newClient().connect(transportOf(keeper)), UnauthorizedError);
  assert.equal(keeper.sentTo.searchParams.get('scope'), 'profile');
  assert.deepEqual(received, []);
});

test('a made-up token, a key and a session reach nothing', async () => {
  const browser = new Browser();
  await browser.signIn(`${dev.gate}/members`, 'ada');
  const session = browser.cookies(dev.gate).get('__session');
  for (const token of ['oat_made_up', 'ak_made_up', session]) {
    const answer = await initialize([['Authorization', `Bearer ${token}`]]);
    assert.equal(answer.status, 401, token);
    assert.match(answer.headers['www-authenticate'], /error="invalid_token".*resource_metadata=/);
  }
  const cookie = await initialize([['Cookie', `__session=${session}; __client_uat=1`]]);
  assert.equal(cookie.status, 401);
  assert.deepEqual(received, []);
});
