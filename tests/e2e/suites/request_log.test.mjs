// What the log tells of requests: those that failed because of the server, at `debug` all of them, and never a secret.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, test } from 'node:test';
import { Account } from '../lib/client.mjs';
import { Http, Polling, destroySockets, openSession } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';

let server;
let http;
afterEach(async () => {
  destroySockets();
  http.close();
  if (server.alive) await server.terminate();
});

async function start(settings = {}) {
  server = await Server.start({ settings });
  http = new Http(server);
  return Account.login(server);
}

/** A failure of the server that a client can bring about: lifting a block that is not there (O-37). */
async function fail(account) {
  const session = await account.session();
  await account.ask('POST', `/v1/sessions/${session}/public-share`, { token: randomUUID(), encryptedDataKey: 'AAAA' });
  const target = `/v1/sessions/${session}/public-share/blocked-users/none?token=hunter2`;
  const answer = await http.request('DELETE', target, null, { Authorization: `Bearer ${account.token}` });
  assert.equal(answer.status, 500);
  return `DELETE ${target.replace('hunter2', '…')}: 500 after `;
}

test('a failed request is a warning that tells which, how long and why; others are not seen', async () => {
  const account = await start();
  const line = await fail(account);
  assert.equal((await http.request('GET', '/nowhere')).status, 404);
  assert.equal((await server.terminate()).code, 0);
  const lines = server.child.output.split('\n').filter((text) => /(GET|POST|DELETE) \//.test(text));
  assert.equal(lines.length, 1, server.child.output);
  assert.ok(lines[0].includes(line), lines[0]);
  assert.match(lines[0], / WARN  DELETE .*: 500 after \d+\.\d ms: no such block$/);
});

test('at the level debug every request has its line, without tokens, fields, bodies and the like', async () => {
  const account = await start({ HAPPIER_LOG: 'debug' });
  const failed = await fail(account);
  const secret = { Cookie: 'hunter2', 'X-Other': 'hunter2', 'Content-Type': 'application/json' };
  await http.request('GET', '/nowhere?a=b', null, secret);
  await http.request('GET', '/v1/public-share/hunter2/messages?consent=true', null, secret);
  await http.request('GET', '/v1/public%2dshare/hunter2', null, secret);
  await http.request('GET', '/v1/connect/github/callback?code=hunter2&state=hunter2', null, secret);
  await http.request('POST', '/v1/auth', '{"publicKey":"hunter2"', secret);
  await http.request('GET', '/%ff', null, secret);
  await http.request('OPTIONS', '/v1/auth', null, secret);
  const polling = await Polling.open(http, account.token);
  await (await openSession(server, account.token)).text('1');
  const expected = [
    failed,
    'POST /v1/auth: 200 after ',
    'POST /v1/sessions: 200 after ',
    'GET /nowhere?a=b: 404 after ',
    'GET /v1/public-share/…/messages?consent=true: 404 after ',
    'GET /v1/…: 404 after ',
    'GET /v1/connect/github/callback?code=…&state=…: 302 after ',
    'POST /v1/auth: 400 after ',
    'GET /…: 400 after ',
    'OPTIONS /v1/auth: 400 after ',
    'GET /v1/updates/?EIO=4&transport=polling: 200 after ',
    'POST /v1/updates/?EIO=4&transport=polling&sid=…: 200 after ',
    'GET /v1/updates/?EIO=4&transport=polling&sid=…: 200 after ',
    'GET /v1/updates/?EIO=4&transport=websocket: 101 after ',
  ];
  assert.equal((await server.terminate()).code, 0);
  for (const line of expected) assert.ok(server.child.output.includes(` ${line}`), `${line}\n${server.child.output}`);
  for (const word of ['hunter2', account.token, polling.sid]) assert.ok(!server.child.output.includes(word), `${word} in the log`);
});
